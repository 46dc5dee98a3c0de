"""A model in this process: it costs nothing and protects from nothing."""

import os
from collections.abc import Sequence
from time import monotonic, monotonic_ns

from outrider_agent.engine.seam import Answer, Plan, SharedError
from outrider_bundle.errors import EngineError
from outrider_runtime.loading import exclusive
from outrider_runtime.placing import Placed, load_placed
from outrider_runtime.session import Array, Placement, empty


def start(plan: Plan) -> "InlineEngine":
    """Load `plan` into this process.

    Raises:
        SharedError: the runtime wants its device alone.
        EngineError: it cannot be loaded, or not where it must run.
        MissingExtraError: the runtime's library is not installed.
    """
    alone = exclusive(plan.variant, plan.options)
    if alone and not plan.alone:
        raise SharedError(f"The runtime {plan.variant.runtime} holds its device alone")
    placed = load_placed(plan.variant, plan.files, plan.options, plan.policy, plan.share)
    return InlineEngine(placed, exclusive=alone and placed.placement.share > 0)


class InlineEngine:
    """Runs a session in the thread that collects. It cannot be interrupted: what is late says so."""

    def __init__(self, placed: Placed, *, exclusive: bool = False) -> None:
        """Allocate inputs and outputs once."""
        session = self._session = placed.session
        self._placement, self._exclusive = placed.placement, exclusive
        self._inputs = tuple(empty(tensor) for tensor in session.inputs)
        self._outputs = tuple(empty(tensor) for tensor in session.outputs)
        self._submitted: tuple[int, float] | None = None

    @property
    def placement(self) -> Placement:
        """Where the session runs."""
        return self._placement

    @property
    def exclusive(self) -> bool:
        """Whether its runtime holds the device alone."""
        return self._exclusive

    @property
    def pid(self) -> int:
        """This process."""
        return os.getpid()

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
        begun_ns = monotonic_ns()
        try:
            outputs = self._session.run(self._inputs, self._outputs)
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"The runtime failed: {error!r}") from error
        late = deadline_s > 0 and monotonic() - since_s > deadline_s
        return Answer(seq=seq, outputs=outputs, late=late, took_ns=monotonic_ns() - begun_ns)

    def close(self) -> None:
        """Free the session."""
        self._session.close()
