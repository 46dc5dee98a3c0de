"""The variants of one bundle: which are worth trying, which one runs, and why not a better one."""

import time

from outrider_agent.admission import Admitted
from outrider_agent.backoff import Backoff
from outrider_agent.config import Engine as Table
from outrider_agent.engine.ladder import Ladder
from outrider_agent.summary import Skipped
from outrider_bundle.errors import MissingExtraError, OutriderError, ProofError
from outrider_bundle.manifest import Variant


class NoneProvenError(ProofError):
    """Every variant was passed over; `skipped` says why."""

    def __init__(self, admitted: Admitted, skipped: tuple[Skipped, ...]) -> None:
        """List the reasons."""
        self.skipped = skipped
        reasons = "; ".join(f"{one.variant}: {one.reason.rstrip('.')}" for one in skipped)
        manifest = admitted.manifest
        super().__init__(
            f"No variant of {manifest.name} {manifest.version} can be run here ({reasons})",
            "Look closer with: outrider prove BUNDLE --all-variants",
        )


class Crew:
    """A bundle's variants in their order.

    Args:
        admitted: the bundle.
        table: how its model is run.
    """

    def __init__(self, admitted: Admitted, table: Table) -> None:
        """Take all that were admitted; none runs yet."""
        self.admitted = admitted
        self.variants = admitted.variants
        self.ladder = Ladder(len(self.variants), table.failures, Backoff(table.retry_s, table.retry_max_s))
        self._passed = {one.variant: one.reason for one in admitted.skipped}
        self._hopeless: set[str] = set()
        self._proven: set[str] = set()
        self._running = ""

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Variants that were passed over, in the manifest's order, and why; none below the running one."""
        order = [variant.id for variant in self.admitted.manifest.ranked()]
        if self._running:
            order = order[: order.index(self._running) + 1]
        passed = self._passed
        return tuple(Skipped(variant=name, reason=passed[name]) for name in order if name in passed)

    def hopeful(self, rung: int) -> bool:
        """Whether the variant `rung` may run some time; one that computes wrong here never will."""
        return self.variants[rung].id not in self._hopeless

    def better(self) -> tuple[Variant, ...]:
        """Return the variants before the one that runs that may run some time, best first."""
        return tuple(self.variants[rung] for rung in range(self.ladder.rung) if self.hopeful(rung))

    def missed(self, variant: Variant, error: OutriderError) -> None:
        """Note why `variant` is passed over."""
        self._passed = {**self._passed, variant.id: str(error)}
        # One that has computed right before may do so again: its device was at fault, not the model.
        if isinstance(error, ProofError | MissingExtraError) and variant.id not in self._proven:
            self._hopeless.add(variant.id)

    def failed(self, variant: Variant, why: str) -> None:
        """Note that `variant` ran and gave way to another."""
        self._passed = {**self._passed, variant.id: why}

    def runs(self, variant: Variant) -> None:
        """Note that `variant` runs: it is not passed over any more, and worse ones do not matter."""
        self._running = variant.id
        self._proven.add(variant.id)
        self._passed = {name: why for name, why in self._passed.items() if name != variant.id}
        self.ladder.runs(self.variants.index(variant), time.monotonic())
