"""Keeps a model seated: loads it, replaces it when it fails, climbs back to a better one.

All loading after the start is done by one thread of its own; the loop never waits for it.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal, TypeVar

from outrider_agent.config import Engine as Table
from outrider_agent.engine import spawn
from outrider_agent.engine.crew import Crew, NoneProvenError
from outrider_agent.engine.ladder import Step
from outrider_agent.engine.mount import Mounted, mount
from outrider_agent.engine.seam import SharedError
from outrider_agent.engine.seat import Seat
from outrider_bundle.errors import EngineError, OutriderError
from outrider_bundle.manifest import Variant
from outrider_runtime.placing import shortfall

News = Literal["loaded", "failed", "abandoned"]
Tell = Callable[[News, str], None]
Progress = Callable[[str], None]

T = TypeVar("T")

JOIN_S = 5.0
WAIT_S = 0.5
IDLE_S = 3600.0


class Keeper:
    """One pipeline's model.

    Args:
        name: of the pipeline.
        crew: the bundle's variants.
        table: how the model is run.
        state_dir: of the device.
        tell: told what has happened, and why; from the keeper's thread.
    """

    def __init__(
        self,
        name: str,
        crew: Crew,
        table: Table,
        state_dir: Path,
        tell: Tell = lambda _news, _why: None,
    ) -> None:
        """Load nothing yet."""
        self.crew, self.table, self.seat = crew, table, Seat(self._dropped)
        self.restarts = 0
        self.swapping = threading.Lock()
        self.stopped = False
        self.last: Mounted | None = None
        self._state_dir, self._tell = state_dir, tell
        self._log = logging.getLogger(f"outrider.{name}")
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"engine-{name}", daemon=True)
        self._step: tuple[float, Step] | None = None
        self._held: dict[str, int] = {}
        self._why = ""

    @property
    def reason(self) -> str:
        """Why the model is not as good as it could be; empty if it is."""
        mounted = self.seat.mounted
        parts = [f"{one.variant} was skipped: {one.reason}" for one in self.crew.skipped]
        if mounted is None:
            parts.append(f"no model is loaded: {self._why}")
        else:
            parts.append(shortfall(mounted.engine.placement, self.table.placement, self.table.share))
        parts += [f"process {pid} of {name} cannot be killed" for name, pid in self._unkillable().items()]
        return "; ".join(filter(None, parts))

    def open(self, progress: Progress = lambda _: None) -> None:
        """Seat the best variant that proves itself.

        Raises:
            NoneProvenError: none does.
        """
        self.sit(self.first(self.crew, progress=progress))

    def start(self) -> None:
        """Begin to replace what fails."""
        self._thread.start()

    def call(self, task: Callable[[], T]) -> T:
        """Return what `task` returns in the keeper's thread.

        Raises:
            OutriderError: it failed, or the keeper stops.
        """
        done = threading.Event()
        results: list[T | OutriderError] = []

        def run() -> None:
            try:
                results.append(task())
            except OutriderError as error:
                results.append(error)
            finally:
                done.set()

        self._tasks.put(run)
        while not done.wait(WAIT_S):
            if self.stopped:
                raise OutriderError("The agent stops")
        result = results[0] if results else OutriderError("The keeper of the model failed")
        if isinstance(result, OutriderError):
            raise result
        return result

    def stop(self) -> None:
        """End the thread, then the model."""
        self.stopped = True
        self._tasks.put(None)
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        before = self.seat.change(None, self.patience_s)
        if before is not None:
            self.end(before)

    @property
    def patience_s(self) -> float:
        """How long a loop may take to come off its model."""
        return (self.table.deadline_ms + self.table.hang_ms) / 1000.0 + 1.0

    def first(self, crew: Crew, *, polite: bool = False, progress: Progress = lambda _: None) -> Mounted:
        """Return the best variant of `crew` that proves itself.

        Raises:
            SharedError: it holds the device that the seated model holds.
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
        """Load and prove `variant`.

        Raises:
            SharedError: it holds the device that the seated model holds.
            OutriderError: it cannot be run.
        """
        if pid := self._unkillable().get(variant.runtime):
            raise EngineError(
                f"The device of {variant.runtime} is held by process {pid}, which cannot be killed"
            )
        seated = self.seat.mounted
        alone = seated is None or not seated.engine.exclusive or seated.variant.runtime != variant.runtime
        return mount(crew.admitted, variant, self.table, self._state_dir, alone=alone, polite=polite)

    def sit(self, mounted: Mounted) -> None:
        """Let the loop use `mounted` from its next frame on, and end what it used before."""
        self.last, self._step = mounted, None
        before = self.seat.change(mounted, self.patience_s)
        if before is not None:
            self.end(before)
        self._tell("loaded", self._why)
        self._why = ""

    def end(self, mounted: Mounted) -> None:
        """Close `mounted`; what cannot be killed is remembered."""
        mounted.close()
        pid = mounted.engine.pid
        if pid in spawn.abandoned():
            self._held[mounted.variant.runtime] = pid
            self._tell("abandoned", f"the process {pid} cannot be killed")

    def restore(self, why: str) -> None:
        """Load the rung that ran last again, now."""
        self._why = why
        self._plan(Step(rung=self.crew.ladder.rung))
        self._go()

    def vacate(self) -> None:
        """End the seated model; if it was exclusive, a variant of another runtime serves meanwhile."""
        mounted = self.seat.mounted
        stand_in = self._stand_in(mounted) if mounted is not None and mounted.engine.exclusive else None
        before = self.seat.change(stand_in, self.patience_s)
        if before is not None:
            self.end(before)

    def _stand_in(self, mounted: Mounted) -> Mounted | None:
        lower = self.crew.variants[self.crew.ladder.rung + 1 :]
        for variant in lower:
            if variant.runtime != mounted.variant.runtime:
                try:
                    return self.mount(self.crew, variant, polite=True)
                except OutriderError as error:
                    self._log.warning("%s cannot stand in: %s", variant.id, error)
        return None

    def _work(self) -> None:
        while not self.stopped:
            try:
                (self._task() or self._go)()
            except Exception:  # noqa: BLE001 - without this thread nothing would be mended
                self._log.exception("The keeper of the model failed; it goes on")

    def _task(self) -> Callable[[], None] | None:
        """Wait for the next task, until something else is due."""
        try:
            return self._tasks.get(timeout=min(IDLE_S, max(0.0, self._due_s() - time.monotonic())))
        except Empty:
            return None

    def _dropped(self, mounted: Mounted, why: str) -> None:
        self._why = why
        self._tasks.put(partial(self._mend, mounted, why))

    def _mend(self, mounted: Mounted, why: str) -> None:
        """Replace `mounted`, which the loop has given up."""
        self._log.warning("The engine of %s failed: %s", mounted.variant.id, why)
        self.end(mounted)
        if self.seat.mounted is not None or mounted is not self.last:
            return  # another has taken its place since
        self.restarts += 1
        step = self.crew.ladder.failed(time.monotonic())
        if step.rung != self.crew.ladder.rung or step.delay_s:
            self.crew.failed(mounted.variant, why)
        self._tell("failed", why)
        self._plan(step)
        self._go()

    def _plan(self, step: Step) -> None:
        self._step = time.monotonic() + step.delay_s, step

    def _due_s(self) -> float:
        retry_s = self.crew.ladder.retry_s()
        dues = [self._step[0] if self._step else None, None if self._step else retry_s]
        return min((due for due in dues if due is not None), default=float("inf"))

    def _go(self) -> None:
        """Do what is due."""
        if time.monotonic() < self._due_s():
            return
        if self._step is None:
            self._climb()
            return
        step = self._step[1]
        variant = self.crew.variants[step.rung]
        try:
            if not self.crew.hopeful(step.rung):
                raise EngineError(f"{variant.id} does not compute right here")
            mounted = self.mount(self.crew, variant, polite=False)
        except OutriderError as error:
            self._why = str(error)
            self.crew.missed(variant, error)
            self._plan(self.crew.ladder.refused(step.rung))
            return
        self.crew.runs(variant)
        self.sit(mounted)

    def _climb(self) -> None:
        """Try the variants that are better than the one that runs."""
        for rung in filter(self.crew.hopeful, range(self.crew.ladder.rung)):
            variant = self.crew.variants[rung]
            try:
                mounted = self.mount(self.crew, variant, polite=True)
            except SharedError:
                if not self._exchange(variant):
                    continue
                return
            except OutriderError as error:
                self.crew.missed(variant, error)
                continue
            self.crew.runs(variant)
            self.sit(mounted)
            return
        self.crew.ladder.stayed(time.monotonic())

    def _exchange(self, variant: Variant) -> bool:
        """Try `variant` in place of the seated model, whose device it needs; else seat that again."""
        self.vacate()
        try:
            mounted = self.mount(self.crew, variant, polite=False)
        except OutriderError as error:
            self.crew.missed(variant, error)
            self.restore(f"{variant.id} was tried")
            return False
        self.crew.runs(variant)
        self.sit(mounted)
        return True

    def _unkillable(self) -> dict[str, int]:
        living = spawn.abandoned()
        return {name: pid for name, pid in self._held.items() if pid in living}
