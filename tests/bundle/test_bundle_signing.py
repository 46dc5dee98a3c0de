"""Signatures: whose, over what."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_bundle import signing
from outrider_bundle.container import Bundle
from outrider_bundle.errors import BundleError, OutriderError, SignatureError, UsageError
from tests.fakes.bundles import write_tiny


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signed bundle and two key pairs; nobody may change it."""
    folder = tmp_path_factory.mktemp("signed")
    write_tiny(folder / "a.orb")
    for name in ("mine", "other"):
        signing.generate(folder / name, folder / f"{name}.pub")
    assert signing.sign(folder / "a.orb", folder / "mine") == folder / "a.orb.sig"
    return folder


def test_a_good_signature_names_its_key(signed: Path) -> None:
    mine = signing.keyid(signing.public_key(signed / "mine.pub"))
    with Bundle.open(signed / "a.orb") as bundle:
        assert signing.check(bundle, [signed / "other.pub", signed / "mine.pub"]) == mine
    claim = json.loads((signed / "a.orb.sig").read_bytes())
    assert claim["schema"] == 1
    assert claim["keyid"] == mine


def test_a_private_key_is_for_its_owner_only(signed: Path) -> None:
    assert stat.S_IMODE((signed / "mine").stat().st_mode) == 0o600


@pytest.mark.parametrize("keys", [["other.pub"], []])
def test_another_key_is_not_trusted(signed: Path, keys: list[str]) -> None:
    with Bundle.open(signed / "a.orb") as bundle, pytest.raises(SignatureError, match="not trusted here"):
        signing.check(bundle, [signed / key for key in keys])


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_any_flipped_bit_of_the_header_breaks_the_signature(signed: Path, data: st.DataObject) -> None:
    with Bundle.open(signed / "a.orb") as bundle:
        header = bytearray(bundle.header)
    bit = data.draw(st.integers(0, len(header) * 8 - 1))
    header[bit // 8] ^= 1 << bit % 8
    key = signing.public_key(signed / "mine.pub")
    with pytest.raises(SignatureError, match="not of this bundle"):
        signing.verify(bytes(header), (signed / "a.orb.sig").read_bytes(), [key])


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_any_flipped_bit_of_the_signature_breaks_it(signed: Path, data: st.DataObject) -> None:
    raw = bytearray((signed / "a.orb.sig").read_bytes())
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    key = signing.public_key(signed / "mine.pub")
    with Bundle.open(signed / "a.orb") as bundle, pytest.raises(SignatureError):
        signing.verify(bundle.header, bytes(raw), [key])


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[" * 5000, b"\xff", b'{"schema":1}', b"x" * 100_000],
    ids=["empty", "null", "deep", "utf8", "fields", "long"],
)
def test_what_is_no_signature_is_refused(signed: Path, raw: bytes) -> None:
    with pytest.raises(SignatureError, match="not a signature"):
        signing.verify(b"header", raw, [signing.public_key(signed / "mine.pub")])


def test_a_signature_has_one_form_only(signed: Path) -> None:
    """Base64 of 64 bytes leaves four bits of its last letter unused; they must be zero."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    claim = json.loads((signed / "a.orb.sig").read_bytes())
    claim["sig"] = claim["sig"][:85] + letters[letters.index(claim["sig"][85]) + 1] + "=="
    key = signing.public_key(signed / "mine.pub")
    with Bundle.open(signed / "a.orb") as bundle, pytest.raises(SignatureError, match="loose"):
        signing.verify(bundle.header, json.dumps(claim).encode(), [key])


def test_a_bundle_without_signature_is_not_signed(tmp_path: Path, signed: Path) -> None:
    write_tiny(tmp_path / "a.orb")
    with Bundle.open(tmp_path / "a.orb") as bundle:
        with pytest.raises(SignatureError, match=r"is not signed.*outrider bundle sign"):
            signing.check(bundle, [signed / "mine.pub"])
        (tmp_path / "a.orb.sig").mkdir()
        with pytest.raises(SignatureError, match="cannot be read"):
            signing.check(bundle, [signed / "mine.pub"])


def test_a_damaged_bundle_is_not_signed(tmp_path: Path, signed: Path) -> None:
    write_tiny(tmp_path / "a.orb")
    raw = bytearray((tmp_path / "a.orb").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "a.orb").write_bytes(raw)
    with pytest.raises(BundleError, match="damaged"):
        signing.sign(tmp_path / "a.orb", signed / "mine")
    assert not (tmp_path / "a.orb.sig").exists()


def test_a_signature_on_a_full_disk_leaves_the_old_one(
    tmp_path: Path, signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_tiny(tmp_path / "a.orb")
    (tmp_path / "a.orb.sig").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutriderError, match=r"a\.orb\.sig cannot be written: No space left"):
        signing.sign(tmp_path / "a.orb", signed / "mine")
    assert {one.name for one in tmp_path.iterdir()} == {"a.orb", "a.orb.sig"}
    assert (tmp_path / "a.orb.sig").read_text() == "old"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        signing.generate(tmp_path / "key", tmp_path / "key.pub")
    assert [one.name for one in tmp_path.iterdir()] == ["key.pub"]
    assert (tmp_path / "key.pub").read_text() == "precious"


def test_half_a_key_pair_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(OutriderError, match="cannot be written"):
        signing.generate(tmp_path / "key", tmp_path / "missing" / "key.pub")
    assert not list(tmp_path.iterdir())


def test_only_readable_ed25519_keys_will_do(tmp_path: Path, signed: Path) -> None:
    curve = generate_private_key(SECP256R1())
    (tmp_path / "ec").write_bytes(
        curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    (tmp_path / "ec.pub").write_bytes(
        curve.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "noise").write_bytes(os.urandom(64))
    for public in ("ec.pub", "noise", "missing"):
        with pytest.raises(UsageError):
            signing.public_key(tmp_path / public)
    with pytest.raises(UsageError, match="not a public key"):
        signing.public_key(signed / "mine")
    for private in (tmp_path / "ec", tmp_path / "noise", tmp_path / "missing", signed / "mine.pub"):
        with pytest.raises(UsageError):
            signing.sign(signed / "a.orb", private)
