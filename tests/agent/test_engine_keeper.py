"""The keeper, with real engine children: what fails is replaced, and told as it is."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider_agent.admission import Admitted
from outrider_agent.engine import spawn
from outrider_agent.engine.crew import Crew, NoneProvenError
from outrider_agent.engine.keeper import Keeper, News
from outrider_agent.engine.mount import Mounted
from outrider_bundle.errors import OutriderError
from tests.fakes import faulty_runtime, keepers, null_bundle
from tests.fakes.children import eventually, living
from tests.fakes.faulty_runtime import tell
from tests.fakes.keepers import (
    INLINE,
    PATIENCE_S,
    TABLE,
    Belt,
    Heard,
    children,
    kept,
    kill_loading,
    pid,
    seated,
)

ONCE = replace(TABLE, failures=1)


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty_runtime.use(monkeypatch, tmp_path / "site")


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    """Check that no engine and no thread of a keeper is left behind."""
    before = children()
    yield
    assert eventually(lambda: not {pid for pid in children() - before if living(pid)})
    mine = ("engine-belt", "climb-belt", "loop")
    assert eventually(lambda: not [t for t in threading.enumerate() if t.name in mine])


@pytest.fixture
def trigger(tmp_path: Path) -> Path:
    return tmp_path / "trigger"


@pytest.fixture
def pair(tmp_path: Path, trigger: Path) -> Admitted:
    """Return a bundle of a variant that fails by `trigger`, and a worse one that works."""
    return keepers.bundle(tmp_path, keepers.faulty("a", 0, trigger), null_bundle.variant("b", 1))


def soon(condition: Callable[[], object], within_s: float = PATIENCE_S) -> bool:
    return eventually(lambda: bool(condition()), within_s)


def test_a_crashed_engine_is_replaced_by_the_same(pair: Admitted) -> None:
    heard = Heard()
    with kept(pair, tell=heard) as keeper, Belt(keeper) as belt:
        assert belt.feed()
        first = pid(keeper)
        os.kill(first, signal.SIGKILL)
        assert belt.decides()
        assert (seated(keeper), keeper.restarts, keeper.reason) == ("a", 1, "")
        assert pid(keeper) != first
    assert [news for news, _ in heard.news] == ["loaded", "failed", "loaded"]
    assert "SIGKILL" in heard.news[1][1]
    assert "SIGKILL" in heard.news[2][1]


def test_while_there_is_no_model_the_reason_says_so(tmp_path: Path, trigger: Path) -> None:
    table = replace(ONCE, retry_s=5.0)
    with (
        kept(keepers.bundle(tmp_path, keepers.faulty("a", 0, trigger)), table) as keeper,
        Belt(keeper) as belt,
    ):
        tell(trigger, "segfault")
        assert not belt.feed()
        assert "no model is loaded: The engine was killed by SIGSEGV" in keeper.reason
        assert seated(keeper) == ""


def test_one_that_keeps_crashing_gives_way_and_is_taken_back_when_it_works(
    pair: Admitted, trigger: Path
) -> None:
    heard = Heard()
    with kept(pair, replace(TABLE, failures=2), heard) as keeper, Belt(keeper) as belt:
        tell(trigger, "segfault")
        assert belt.decides()
        assert seated(keeper) == "b"
        assert keeper.reason.startswith("a was skipped: ")
        assert "SIGSEGV" in keeper.reason
        tell(trigger, "")
        assert soon(lambda: seated(keeper) == "a")
        assert keeper.reason == ""
        failed = belt.failed
        assert all(belt.feed() for _ in range(20))
        assert belt.failed == failed


def test_climbing_in_vain_costs_no_frame(pair: Admitted, trigger: Path) -> None:
    with kept(pair, ONCE) as keeper, Belt(keeper) as belt:
        tell(trigger, "abort")
        assert belt.decides()
        failed, retries = belt.failed, set()
        end_s = time.monotonic() + 1.0
        while time.monotonic() < end_s:
            assert belt.feed()
            retries.add(keeper.crew.ladder.retry_s())
        assert (seated(keeper), belt.failed) == ("b", failed)
        assert len(retries) > 1


def test_what_runs_is_mended_while_a_better_one_hangs_in_its_load(tmp_path: Path, trigger: Path) -> None:
    model = keepers.bundle(tmp_path, keepers.faulty("a", 0, trigger), keepers.faulty("b", 1))
    with kept(model, replace(ONCE, failures=2)) as keeper, Belt(keeper) as belt:
        tell(trigger, "load-hang")
        os.kill(pid(keeper), signal.SIGKILL)
        belt.feed()
        kill_loading(keeper)
        assert soon(lambda: seated(keeper) == "b")
        assert soon(lambda: [t for t in threading.enumerate() if t.name == "climb-belt"])
        assert soon(lambda: len({child for child in children() if living(child)}) == 2)
        os.kill(pid(keeper), signal.SIGKILL)
        begun_s = time.monotonic()
        assert belt.decides()
        assert time.monotonic() - begun_s < 10.0  # and not the 60 that a load may take
        assert seated(keeper) == "b"
        tell(trigger, "")
        kill_loading(keeper)


def test_runs_that_fail_in_a_row_are_a_reason_to_replace_the_engine(pair: Admitted, trigger: Path) -> None:
    with kept(pair, replace(TABLE, failures=2)) as keeper, Belt(keeper) as belt:
        first = pid(keeper)
        tell(trigger, "raise")
        assert not belt.feed()
        assert pid(keeper) == first
        assert not belt.feed()
        assert soon(lambda: pid(keeper) != first)
        assert soon(lambda: not living(first))
        assert belt.decides()
        tell(trigger, "")


def test_failures_of_one_engine_do_not_count_against_the_next(pair: Admitted, trigger: Path) -> None:
    with kept(pair, TABLE) as keeper, Belt(keeper) as belt:
        tell(trigger, "raise")
        assert not belt.feed()
        assert not belt.feed()
        tell(trigger, "")
        first = pid(keeper)
        os.kill(first, signal.SIGKILL)
        assert not belt.feed()
        assert soon(lambda: pid(keeper) not in {0, first})
        second = pid(keeper)
        tell(trigger, "raise")
        assert not belt.feed()
        assert not belt.feed()
        tell(trigger, "")
        assert belt.feed()
        assert (pid(keeper), keeper.restarts) == (second, 1)


def test_one_that_has_never_computed_right_is_not_tried_again(tmp_path: Path) -> None:
    variants = [keepers.faulty("a", 0), null_bundle.variant("b", 1)]
    with kept(keepers.bundle(tmp_path, *variants, wrong=["a"]), ONCE) as keeper, Belt(keeper) as belt:
        assert (seated(keeper), keeper.crew.better()) == ("b", ())
        first = pid(keeper)
        end_s = time.monotonic() + 0.7
        while time.monotonic() < end_s:
            assert belt.feed()
            assert {child for child in children() if living(child)} == {first}
        assert "differs by" in keeper.reason


def test_one_that_computes_wrong_after_it_was_right_is_tried_again(pair: Admitted, trigger: Path) -> None:
    with kept(pair, ONCE) as keeper, Belt(keeper) as belt:
        tell(trigger, "wrong")  # its next proof will fail
        os.kill(pid(keeper), signal.SIGKILL)
        assert belt.decides()
        assert seated(keeper) == "b"
        assert soon(lambda: "differs by" in keeper.reason)
        tell(trigger, "")
        assert soon(lambda: seated(keeper) == "a")
        assert keeper.reason == ""


def test_a_variant_without_its_library_keeps_the_reason_it_has(tmp_path: Path, trigger: Path) -> None:
    tell(trigger, "load-missing")
    variants = [keepers.faulty("a", 0, trigger), null_bundle.variant("b", 1)]
    with kept(keepers.bundle(tmp_path, *variants), ONCE) as keeper, Belt(keeper) as belt:
        for _ in range(2):
            os.kill(pid(keeper), signal.SIGKILL)
            assert belt.decides()
        assert (seated(keeper), "nonesuch" in keeper.reason) == ("b", True)


def test_a_device_on_which_nothing_loads_is_tried_again(tmp_path: Path, trigger: Path) -> None:
    heard = Heard()
    model = keepers.bundle(tmp_path, keepers.faulty("a", 0, trigger))
    with kept(model, ONCE, heard) as keeper, Belt(keeper) as belt:
        tell(trigger, "load-refuse")
        os.kill(pid(keeper), signal.SIGKILL)
        assert not belt.feed()
        assert soon(lambda: "refuses the model" in keeper.reason)
        assert soon(lambda: heard.count("failed") >= 3)
        tell(trigger, "")
        assert belt.decides()
        assert keeper.reason == ""


def test_who_listens_may_fail_and_the_model_is_kept(pair: Admitted) -> None:
    def deaf(_news: News, _why: str) -> None:
        raise ValueError("no message can hold this")

    with kept(pair, tell=deaf) as keeper, Belt(keeper) as belt:
        os.kill(pid(keeper), signal.SIGKILL)
        assert belt.decides()


@pytest.mark.parametrize("error", [OSError("the disk is gone"), MemoryError()])
def test_a_fault_of_any_kind_in_loading_is_one_more_failure(
    pair: Admitted, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot's file vanishes or memory is out: the next variant is taken and nothing spins."""
    loads: list[str] = []

    def broken(_admitted: Admitted, variant: object, *_: object, **__: object) -> Mounted:
        loads.append(str(variant))
        raise error

    with kept(pair, ONCE) as keeper, Belt(keeper) as belt:
        monkeypatch.setattr("outrider_agent.engine.loader.mount", broken)
        os.kill(pid(keeper), signal.SIGKILL)
        assert not belt.feed()
        assert soon(lambda: len(loads) >= 3)
        assert len(loads) < 10
        assert repr(error) in keeper.reason
        monkeypatch.undo()
        assert belt.decides()


