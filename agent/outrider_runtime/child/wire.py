"""What the agent and its engine child say to one another, and how tensors lie in the memory they share.

    agent                                         child
      | -- Load (JSON) + frames fd, outputs fd -->  |    AF_UNIX, SOCK_SEQPACKET: a message is a packet
      | <--------------- Ready or Failure (JSON) -- |
      | -- RUN: number, slot -------------------->  |
      | <-- ANSWER: number, slot, took_ns, failed - |    and behind it a Failure (JSON) if it failed
      | -- end of file -------------------------->  |    the child ends

A slot holds all inputs of one run in the frames memory and all its outputs in the outputs memory, each
tensor aligned to 64 bytes. The arrays on a slot are made once, on both sides.
"""

import struct
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct

from outrider_bundle.errors import EngineError, MissingExtraError, OutriderError, UsageError
from outrider_bundle.manifest import Scalar, Tensor, Variant
from outrider_runtime.placing import PlacementError, Policy
from outrider_runtime.session import Array, Placement

VERSION = 1
SLOTS = 2
ALIGNMENT = 64
RUN = struct.Struct("=QI")
ANSWER = struct.Struct("=QIQI")
MAX_BYTES = 65536
"""Of an answer; a failure is cut to fit."""

MAX_TEXT = 2000
SHARED = "SharedError"
STARVED = "StarvedError"
"""Kinds of failure that are no class of this package: the agent knows what they mean."""

KINDS: dict[str, type[OutriderError]] = {
    kind.__name__: kind for kind in (PlacementError, EngineError, MissingExtraError, UsageError)
}
"""Classes that a failure keeps on its way, each before its own bases."""


class Load(Struct, frozen=True, kw_only=True):
    """What to load: the engine plan as far as it concerns the child.

    Args:
        version: of these messages.
        variant: as the manifest has it.
        files: role to absolute path.
        options: of the device.
        policy: of `load_placed`.
        share: of `load_placed`.
        alone: no other engine holds the device.
    """

    version: int
    variant: Variant
    files: dict[str, str]
    options: dict[str, Scalar]
    policy: Policy
    share: float
    alone: bool


class Ready(Struct, frozen=True, kw_only=True, tag="ready"):
    """The model is loaded and waits for runs.

    Args:
        placement: where it really runs.
        exclusive: its runtime holds the device alone.
        load_s: how long loading took, imports included.
        python: version of the interpreter.
        outrider: version of this project there.
    """

    placement: Placement
    exclusive: bool
    load_s: float
    python: str
    outrider: str


class Failure(Struct, frozen=True, kw_only=True, tag="failure"):
    """An error on its way to the other process; `kind` is the name of its class."""

    kind: str
    what: str
    cure: str = ""


Reply = Ready | Failure


def failure(error: Exception) -> Failure:
    """Return `error` as a message; what is no error of ours becomes an `EngineError`."""
    if not isinstance(error, OutriderError):
        return Failure(kind="EngineError", what=f"The runtime failed: {error!r}"[:MAX_TEXT])
    kind = next((name for name, known in KINDS.items() if isinstance(error, known)), "EngineError")
    return Failure(kind=kind, what=error.what[:MAX_TEXT], cure=error.cure[:MAX_TEXT])


def raised(message: Failure) -> OutriderError:
    """Return the error that `message` tells of, of the class it had."""
    kind = KINDS.get(message.kind, EngineError)
    error = kind.__new__(kind)
    OutriderError.__init__(error, message.what, message.cure)  # a subclass may make its cure itself
    return error


def encode(message: Load | Reply) -> bytes:
    """Return `message` as JSON."""
    return msgspec.json.encode(message)


def size(tensors: Sequence[Tensor]) -> int:
    """Return the bytes of all slots for `tensors`."""
    return SLOTS * sum(map(_stride, tensors))


def arrays(memory: memoryview, tensors: Sequence[Tensor], slot: int) -> tuple[Array, ...]:
    """Return the arrays of `slot` on `memory`; read-only where the memory is."""
    offset = slot * sum(map(_stride, tensors))
    made: list[Array] = []
    for tensor in tensors:
        made.append(np.ndarray(tensor.shape, np.dtype(tensor.dtype), buffer=memory, offset=offset))
        offset += _stride(tensor)
    return tuple(made)


def _stride(tensor: Tensor) -> int:
    length = int(np.prod(tensor.shape, dtype=np.int64)) * np.dtype(tensor.dtype).itemsize
    return -(-length // ALIGNMENT) * ALIGNMENT
