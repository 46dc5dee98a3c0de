"""The seat: one loop that uses it, others that change it at any moment."""

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from outrider_agent.engine.mount import Mounted
from outrider_agent.engine.seat import Seat
from outrider_agent.engine.shadow import Shadow
from tests.fakes.children import eventually


class Model:
    """Stands where a mounted model would."""

    def __init__(self, name: str, isolation: str = "inline") -> None:
        self.name, self.isolation = name, isolation
        self.variant = self
        self.id = name
        self.closed = False


def mounted(name: str, isolation: str = "inline") -> Mounted:
    return cast("Mounted", Model(name, isolation))


@contextlib.contextmanager
def used(seat: Seat) -> Iterator[Mounted | None]:
    """A frame on whatever is seated."""
    try:
        yield seat.enter()
    finally:
        seat.leave()


@pytest.fixture
def dropped() -> list[tuple[Mounted, str]]:
    return []


@pytest.fixture
def seat(dropped: list[tuple[Mounted, str]]) -> Seat:
    return Seat(lambda model, why: dropped.append((model, why)))


@pytest.fixture
def stuck(seat: Seat) -> Iterator[threading.Event]:
    """Yield what lets a loop go on that is at a frame."""
    at_frame, go_on = threading.Event(), threading.Event()

    def loop() -> None:
        with used(seat):
            at_frame.set()
            go_on.wait(10.0)

    thread = threading.Thread(target=loop)
    thread.start()
    assert at_frame.wait(5.0)
    yield go_on
    go_on.set()
    thread.join()


def test_nobody_sits_there_at_first(seat: Seat) -> None:
    assert seat.mounted is None
    assert not seat.wait(0.0)
    with used(seat) as found:
        assert found is None


def test_a_change_hands_out_who_sat_there(seat: Seat) -> None:
    first, second = mounted("first"), mounted("second")
    assert seat.change(first, 0.0) is None
    assert seat.wait(0.0)
    assert seat.change(second, 0.0) is first
    with used(seat) as found:
        assert found is second
    assert seat.change(None, 0.0) is second
    assert not seat.wait(0.0)


def test_a_wait_ends_as_soon_as_somebody_sits(seat: Seat) -> None:
    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(seat.wait(10.0)))
    waiting.start()
    seat.change(mounted("first"), 0.0)
    waiting.join(5.0)
    assert found == [True]


def test_who_is_dropped_is_told_once_and_gone(seat: Seat, dropped: list[tuple[Mounted, str]]) -> None:
    first = mounted("first")
    seat.change(first, 0.0)
    with used(seat):
        seat.drop(first, "it died")
        seat.drop(first, "it died again")
    assert dropped == [(first, "it died")]
    assert (seat.mounted, seat.wait(0.0)) == (None, False)
    assert seat.change(mounted("second"), 0.0) is None


def test_who_was_changed_meanwhile_is_not_dropped(seat: Seat, dropped: list[tuple[Mounted, str]]) -> None:
    first, second = mounted("first"), mounted("second")
    seat.change(first, 0.0)
    with used(seat) as found:
        seat.change(second, 0.0)
        assert found is first
        seat.drop(first, "it died")
    assert (seat.mounted, seat.wait(0.0), dropped) == (second, True, [])


class Interrupted(threading.Event):
    """Lets another thread do something in the middle of a drop, if it can."""

    def __init__(self, other: Callable[[], object]) -> None:
        super().__init__()
        self.thread = threading.Thread(target=other)

    def clear(self) -> None:
        self.thread.start()
        self.thread.join(0.1)
        super().clear()


def test_who_sits_down_in_the_middle_of_a_drop_stays(seat: Seat, dropped: list[tuple[Mounted, str]]) -> None:
    first, second = mounted("first"), mounted("second")
    seat.change(first, 0.0)
    seat._taken = taken = Interrupted(lambda: seat.change(second, 5.0))
    with used(seat):
        seat.drop(first, "it died")
    taken.thread.join(5.0)
    assert (seat.mounted, seat.wait(0.0)) == (second, True)
    assert dropped == [(first, "it died")]


def test_a_change_waits_until_the_loop_is_off(seat: Seat, stuck: threading.Event) -> None:
    first, second = mounted("first"), mounted("second")
    seat._mounted = first
    before: list[Mounted | None] = []
    changing = threading.Thread(target=lambda: before.append(seat.change(second, 10.0)))
    changing.start()
    assert eventually(lambda: seat.mounted is second)
    assert not before
    stuck.set()
    changing.join(5.0)
    assert before == [first]


@pytest.mark.usefixtures("stuck")
@pytest.mark.parametrize(("isolation", "closable"), [("inline", False), ("child", True)])
def test_under_a_loop_that_hangs_only_a_child_can_be_closed(
    seat: Seat, isolation: str, *, closable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    first = mounted("first", isolation)
    seat._mounted = first
    begun_s = time.monotonic()
    assert seat.change(None, 0.05) is (first if closable else None)
    assert time.monotonic() - begun_s < 1.0
    assert ("hangs in first" in caplog.text) is not closable


def test_a_loop_that_is_never_idle_keeps_nobody_waiting(seat: Seat) -> None:
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            with used(seat):
                time.sleep(0.001)

    thread = threading.Thread(target=loop)
    thread.start()
    slowest_s = 0.0
    models = [mounted(str(number)) for number in range(100)]
    seat.change(models[0], 1.0)
    for before, after in itertools.pairwise(models):
        begun_s = time.monotonic()
        assert seat.change(after, 1.0) is before
        slowest_s = max(slowest_s, time.monotonic() - begun_s)
    stop.set()
    thread.join()
    assert slowest_s < 0.5


@pytest.fixture
def restless() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_no_model_is_used_once_it_was_handed_out_and_none_is_lost(
    seat: Seat, dropped: list[tuple[Mounted, str]]
) -> None:
    """Changes and drops at once, as fast as they go: who is handed out or dropped is nobody's any more."""
    stop, used_closed = threading.Event(), []

    def loop() -> None:
        turns = 0
        while not stop.is_set():
            with used(seat) as found:
                if found is None:
                    continue
                model = cast("Model", found)
                turns += 1
                if turns % 3 == 0:
                    seat.drop(found, "every third")
                if model.closed:
                    used_closed.append(model.name)

    thread = threading.Thread(target=loop)
    thread.start()
    models, handed = [mounted(str(number)) for number in range(3000)], []
    for model in models:
        before = seat.change(model, 5.0)
        if before is not None:
            cast("Model", before).closed = True
            handed.append(before)
    stop.set()
    thread.join()
    last = seat.change(None, 1.0)
    gone = [*handed, *(model for model, _ in dropped), *filter(None, [last])]
    assert used_closed == []
    assert sorted(map(id, gone)) == sorted(map(id, models))


def test_a_shadow_is_off_when_that_is_said(seat: Seat, stuck: threading.Event) -> None:
    seat.shadow = cast("Shadow", object())
    assert not seat.unshadow(0.02)
    assert seat.shadow is None
    stuck.set()
    assert seat.unshadow(5.0)
