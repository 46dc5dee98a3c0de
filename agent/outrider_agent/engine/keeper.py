"""Keeps a model seated: replaces it when it fails, and climbs back to a better one.

What is seated after the start is changed by one thread of its own; the loop never waits for it. Better
variants are loaded by another, so that a driver that hangs in that does not keep the first from mending.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from outrider_agent.config import Engine as Table
from outrider_agent.engine.crew import Crew
from outrider_agent.engine.ladder import Step
from outrider_agent.engine.loader import Loader
from outrider_agent.engine.mount import Mounted
from outrider_agent.engine.order import Progress
from outrider_agent.engine.seam import SharedError
from outrider_agent.engine.seat import Seat
from outrider_agent.engine.tasks import Tasks
from outrider_bundle.errors import OutriderError
from outrider_bundle.manifest import Variant
from outrider_runtime.placing import shortfall

News = Literal["loaded", "vacated", "failed", "abandoned"]
Tell = Callable[[News, str], None]

T = TypeVar("T")

JOIN_S = 5.0
IDLE_S = 3600.0
PAUSE_S = 1.0
"""After a fault of the keeper itself, which would come again at once."""


class Keeper:
    """One pipeline's model.

    Args:
        name: of the pipeline.
        crew: the bundle's variants.
        table: how the model is run.
        state_dir: of the device.
        tell: told what has happened, and why; from several threads.
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
        self.last: Mounted | None = None
        self._name, self._tell = name, tell
        self._log = logging.getLogger(f"outrider.{name}")
        self.loader = Loader(self._log, table, state_dir, self.seat, partial(self._say, "abandoned"))
        self._tasks = Tasks(self._log)
        self._thread = threading.Thread(target=self._work, name=f"engine-{name}", daemon=True)
        self._climbing = False
        self._step: tuple[float, Step] | None = None
        self._loose: list[Mounted] = []
        self._stand_in: Mounted | None = None
        self._why = ""

    @property
    def stopped(self) -> bool:
        """Whether it is to do nothing more."""
        return self._tasks.stopped

    @property
    def reason(self) -> str:
        """Why the model is not as good as it could be; empty if it is."""
        mounted = self.seat.mounted
        parts = [f"{one.variant} was skipped: {one.reason}" for one in self.crew.skipped]
        if mounted is None:
            parts.append(f"no model is loaded: {self._why}")
        elif mounted is self._stand_in:
            parts.append(f"{mounted.variant.id} stands in: {self._why}")
        else:
            parts.append(shortfall(mounted.engine.placement, self.table.placement, self.table.share))
        parts += [f"process {pid} of {name} cannot be killed" for name, pid in self.loader.unkillable.items()]
        return "; ".join(filter(None, parts))

    @property
    def patience_s(self) -> float:
        """How long a loop may take to come off its model."""
        return (self.table.deadline_ms + self.table.hang_ms) / 1000.0 + 1.0

    def open(self, progress: Progress = lambda _: None) -> None:
        """Seat the best variant that proves itself.

        Raises:
            NoneProvenError: none does.
        """
        self.sit(self.loader.first(self.crew, progress=progress))

    def start(self) -> None:
        """Begin to replace what fails."""
        self._thread.start()

    def call(self, task: Callable[[], T]) -> T:
        """Return what `task` returns in the keeper's thread.

        Raises:
            OutriderError: it failed, or the keeper stops.
        """
        return self._tasks.call(task)

    def stop(self) -> None:
        """End the thread, then the model; what is still being loaded elsewhere is ended where it is."""
        self._tasks.stop()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        self._change(None)
        for mounted in list(self._loose):
            self.loader.end(mounted)

    def sit(self, mounted: Mounted) -> None:
        """Let the loop use `mounted` from its next frame on, and end what it used before."""
        why, self._why = self._why, ""  # before the loop can drop it, and say why
        self.last, self._step, self._stand_in = mounted, None, None
        self._change(mounted)
        if self.stopped:  # nobody else would end it
            self._change(None)
        self._say("loaded", why)

    def restore(self, why: str) -> None:
        """Load the rung that ran last again, now."""
        self._why = why
        self._plan(Step(rung=self.crew.ladder.rung))
        self._go()

    def vacate(self, why: str) -> None:
        """End the seated model; if it was exclusive, a variant of another runtime serves meanwhile."""
        mounted = self.seat.mounted
        exclusive = mounted is not None and mounted.engine.exclusive
        stand_in = self.loader.stand_in(self.crew) if exclusive else None
        self._why = why
        if stand_in is not None:
            self.last = self._stand_in = stand_in
        self._change(stand_in)
        self._say("vacated", "")

    def _change(self, mounted: Mounted | None) -> None:
        before = self.seat.change(mounted, self.patience_s)
        if before is not None:
            self.loader.end(before)

    def _work(self) -> None:
        while not self.stopped:
            try:
                task = self._tasks.next(min(IDLE_S, max(0.0, self._due_s() - time.monotonic())))
                if not self.stopped:
                    (task or self._go)()
            except Exception:  # noqa: BLE001 - without this thread nothing would be mended
                self._log.exception("The keeper of the model failed; it goes on")
                self._tasks.pause(PAUSE_S)

    def _dropped(self, mounted: Mounted, why: str) -> None:
        self._why = why
        self._loose.append(mounted)
        self._tasks.put(partial(self._mend, mounted, why))

    def _mend(self, mounted: Mounted, why: str) -> None:
        """Replace `mounted`, which the loop has given up."""
        self._log.warning("The engine of %s failed: %s", mounted.variant.id, why)
        self.loader.end(mounted)
        self._loose.remove(mounted)
        if self.seat.mounted is not None or mounted is not self.last:
            return  # another has taken its place since
        self.restarts += 1
        if mounted is not self._stand_in or self._step is None:
            self._plan(self._after(mounted, why))
        self._say("failed", why)
        self._go()

    def _after(self, mounted: Mounted, why: str) -> Step:
        """Return what comes after the failure of `mounted`."""
        ladder = self.crew.ladder
        step = ladder.failed(time.monotonic())
        if step.rung != ladder.rung or step.delay_s:
            self.crew.failed(mounted.variant, why)
        return step

    def _plan(self, step: Step) -> None:
        self._step = time.monotonic() + step.delay_s, step

    def _due_s(self) -> float:
        if self._step is not None:
            return self._step[0]
        retry_s = self.crew.ladder.retry_s()
        return float("inf") if self._climbing or retry_s is None else retry_s

    def _go(self) -> None:
        """Do what is due."""
        if time.monotonic() < self._due_s():
            return
        if self._step is not None:
            self._take(self._step[1].rung)
            return
        self.crew.ladder.stayed(time.monotonic())
        self._climbing = True
        threading.Thread(target=self._climb, name=f"climb-{self._name}", daemon=True).start()

    def _take(self, rung: int) -> None:
        """Load `rung` in place of what failed, or plan the next."""
        variant = self.crew.variants[rung]
        if not self.crew.hopeful(rung):
            self._plan(self.crew.ladder.refused(rung))
            return
        try:
            mounted = self.loader.mount(self.crew, variant, polite=False)
        except OutriderError as error:
            self._log.warning("%s cannot be loaded: %s", variant.id, error)
            self._why = str(error)
            self.crew.missed(variant, error)
            self._plan(self.crew.ladder.refused(rung))
            self._say("failed", self._why)
            return
        self.crew.runs(variant)
        self.sit(mounted)

    def _climb(self) -> None:
        """Try the better variants, in a thread of its own; a swap under way is not disturbed."""
        try:
            with self.loader.aside(lambda: False) as held:
                crew = self.crew
                for variant in crew.better() if held else ():
                    if self.stopped or self._try(crew, variant):
                        return
        except OutriderError as error:
            self._log.info("No better variant is tried any more: %s", error)
        except Exception:  # noqa: BLE001 - it is tried again
            self._log.exception("A better variant could not be tried")
        finally:
            self._tasks.put(self._climbed)

    def _climbed(self) -> None:
        self._climbing = False

    def _try(self, crew: Crew, variant: Variant) -> bool:
        """Return whether nothing better than `variant` need be looked for."""
        try:
            mounted = self.loader.mount(crew, variant, polite=True)
        except SharedError:
            return self.call(partial(self._exchange, crew, variant))
        except OutriderError as error:
            self._log.info("%s cannot be taken back yet: %s", variant.id, error)
            self.call(partial(crew.missed, variant, error))
            return False
        try:
            return self.call(partial(self._take_back, crew, mounted))
        except OutriderError:
            self.loader.end(mounted)
            raise

    def _take_back(self, crew: Crew, mounted: Mounted) -> bool:
        """Seat `mounted`, unless that variant or a better one had to be taken meanwhile."""
        if mounted.variant in crew.better():
            crew.runs(mounted.variant)
            self.loader.landed()
            self.sit(mounted)
        else:
            self.loader.end(mounted)
        return True

    def _exchange(self, crew: Crew, variant: Variant) -> bool:
        """Try `variant` in place of the seated model, whose device it needs; else seat that again."""
        if variant not in crew.better():
            return True
        self.vacate(f"{variant.id} is tried again")
        try:
            mounted = self.loader.mount(crew, variant, polite=False)
        except OutriderError as error:
            crew.missed(variant, error)
            self.restore(f"{variant.id} was tried")
            return False
        crew.runs(variant)
        self.sit(mounted)
        return True

    def _say(self, news: News, why: str) -> None:
        """Tell; who listens may fail, and the model is kept all the same."""
        try:
            self._tell(news, why)
        except Exception:  # noqa: BLE001
            self._log.exception("The news that the model is %s could not be told", news)