def test_an_engine_that_does_not_close_well_is_replaced_all_the_same(
    pair: Admitted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with kept(pair) as keeper, Belt(keeper) as belt:
        mounted, close = keeper.seat.mounted, Mounted.close

        def careless(self: Mounted) -> None:
            close(self)
            if self is mounted:
                raise RuntimeError("a driver's own")

        monkeypatch.setattr(Mounted, "close", careless)
        os.kill(pid(keeper), signal.SIGKILL)
        assert belt.decides()
        assert "did not close well" in caplog.text


def test_a_process_that_cannot_be_killed_is_said_and_its_runtime_left_alone(
    pair: Admitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only fake here: the kernel's refusal to end a process. All else is real."""
    heard, held = Heard(), list[int]()
    with kept(pair, TABLE, heard) as keeper, Belt(keeper) as belt:
        first = pid(keeper)
        held.append(first)
        monkeypatch.setattr(spawn, "abandoned", lambda: tuple(held))
        os.kill(first, signal.SIGKILL)
        assert belt.decides()
        assert seated(keeper) == "b"
        assert f"process {first} of faulty cannot be killed" in keeper.reason
        assert ("abandoned", f"the process {first} cannot be killed") in heard.news
        held.clear()
        assert soon(lambda: seated(keeper) == "a")
        assert keeper.reason == ""


def test_if_no_variant_proves_itself_it_does_not_open(tmp_path: Path, trigger: Path) -> None:
    tell(trigger, "load-segfault")
    model = keepers.bundle(tmp_path, keepers.faulty("a", 0, trigger))
    with pytest.raises(NoneProvenError, match="SIGSEGV"), kept(model):
        pass


def test_an_inline_model_that_fails_is_replaced_too(tmp_path: Path, trigger: Path) -> None:
    variants = [keepers.faulty("a", 0, trigger), null_bundle.variant("b", 1)]
    table = replace(INLINE, failures=1)
    with kept(keepers.bundle(tmp_path, *variants, table=table), table) as keeper, Belt(keeper) as belt:
        tell(trigger, "refuse")
        assert not belt.feed()
        assert belt.decides()
        assert soon(lambda: seated(keeper) == "b")
        tell(trigger, "")
        assert soon(lambda: seated(keeper) == "a")


class Exclusive:
    """Better and worse variants that hold one device, and one that needs none."""

    def __init__(self, folder: Path) -> None:
        self.best, self.next = folder / "best", folder / "next"
        self.model = keepers.bundle(
            folder,
            keepers.faulty("best", 0, self.best, "faulty-exclusive"),
            keepers.faulty("next", 1, self.next, "faulty-exclusive"),
            null_bundle.variant("none", 2),
        )


@pytest.fixture
def exclusive(tmp_path: Path) -> Exclusive:
    return Exclusive(tmp_path)


def test_a_better_one_on_the_same_device_is_tried_in_place_of_the_other(exclusive: Exclusive) -> None:
    heard = Heard()
    with kept(exclusive.model, ONCE, heard) as keeper, Belt(keeper) as belt:
        tell(exclusive.best, "segfault")
        assert belt.decides()
        assert soon(lambda: seated(keeper) == "next")
        tell(exclusive.best, "")
        assert soon(lambda: seated(keeper) == "best")
        assert keeper.reason == ""
        assert belt.decides()
    assert "vacated" in [news for news, _ in heard.news]


def test_meanwhile_one_that_needs_no_device_stands_in_and_is_said_to(exclusive: Exclusive) -> None:
    with kept(exclusive.model, ONCE) as keeper, Belt(keeper) as belt:
        tell(exclusive.best, "segfault")
        assert belt.decides()
        assert soon(lambda: seated(keeper) == "next")
        tell(exclusive.best, "load-hang")
        assert soon(lambda: seated(keeper) == "none")
        assert soon(lambda: "none stands in: best is tried again" in keeper.reason)
        last = keeper.last
        assert last is not None
        assert last.variant.id == "none"
        assert belt.feed()
        tell(exclusive.best, "load-refuse")
        kill_loading(keeper)
        assert soon(lambda: seated(keeper) == "next")
        assert belt.decides()


def test_a_stand_in_that_crashes_leaves_no_seat_empty(exclusive: Exclusive) -> None:
    with kept(exclusive.model, ONCE) as keeper, Belt(keeper) as belt:
        tell(exclusive.best, "segfault")
        assert belt.decides()
        assert soon(lambda: seated(keeper) == "next")
        tell(exclusive.best, "load-hang")
        assert soon(lambda: seated(keeper) == "none")
        os.kill(pid(keeper), signal.SIGKILL)
        belt.feed()
        tell(exclusive.best, "load-refuse")
        kill_loading(keeper)
        assert soon(lambda: seated(keeper) == "next")
        assert belt.decides()


@pytest.mark.parametrize("fault", ["", "load-hang", "hang", "segfault"])
def test_it_can_be_stopped_at_any_moment(pair: Admitted, trigger: Path, fault: str) -> None:
    """Ten moments from before the failure is noticed to after its repair; `_none_left` sees what is lost."""
    for moment in range(10):
        tell(trigger, "")
        keeper = Keeper("belt", Crew(pair, ONCE), replace(ONCE, load_s=1.0), pair.slot.path.parent)
        keeper.open()
        keeper.start()
        tell(trigger, fault)
        with Belt(keeper) as belt:
            os.kill(pid(keeper), signal.SIGKILL)
            belt.feed()
            time.sleep(0.05 * moment if moment % 2 else 0.0)
        keeper.stop()
        assert keeper.stopped
        assert seated(keeper) == ""
        keeper.stop()


def test_one_dropped_just_before_the_stop_is_ended(pair: Admitted) -> None:
    keeper = Keeper("belt", Crew(pair, TABLE), TABLE, pair.slot.path.parent)
    keeper.open()
    mounted = keeper.seat.mounted
    assert mounted is not None
    keeper.seat.drop(mounted, "three runs failed")  # and no thread that would mend it
    keeper.stop()
    assert not living(mounted.engine.pid)


def test_a_model_that_is_seated_after_the_stop_is_ended(pair: Admitted) -> None:
    keeper = Keeper("belt", Crew(pair, TABLE), TABLE, pair.slot.path.parent)
    keeper.stop()
    keeper.sit(keeper.loader.first(keeper.crew))
    assert seated(keeper) == ""


def test_tasks_are_done_in_its_thread_and_their_faults_come_back(pair: Admitted) -> None:
    with kept(pair) as keeper:
        assert keeper.call(lambda: threading.current_thread().name) == "engine-belt"
        with pytest.raises(OutriderError, match="not one of ours"):
            keeper.call(partial(_raise, ValueError("not one of ours")))
        with pytest.raises(OutriderError, match="one of ours"):
            keeper.call(partial(_raise, OutriderError("one of ours")))
        assert keeper.call(lambda: 7) == 7
    with pytest.raises(OutriderError, match="The agent stops"):
        keeper.call(lambda: 7)


def test_who_waits_for_a_task_is_told_of_the_stop(pair: Admitted) -> None:
    faults: list[str] = []
    hold, held = threading.Event(), threading.Event()

    def ask(keeper: Keeper) -> None:
        try:
            keeper.call(lambda: 7)
        except OutriderError as error:
            faults.append(error.what)

    with kept(pair) as keeper:
        blocking = threading.Thread(target=lambda: keeper.call(lambda: (held.set(), hold.wait(2.0))))
        blocking.start()
        assert held.wait(5.0)
        asking = threading.Thread(target=ask, args=(keeper,))
        asking.start()
        threading.Timer(0.1, hold.set).start()
        keeper.stop()
        asking.join(5.0)
        blocking.join(5.0)
    assert faults == ["The agent stops"]


def _raise(error: Exception) -> None:
    raise error
