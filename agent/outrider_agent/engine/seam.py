"""The engine seam: inputs are written in place, a run is submitted, its answer is collected in time.

An engine is loaded by a `Plan`, in this process (`inline`) or in one of its own (`child`); the loop
knows the four calls of `Engine` and not which of the two it has.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from msgspec import Struct

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Scalar, Variant
from outrider_runtime.placing import Policy
from outrider_runtime.session import Array, Placement


class GoneError(EngineError):
    """The engine has died or hangs; it was ended and must be replaced."""


class SharedError(EngineError):
    """The runtime holds its device alone, and the plan would have it share that."""


class Plan(Struct, frozen=True, kw_only=True):
    """What to load and how.

    Args:
        variant: of a bundle that is trusted.
        files: role to absolute path, as the runtime wants them.
        options: of the device for this runtime; they override the variant's own.
        policy: what to do where the asked backend does not take the nodes.
        share: of the nodes that must run there.
        alone: no other engine holds the device; a runtime that is exclusive is refused without it.
        polite: load at idle priority, beside a model that is at work.
        load_s: how long loading may take.
        hang_s: how long after a run's deadline its answer may still come before the engine counts as hung.
        python: interpreter of the child; empty for this one.
        user: whom the child runs as; empty for this one.
    """

    variant: Variant
    files: Mapping[str, Path]
    options: Mapping[str, Scalar] = {}
    policy: Policy = "prefer"
    share: float = 1.0
    alone: bool = True
    polite: bool = False
    load_s: float = 120.0
    hang_s: float = 0.5
    python: str = ""
    user: str = ""


class Answer(Struct, frozen=True, kw_only=True):
    """What the model made of one input.

    Args:
        seq: as it was submitted.
        outputs: the engine's own arrays, good until the next call of `slot`.
        late: it came after the deadline, from an engine that could not stop waiting for it.
        took_ns: how long the run itself took, in nanoseconds.
    """

    seq: int
    outputs: Sequence[Array]
    late: bool = False
    took_ns: int = 0


@runtime_checkable
class Engine(Protocol):
    """Runs a model, one input at a time."""

    @property
    def placement(self) -> Placement:
        """Where it really runs."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether its runtime holds the device alone."""
        ...

    @property
    def pid(self) -> int:
        """The process it runs in."""
        ...

    def slot(self) -> Sequence[Array]:
        """Return the arrays to write the next input into, one per physical input.

        Raises:
            GoneError: the engine has died or hangs.
        """
        ...

    def submit(self, seq: int) -> None:
        """Start a run on what is in the slot that `slot` returned last.

        Raises:
            GoneError: the engine has died.
        """
        ...

    def collect(self, deadline_s: float) -> Answer | None:
        """Return the answer to the last `submit`, or None if there is none `deadline_s` after it.

        An answer that was given up is dropped when it comes; it is never taken for a later one. With a
        deadline of 0 the call does not wait, and a run that has not ended can be asked for again.

        Raises:
            GoneError: the engine has died.
            EngineError: the run failed; the next may not.
        """
        ...

    def close(self) -> None:
        """Free the model, by force if it must be; idempotent."""
        ...
