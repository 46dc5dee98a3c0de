"""Another bundle in place of the running one: beside it (`overlap`) or after it (`replace`).

The new one is proven, and may see a share of the live frames, before it decides anything. Whatever goes
wrong before it is seated leaves the old one at work.
"""

import contextlib
import logging
import time
from functools import partial

from msgspec.structs import replace

from outrider_agent.engine.crew import Crew
from outrider_agent.engine.keeper import Keeper
from outrider_agent.engine.mount import Mounted
from outrider_agent.engine.order import Order, Progress, Swapped
from outrider_agent.engine.seam import SharedError
from outrider_agent.engine.shadow import Record, Shadow
from outrider_bundle.errors import EngineError, OutriderError, ProofError

WAIT_S = 0.5

log = logging.getLogger(__name__)


def swap(keeper: Keeper, order: Order) -> Swapped:
    """Do what `order` asks for, in the thread of the caller: the keeper's stays free to mend the old model.

    Raises:
        OutriderError: it was not done; the old model is at work as before.
    """
    if not keeper.swapping.acquire(blocking=False):
        raise OutriderError("Another swap of this pipeline is on its way", "Wait for its end")
    try:
        with keeper.loader.aside(lambda: not keeper.stopped) as held:
            if not held:
                raise OutriderError("The agent stops")
            return _swap(keeper, replace(order, progress=_quiet(order.progress)))
    finally:
        keeper.swapping.release()


def _swap(keeper: Keeper, order: Order) -> Swapped:
    old, crew = keeper.crew, Crew(order.admitted, keeper.table)
    mounted: Mounted | None = None
    record, mode = None, order.wish.mode
    note = "a shadow needs both models at once: skipped" if mode == "replace" and order.wish.frames else ""
    if mode == "overlap":
        try:
            mounted = keeper.loader.first(crew, polite=True, progress=order.progress)
        except SharedError as error:
            mode, note = "replace", f"{error.what}: not loaded beside the old one, and not shadowed"
        else:
            record = _overlap(keeper, crew, mounted, order)
    if mounted is None:
        mounted = keeper.call(partial(_replace, keeper, crew, order))
    return Swapped(
        before=f"{old.admitted.manifest.name} {old.admitted.manifest.version}",
        after=f"{crew.admitted.manifest.name} {crew.admitted.manifest.version}",
        variant=mounted.variant.id,
        mode=mode,
        shadow=record,
        note=note,
    )


def _overlap(keeper: Keeper, crew: Crew, mounted: Mounted, order: Order) -> Record | None:
    """Seat `mounted`, after its shadow if there is one; what is not seated is ended."""
    with contextlib.ExitStack() as unseated:
        unseated.callback(keeper.loader.end, mounted)
        record = _watched(keeper, mounted, order, unseated) if order.wish.frames else None
        order.progress(f"seating {mounted.variant.id}")
        keeper.call(partial(_seat, keeper, crew, mounted))
        unseated.pop_all()
    return record


def _seat(keeper: Keeper, crew: Crew, mounted: Mounted) -> None:
    keeper.crew = crew
    keeper.loader.landed()
    keeper.sit(mounted)


def _replace(keeper: Keeper, crew: Crew, order: Order) -> Mounted:
    """End the old model, then load the new one; seat the old one again if that fails.

    Raises:
        OutriderError: the new one cannot be run.
    """
    order.progress("ending the old model")
    keeper.vacate(f"{crew.admitted.manifest.name} {crew.admitted.manifest.version} takes its place")
    try:
        mounted = keeper.loader.first(crew, progress=order.progress)
    except OutriderError:
        order.progress("restoring the old model")
        keeper.restore("the new model could not be run")
        raise
    _seat(keeper, crew, mounted)
    return mounted


def _watched(keeper: Keeper, mounted: Mounted, order: Order, unseated: contextlib.ExitStack) -> Record:
    """Let `mounted` see live frames; return what was seen of it.

    Raises:
        ProofError: it agrees too little with the model at work.
        EngineError: it failed, or saw too few frames in time.
    """
    wish, table = order.wish, keeper.table
    order.progress(f"shadowing {mounted.variant.id} on {wish.share:.0%} of the frames")
    shadow = Shadow(mounted, wish.share, wish.frames, table.deadline_ms / 1000.0, table.hang_ms / 1000.0)
    keeper.seat.shadow = shadow
    end_s = time.monotonic() + wish.patience_s
    while not shadow.finished.wait(WAIT_S) and time.monotonic() < end_s and not keeper.stopped:
        order.progress(f"shadowed {shadow.record().frames} of {wish.frames} frames")
    if not keeper.seat.unshadow(keeper.patience_s):
        if mounted.isolation == "inline":
            unseated.pop_all()  # the loop may hang in it: to free it would crash
        raise EngineError("The loop hangs", "Look at the model at work and at its actions")
    if keeper.stopped:
        raise OutriderError("The agent stops")
    record = shadow.record()
    fault = _fault(shadow, record, order)
    if fault is not None:
        raise fault
    return record


def _fault(shadow: Shadow, record: Record, order: Order) -> OutriderError | None:
    if shadow.gone:
        return EngineError(f"The new model failed in the shadow: {shadow.gone}")
    if not shadow.finished.is_set():
        what = (
            f"The new model saw {record.frames} of {order.wish.frames} frames in {order.wish.patience_s:g} s"
        )
        return EngineError(what, "Is there input? Ask for fewer frames or a larger share")
    if record.errors > record.frames:
        counts = f"{record.errors} times, and answered {record.frames}"
        return EngineError(
            f"The new model failed or was late {counts}; the last time: {shadow.fault.rstrip('.')}",
            "The old one stays",
        )
    if record.agreement < order.wish.agreement:
        what = (
            f"The new model agrees on {record.agreement:.1%} of {record.frames} frames with {record.errors} "
            f"errors, asked for were {order.wish.agreement:.1%}"
        )
        return ProofError(what, "The old one stays")
    return None


def _quiet(progress: Progress) -> Progress:
    """Return `progress` for a swap that goes on although nobody can be told any more."""

    def tell(text: str) -> None:
        try:
            progress(text)
        except Exception:  # whoever asked may be gone, and between two models is no time to stop
            log.exception("The progress of a swap could not be told")

    return tell
