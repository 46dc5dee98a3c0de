"""The model in the engine child: loaded from one message, run for each that follows.

Its imports are most of the work of starting, so it is imported where loading happens.
"""

import contextlib
import gc
import mmap
import os
import platform
import socket
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from time import monotonic, monotonic_ns

import msgspec

from outrider_bundle.errors import EngineError
from outrider_runtime.child import wire
from outrider_runtime.loading import exclusive
from outrider_runtime.placing import Placed, load_placed
from outrider_runtime.session import Array, Session

WORDS = 2
"""The descriptor of stderr: a file that the agent reads when this process has died."""

SAME = "Install one version of outrider for the agent and for the interpreter of its engine"


class Server:
    """A loaded model and the slots it shares with the agent.

    Args:
        session: runs it.
        slots: inputs and outputs of each slot; they are the same arrays for every run.
        ready: what to tell the agent.
    """

    def __init__(
        self,
        session: Session,
        slots: Sequence[tuple[tuple[Array, ...], tuple[Array, ...]]],
        ready: wire.Ready,
    ) -> None:
        """Hold both."""
        self._session, self._slots = session, tuple(slots)
        self.ready = wire.encode(ready)

    def serve(self, link: socket.socket) -> None:
        """Run whatever `link` asks for until its other end is closed; then free the model."""
        gc.collect()
        gc.freeze()  # what loading made is there to stay
        os.ftruncate(WORDS, 0)  # and what it said is not
        message = bytearray(wire.RUN.size)
        with contextlib.suppress(ConnectionError):
            while link.recv_into(message):
                number, slot = wire.RUN.unpack(message)
                os.lseek(WORDS, 0, os.SEEK_SET)  # so it holds what the last run said, and does not grow
                begun_ns = monotonic_ns()
                failed = self._run(slot)
                took_ns = monotonic_ns() - begun_ns
                link.send(wire.ANSWER.pack(number, slot, took_ns, bool(failed)) + failed)
        self._session.close()

    def _run(self, slot: int) -> bytes:
        """Return nothing, or what went wrong."""
        inputs, outputs = self._slots[slot]
        try:
            self._session.run(inputs, outputs)
        except Exception as error:  # noqa: BLE001 - the agent is told; the next run may work
            return wire.encode(wire.failure(error))
        return b""


def load(message: bytes, fds: Sequence[int]) -> Server | bytes:
    """Load what `message` asks for.

    Args:
        message: a `Load`.
        fds: of the frames and the outputs memory; they are closed.

    Returns:
        who runs it, or the failure to answer with.
    """
    begun_s = monotonic()
    try:
        return _load(_decoded(message), fds, begun_s)
    except Exception as error:  # noqa: BLE001 - whatever it is, the agent is told
        return wire.encode(wire.failure(error))
    finally:
        for fd in fds:
            os.close(fd)


def starved(threads: int) -> bytes:
    """Return the failure that says that `threads` of the runtime would stay at idle priority."""
    return wire.encode(wire.Failure(kind=wire.STARVED, what=f"{threads} threads stay at idle priority"))


def _load(request: wire.Load, fds: Sequence[int], begun_s: float) -> Server | bytes:
    name = request.variant.runtime
    alone = exclusive(request.variant, request.options)
    if alone and not request.alone:
        what = f"The runtime {name} holds its device alone"
        return wire.encode(wire.Failure(kind=wire.SHARED, what=what))
    slots = _slots(request, fds)
    placed = _placed(request)
    ready = wire.Ready(
        placement=placed.placement,
        exclusive=alone and placed.placement.share > 0,
        load_s=monotonic() - begun_s,
        python=platform.python_version(),
        outrider=version("outrider"),
    )
    return Server(placed.session, slots, ready)


def _placed(request: wire.Load) -> Placed:
    files = {role: Path(path) for role, path in request.files.items()}
    return load_placed(request.variant, files, request.options, request.policy, request.share)


def _slots(request: wire.Load, fds: Sequence[int]) -> list[tuple[tuple[Array, ...], tuple[Array, ...]]]:
    inputs, outputs = request.variant.inputs, request.variant.outputs
    frames = memoryview(mmap.mmap(fds[0], wire.size(inputs), prot=mmap.PROT_READ))
    answers = memoryview(mmap.mmap(fds[1], wire.size(outputs)))
    return [
        (wire.arrays(frames, inputs, slot), wire.arrays(answers, outputs, slot)) for slot in range(wire.SLOTS)
    ]


def _decoded(message: bytes) -> wire.Load:
    try:
        request = msgspec.json.decode(message, type=wire.Load)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(f"The engine is not told what to load: {error}", SAME) from error
    if request.version != wire.VERSION:
        raise EngineError(f"The engine's outrider is version {version('outrider')}", SAME)
    return request
