"""The models of one pipeline: the first sees frames, those of its cascade what the first has found."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from outrider_agent.admission import Admitted
from outrider_agent.cascade import Cascade, Second
from outrider_agent.config import CascadeTable, Engine, PipelineTable
from outrider_agent.engine.crew import Crew
from outrider_agent.engine.keeper import Keeper, News, Tell
from outrider_agent.engine.mount import Mounted
from outrider_agent.loop import Sight
from outrider_agent.perceiver import Perceiver
from outrider_agent.telemetry.metrics import Meters
from outrider_bundle.errors import EngineError, IncompatibleError
from outrider_bundle.manifest import Manifest
from outrider_bundle.messages.reported import CascadeReport
from outrider_runtime.session import Placement


class Models:
    """Keepers of all of them.

    Args:
        table: of the pipeline.
        admitted: its bundle.
        seconds: the bundles of its cascade, in order.
        state_dir: of the device.
        tell: told what has happened to a model, and why.

    Raises:
        IncompatibleError: a bundle has no place where it stands.
    """

    def __init__(
        self,
        table: PipelineTable,
        admitted: Admitted,
        seconds: Sequence[Admitted],
        state_dir: Path,
        tell: Tell,
    ) -> None:
        """Load nothing yet."""
        check_cascade(admitted.manifest, zip(table.cascade, (one.manifest for one in seconds), strict=True))
        self.keeper = Keeper(table.id, Crew(admitted, table.engine), table.engine, state_dir, tell)
        self.seconds = tuple(
            Keeper(
                f"{table.id}.{at}",
                Crew(one, row.engine),
                row.engine,
                state_dir,
                partial(_tell_of, tell, one.manifest.name),
            )
            for at, (row, one) in enumerate(zip(table.cascade, seconds, strict=True))
        )
        self._table = table

    @property
    def first(self) -> Mounted:
        """The model at work, or the last that was."""
        return _last(self.keeper)

    @property
    def reason(self) -> str:
        """Why a model is not as good as it could be; empty if all are."""
        reasons = [self.keeper.reason]
        reasons += [f"{_last(k).admitted.manifest.name}: {k.reason}" for k in self.seconds if k.reason]
        return "; ".join(filter(None, reasons))

    @property
    def restarts(self) -> int:
        """How many engines were replaced."""
        return sum(keeper.restarts for keeper in self._all())

    def check(self, manifest: Manifest) -> None:
        """Check that another first model can work with the cascade.

        Raises:
            IncompatibleError: it cannot.
        """
        seconds = (_last(keeper).admitted.manifest for keeper in self.seconds)
        check_cascade(manifest, zip(self._table.cascade, seconds, strict=True))

    def open(self, progress: Callable[[str], None]) -> None:
        """Seat the best variant of each that proves itself.

        Raises:
            NoneProvenError: none of one does.
        """
        for keeper in self._all():
            keeper.open(progress)

    def start(self) -> None:
        """Begin to replace what fails."""
        for keeper in self._all():
            keeper.start()

    def stop(self) -> None:
        """End all of them."""
        for keeper in self._all():
            keeper.stop()

    def sight(self) -> Sight:
        """Return what perceives with them."""
        first = _perceiver(self.keeper, self._table.engine)
        if not self.seconds:
            return first
        rows = zip(self._table.cascade, self.seconds, strict=True)
        return Cascade(
            first,
            [Second(table=row, perceiver=_perceiver(k, row.engine), meters=Meters()) for row, k in rows],
        )

    def report(self) -> tuple[CascadeReport, ...]:
        """Return what is reported of the cascade."""
        return tuple(
            CascadeReport(
                bundle=one.admitted.manifest.name,
                version=one.admitted.manifest.version,
                digest=one.admitted.slot.digest,
                variant=one.variant.id,
                placement=described(one.engine.placement),
            )
            for one in map(_last, self.seconds)
        )

    def _all(self) -> tuple[Keeper, ...]:
        return (self.keeper, *self.seconds)


def check_cascade(first: Manifest, seconds: Iterable[tuple[CascadeTable, Manifest]]) -> None:
    """Check that the models of a cascade can work together.

    Raises:
        IncompatibleError: they cannot.
    """
    for table, second in seconds:
        if first.task != "detection":
            what = f"{first.name} finds no objects for {second.name} to look at, its task is {first.task}"
            raise IncompatibleError(what, "Put a detector before a cascade")
        if second.task != "classification":
            what = f"{second.name} stands in a cascade, and its task is {second.task}"
            raise IncompatibleError(what, "Give the cascade a classifier")
        known = getattr(first.outputs[0].decoder, "labels", ())
        if strange := sorted(set(table.labels) - set(known)):
            what = f"{first.name} never finds {', '.join(strange)}, which {second.name} is to look at"
            raise IncompatibleError(what, f"It finds: {', '.join(known[:20])}")


def described(placement: Placement) -> dict[str, Any]:
    """Return a placement as messages have it."""
    return {**msgspec.to_builtins(placement), "share": round(placement.share, 4)}


def _perceiver(keeper: Keeper, engine: Engine) -> Perceiver:
    return Perceiver(keeper.seat, engine.deadline_ms / 1000.0, engine.failures)


def _tell_of(tell: Tell, name: str, news: News, why: str) -> None:
    tell(news, f"{name}: {why}" if why else "")


def _last(keeper: Keeper) -> Mounted:
    if keeper.last is None:  # it is set by `open`, without which there is no pipeline
        raise EngineError("no model was loaded")
    return keeper.last
