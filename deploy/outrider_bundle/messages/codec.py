"""Messages as bytes: JSON, checked on the way out as on the way in."""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from outrider_bundle.errors import MessageError

MAX_BYTES = 262_144
"""No message is longer; a batch that would be is cut by its sender."""

Run = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z", description="16 hexadecimal digits")]
"""A random number of 64 bits for each start of an agent."""

Count = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]
Duration = Annotated[float, Meta(ge=0.0)]
Line = Annotated[str, Meta(max_length=4096)]


class Message(Struct, frozen=True):
    """Base of every message: immutable; a reader ignores fields that it does not know."""


M = TypeVar("M", bound=Struct)


def encode(message: Struct) -> bytes:
    """Return `message` as JSON that `decode` accepts.

    Raises:
        MessageError: it holds a value its receiver would refuse, or is too long.
    """
    name = type(message).__name__
    try:
        raw = msgspec.json.encode(message)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MessageError(f"This {name} message cannot be written: {error}") from error
    decode(raw, type(message))
    return raw


def decode(raw: bytes | bytearray | memoryview, kind: type[M]) -> M:
    """Return the message of type `kind` that `raw` holds.

    Raises:
        MessageError: it is too long, not JSON, of another schema, or a value is out of its limits.
    """
    if len(raw) > MAX_BYTES:
        raise MessageError(
            f"A {kind.__name__} message of {len(raw)} bytes is too long", f"The limit is {MAX_BYTES} bytes"
        )
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise MessageError(
            f"This is not a {kind.__name__} message: {error}",
            "Do both ends have the same version of outrider?",
        ) from error
