"""The engine seam: inputs are written in place, a run is submitted, its answer is collected in time.

`InlineEngine` keeps the model in this process, which costs nothing and protects from nothing. An
engine in a process of its own fits behind the same four calls.
"""

from collections.abc import Sequence
from time import monotonic
from typing import Protocol, runtime_checkable

from msgspec import Struct

from outrider_bundle.errors import EngineError
from outrider_runtime.session import Array, Placement, Session, empty


class Answer(Struct, frozen=True, kw_only=True):
    """What the model made of one input.

    Args:
        seq: as it was submitted.
        outputs: the engine's own arrays, good until the next call of `submit`.
        late: it came after the deadline, from an engine that could not stop waiting for it.
    """

    seq: int
    outputs: Sequence[Array]
    late: bool = False


@runtime_checkable
class Engine(Protocol):
    """Runs a model, one input at a time."""

    @property
    def placement(self) -> Placement:
        """Where it really runs."""
        ...

    def slot(self) -> Sequence[Array]:
        """Return the arrays to write the next input into, one per physical input."""
        ...

    def submit(self, seq: int) -> None:
        """Start a run on what is in the slot.

        Raises:
            EngineError: it cannot be started.
        """
        ...

    def collect(self, deadline_s: float) -> Answer | None:
        """Return the answer to the last `submit`, or None if there is none `deadline_s` after it.

        An answer that was given up is dropped when it comes; it is never taken for a later one.

        Raises:
            EngineError: the run failed.
        """
        ...

    def close(self) -> None:
        """Free the model; idempotent."""
        ...


class InlineEngine:
    """Runs a session in the thread that collects. It cannot be interrupted: what is late says so."""

    def __init__(self, session: Session) -> None:
        """Allocate inputs and outputs once."""
        self._session = session
        self._inputs = tuple(empty(tensor) for tensor in session.inputs)
        self._outputs = tuple(empty(tensor) for tensor in session.outputs)
        self._submitted: tuple[int, float] | None = None

    @property
    def placement(self) -> Placement:
        """Where the session runs."""
        return self._session.placement()

    def slot(self) -> Sequence[Array]:
        """Return the session's inputs."""
        return self._inputs

    def submit(self, seq: int) -> None:
        """Remember what to run."""
        self._submitted = seq, monotonic()

    def collect(self, deadline_s: float) -> Answer | None:
        """Run, and say if that took longer than `deadline_s`.

        Raises:
            EngineError: the run failed.
        """
        if self._submitted is None:
            return None
        (seq, since_s), self._submitted = self._submitted, None
        try:
            outputs = self._session.run(self._inputs, self._outputs)
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"The runtime failed: {error!r}") from error
        return Answer(seq=seq, outputs=outputs, late=monotonic() - since_s > deadline_s)

    def close(self) -> None:
        """Free the session."""
        self._session.close()
