"""Detached signatures: ed25519 over the header of a bundle, which holds the digests of all else.

`NAME.orb.sig` is JSON: `schema`, `keyid` (SHA-256 of the raw public key) and `sig` (base64). The
header begins with the bundle's magic, so that a signature over it is good for nothing else.
"""

import base64
import binascii
import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from msgspec import Meta, Struct

from outrider_bundle import atomic
from outrider_bundle.container import Bundle
from outrider_bundle.errors import SignatureError, UsageError
from outrider_bundle.manifest import Sha256

MAX_SIGNATURE_BYTES = 4096
MAX_KEY_BYTES = 16_384

_RESIGN = "Sign it: outrider bundle sign FILE --key PRIVATE"


class Signature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a signature file holds; `sig` is the base64 text of 64 bytes."""

    schema: Literal[1] = 1
    keyid: Sha256
    sig: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9+/]{86}==\Z")]


def keyid(key: Ed25519PublicKey) -> str:
    """Return the name of a key: the SHA-256 of its 32 raw bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def generate(path_private: Path, path_public: Path) -> str:
    """Make a key pair and return its id. The private key is readable by its owner only.

    Raises:
        UsageError: one of the files is there already; a key is never overwritten.
        OutriderError: a file cannot be written.
    """
    for path in (path_private, path_public):
        if path.exists():
            raise UsageError(f"{path} exists", "Choose another name; a lost key cannot be made again")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    atomic.write_file(path_private, [private], mode=0o600)
    try:
        atomic.write_file(path_public, [public])
    except BaseException:
        path_private.unlink(missing_ok=True)
        raise
    return keyid(key.public_key())


def sign(bundle_path: Path, private_key_path: Path) -> Path:
    """Verify the bundle, sign its header and return the path of the signature, `NAME.orb.sig`.

    Raises:
        BundleError: the bundle is broken.
        UsageError: the key cannot be read or is no private ed25519 key.
        OutriderError: the signature cannot be written.
    """
    key = _private_key(private_key_path)
    with Bundle.open(bundle_path) as bundle:
        bundle.verify()
        signed = key.sign(bundle.header)
    signature = Signature(keyid=keyid(key.public_key()), sig=base64.b64encode(signed).decode())
    path = signature_path(bundle_path)
    atomic.write_file(path, [msgspec.json.encode(signature)])
    return path


def signature_path(bundle_path: Path) -> Path:
    """Return where the signature of a bundle lies."""
    return bundle_path.with_name(bundle_path.name + ".sig")


def verify(header: bytes, signature: bytes, public_keys: Sequence[Ed25519PublicKey]) -> str:
    """Check a signature file's bytes over `header` and return the id of the key that made it.

    Raises:
        SignatureError: it is no signature, not by one of `public_keys`, or not of this header.
    """
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise SignatureError("This is not a signature: it is too long", _RESIGN)
    try:
        claim = msgspec.json.decode(signature, type=Signature)
        raw = base64.b64decode(claim.sig, validate=True)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise SignatureError(f"This is not a signature: {error}", _RESIGN) from error
    if base64.b64encode(raw).decode() != claim.sig:
        raise SignatureError("This is not a signature: its base64 is loose", _RESIGN)
    for key in public_keys:
        if keyid(key) == claim.keyid:
            with contextlib.suppress(InvalidSignature):
                key.verify(raw, header)
                return claim.keyid
            raise SignatureError("The signature is not of this bundle, or the bundle was changed", _RESIGN)
    trusted = ", ".join(keyid(key)[:16] for key in public_keys) or "none"
    raise SignatureError(
        f"The signature is by key {claim.keyid[:16]}, which is not trusted here", f"Trusted: {trusted}"
    )


def check(bundle: Bundle, key_paths: Sequence[Path]) -> str:
    """Check the signature beside `bundle` against the public keys in `key_paths`; return the key's id.

    Raises:
        SignatureError: there is none, or it is not good.
        UsageError: a key cannot be read or is no public ed25519 key.
    """
    keys = [public_key(path) for path in key_paths]
    path = signature_path(bundle.path)
    try:
        with path.open("rb") as file:
            signature = file.read(MAX_SIGNATURE_BYTES + 1)
    except FileNotFoundError as error:
        raise SignatureError(f"{bundle.path} is not signed: there is no {path.name}", _RESIGN) from error
    except OSError as error:
        raise SignatureError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return verify(bundle.header, signature, keys)
    except SignatureError as error:
        raise SignatureError(f"{path}: {error.what}", error.cure) from error


def public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        UsageError: it cannot be read or is no public ed25519 key in PEM.
    """
    try:
        key = load_pem_public_key(_pem(path))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} is not a public key in PEM", "Give the .pub file of keygen") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path} is not an ed25519 key", "Make one: outrider bundle keygen FILE")
    return key


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(_pem(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"{path} is not a private key in PEM without a password", "Make one: outrider bundle keygen FILE"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is not an ed25519 key", "Make one: outrider bundle keygen FILE")
    return key


def _pem(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise UsageError(f"The key {path} cannot be read: {error.strerror}") from error
