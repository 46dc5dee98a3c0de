"""Loads the models of one pipeline and ends them; it knows who holds which device."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from outrider_agent.config import Engine as Table
from outrider_agent.engine import spawn
from outrider_agent.engine.crew import Crew, NoneProvenError
from outrider_agent.engine.mount import Mounted, mount
from outrider_agent.engine.order import Progress
from outrider_agent.engine.seam import SharedError
from outrider_agent.engine.seat import Seat
from outrider_bundle.errors import EngineError, OutriderError
from outrider_bundle.manifest import Variant

WAIT_S = 0.5


class Loader:
    """For any thread.

    Args:
        log: of the pipeline.
        table: how its models are run.
        state_dir: of the device.
        seat: of the model at work.
        abandoned: told of a process that cannot be killed.
    """

    def __init__(
        self,
        log: logging.Logger,
        table: Table,
        state_dir: Path,
        seat: Seat,
        abandoned: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Hold nothing yet."""
        self._log, self._table, self._state_dir, self._seat = log, table, state_dir, seat
        self._abandoned = abandoned
        self._held: dict[str, int] = {}
        self._aside = threading.Lock()
        self._beside = ""

    @property
    def unkillable(self) -> dict[str, int]:
        """Processes that could not be killed and are still there, by their runtime."""
        living = spawn.abandoned()
        return {name: pid for name, pid in self._held.items() if pid in living}

    @contextmanager
    def aside(self, waits: Callable[[], bool]) -> Iterator[bool]:
        """Be the only one who loads beside the model at work; yields whether that is so.

        Args:
            waits: whether to go on waiting for another one.
        """
        held = self._aside.acquire(blocking=False)
        while not held and waits():
            held = self._aside.acquire(timeout=WAIT_S)
        try:
            yield held
        finally:
            if held:
                self._beside = ""
                self._aside.release()

    def landed(self) -> None:
        """Note that the model that was loaded beside is the one at work now."""
        self._beside = ""

    def first(self, crew: Crew, *, polite: bool = False, progress: Progress = lambda _: None) -> Mounted:
        """Return the best variant of `crew` that proves itself.

        Raises:
            SharedError: it holds a device that is held.
            NoneProvenError: none does.
        """
        for variant in crew.variants:
            progress(f"proving {variant.id}")
            try:
                mounted = self.mount(crew, variant, polite=polite)
            except SharedError:
                raise
            except OutriderError as error:
                self._log.warning("The variant %s is skipped: %s", variant.id, error)
                crew.missed(variant, error)
            else:
                crew.runs(variant)
                return mounted
        raise NoneProvenError(crew.admitted, crew.skipped)

    def mount(self, crew: Crew, variant: Variant, *, polite: bool) -> Mounted:
        """Load and prove `variant`; `polite` if that is beside the model at work.

        Raises:
            SharedError: it holds a device that is held.
            OutriderError: it cannot be run.
        """
        if pid := self.unkillable.get(variant.runtime):
            raise EngineError(
                f"The device of {variant.runtime} is held by process {pid}, which cannot be killed"
            )
        alone = self._free(variant.runtime, polite=polite)
        if polite:
            self._beside = variant.runtime
        try:
            return mount(crew.admitted, variant, self._table, self._state_dir, alone=alone, polite=polite)
        except BaseException as error:
            if polite:
                self._beside = ""
            if isinstance(error, OutriderError) or not isinstance(error, Exception):
                raise
            raise EngineError(f"{variant.id} cannot be loaded: {error!r}") from error

    def stand_in(self, crew: Crew) -> Mounted | None:
        """Return a worse variant than the running one that needs no device for itself; None if none does."""
        best = crew.ladder.rung
        for rung in range(best + 1, len(crew.variants)):
            variant = crew.variants[rung]
            if variant.runtime == crew.variants[best].runtime or not crew.hopeful(rung):
                continue
            try:
                mounted = self.mount(crew, variant, polite=True)
            except OutriderError as error:
                self._log.warning("%s cannot stand in: %s", variant.id, error)
                continue
            if not mounted.engine.exclusive:
                return mounted
            self.end(mounted)
        return None

    def end(self, mounted: Mounted) -> None:
        """Close `mounted`, whatever its runtime makes of that; what cannot be killed is remembered."""
        try:
            mounted.close()
        except Exception:  # noqa: BLE001 - a runtime may fail in any way, and another model is waiting
            self._log.exception("The engine of %s did not close well", mounted.variant.id)
        pid = mounted.engine.pid
        if pid in spawn.abandoned() and pid not in self._held.values():
            self._held = {**self._held, mounted.variant.runtime: pid}
            self._abandoned(f"the process {pid} cannot be killed")

    def _free(self, runtime: str, *, polite: bool) -> bool:
        """Whether no other engine holds the device of `runtime`, were that exclusive."""
        seated = self._seat.mounted
        held = seated is not None and seated.engine.exclusive and seated.variant.runtime == runtime
        return not held and (polite or self._beside != runtime)
