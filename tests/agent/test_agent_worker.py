import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from outrider_agent import outputs
from outrider_agent.worker import FinalError, Job, Worker
from outrider_bundle.errors import OutriderError


class Bench:
    """Makes jobs that tell when they ran."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.change = threading.Condition()
        self.gate = threading.Event()

    def job(self, name: str, error: OutriderError | None = None) -> Job:
        def run(_: threading.Event) -> None:
            with self.change:
                self.done.append(name)
                self.change.notify_all()
            if error:
                raise error

        return run

    def held(self, name: str) -> Job:
        """Return a job that hangs until `gate` is set."""

        def run(hurry: threading.Event) -> None:
            self.job(name)(hurry)
            assert self.gate.wait(10)

        return run

    def wait(self, *names: str) -> None:
        with self.change:
            assert self.change.wait_for(lambda: self.done[-len(names) :] == list(names), 10), self.done


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def make() -> Iterator[Callable[..., Worker]]:
    made: list[Worker] = []

    def worker(size: int = 4, **more: Any) -> Worker:  # noqa: ANN401 - what a worker takes
        made.append(Worker("far.belt", size, **more))
        return made[-1]

    yield worker
    for one in made:
        one.close()


Make = Callable[..., Worker]


def until(call: Callable[[], None], *, fails: bool) -> str:
    """Return why `call` fails, once it does; empty once it does not."""
    end_s = monotonic() + 10
    while monotonic() < end_s:
        try:
            call()
        except OutriderError as error:
            if fails:
                return str(error)
        else:
            if not fails:
                return ""
        threading.Event().wait(0.005)
    raise AssertionError(f"it did not {'fail' if fails else 'work'}")


def test_jobs_are_done_in_order_by_one_thread_that_ends(bench: Bench, make: Make) -> None:
    worker = make(10)
    before = threading.active_count()
    for name in "abc":
        worker.put(bench.job(name))
    bench.wait("a", "b", "c")
    assert threading.active_count() == before + 1
    worker.close()
    worker.close()
    assert threading.active_count() == before
    with pytest.raises(OutriderError, match="closed"):
        worker.put(bench.job("d"))


def test_without_a_job_there_is_no_thread(make: Make) -> None:
    before = threading.active_count()
    make().close()
    assert threading.active_count() == before


def test_the_oldest_job_goes_when_too_many_wait(bench: Bench, make: Make) -> None:
    worker = make(2)
    worker.put(bench.held("held"))
    bench.wait("held")
    worker.put(bench.job("a"))
    worker.put(bench.job("b"))
    with pytest.raises(OutriderError, match="1 decisions are lost"):
        worker.put(bench.job("c"))
    with pytest.raises(OutriderError, match="2 decisions are lost"):
        worker.put(bench.job("d"))
    assert worker.lost == 2
    bench.gate.set()
    bench.wait("held", "c", "d")


def test_a_failure_is_told_until_something_succeeds(bench: Bench, make: Make) -> None:
    worker = make()
    worker.put(bench.job("a", OutriderError("It is broken", "Mend it")))
    assert until(worker.check, fails=True) == "It is broken. Mend it."
    with pytest.raises(OutriderError, match="broken"):
        worker.check()
    with pytest.raises(OutriderError, match="broken"):  # told, and queued
        worker.put(bench.job("b"))
    bench.wait("a", "b")
    until(worker.check, fails=False)


def test_what_a_job_raises_besides_does_not_end_the_thread(bench: Bench, make: Make) -> None:
    def broken(_: threading.Event) -> None:
        raise ZeroDivisionError

    worker = make()
    worker.put(broken)
    assert "ZeroDivisionError" in until(worker.check, fails=True)
    with pytest.raises(OutriderError):
        worker.put(bench.job("a"))
    bench.wait("a")


def test_the_safe_job_goes_first_and_alone(bench: Bench, make: Make) -> None:
    worker = make()
    worker.put(bench.held("held"))
    bench.wait("held")
    worker.put(bench.job("a"))
    worker.safe(bench.job("old"))
    worker.safe(bench.job("safe"))
    worker.put(bench.job("b"))
    bench.gate.set()
    bench.wait("held", "safe", "b")


def test_the_safe_job_breaks_off_a_wait_and_a_call(bench: Bench, make: Make) -> None:
    def waits(hurry: threading.Event) -> None:
        bench.job("waits")(hurry)
        assert hurry.wait(10)
        raise OutriderError("It was broken off")

    worker = make(interrupt=bench.gate.set)
    worker.put(waits)
    bench.wait("waits")
    worker.safe(bench.job("safe"))
    bench.wait("waits", "safe")
    bench.gate.clear()
    worker.put(bench.held("held"))
    bench.wait("held")
    worker.safe(bench.job("safe"))
    bench.wait("held", "safe")
    worker.check()  # what was broken off has not failed


def test_the_safe_job_is_tried_until_it_succeeds(bench: Bench, make: Make) -> None:
    tries = iter([OutriderError("No")] * 2)

    def safe(hurry: threading.Event) -> None:
        bench.job("safe", next(tries, None))(hurry)

    worker = make()
    worker.safe(safe)
    bench.wait("safe", "safe", "safe")
    until(worker.check, fails=False)
    worker.close()
    assert bench.done == ["safe"] * 3


def test_a_later_success_is_the_end_of_a_safe_job_that_fails(bench: Bench, make: Make) -> None:
    tried = threading.Event()

    def safe(_: threading.Event) -> None:
        tried.set()
        raise OutriderError("No")

    worker = make()
    worker.safe(safe)
    assert tried.wait(10)
    until(worker.check, fails=True)
    with pytest.raises(OutriderError):
        worker.put(bench.job("a"))
    bench.wait("a")
    until(worker.check, fails=False)
    begun_s = monotonic()
    worker.close()
    assert monotonic() - begun_s < 1.0  # nothing is owed


def test_a_safe_job_that_must_fail_is_not_tried_again(bench: Bench, make: Make) -> None:
    worker = make()
    worker.safe(bench.job("safe", FinalError("Never")))
    until(worker.check, fails=True)
    begun_s = monotonic()
    worker.close()
    assert monotonic() - begun_s < 1.0
    assert bench.done == ["safe"]


def test_the_end_waits_for_the_safe_job(bench: Bench, make: Make) -> None:
    worker = make()
    worker.safe(bench.held("safe"))
    threading.Timer(0.2, bench.gate.set).start()
    worker.close()
    assert bench.gate.is_set()


def test_the_end_does_not_wait_for_a_job_that_hangs(bench: Bench, make: Make) -> None:
    released = threading.Event()
    worker = make(release=released.set)
    worker.put(bench.held("held"))
    bench.wait("held")
    worker.put(bench.job("a"))
    begun_s = monotonic()
    worker.close()
    worker.close()
    assert monotonic() - begun_s < 3.5
    bench.gate.set()
    assert released.wait(10)
    assert bench.done == ["held"]


def test_orders_from_several_threads_are_all_done(bench: Bench, make: Make) -> None:
    worker = make(1000)

    def order(name: str) -> None:
        for _ in range(100):
            worker.put(bench.job(name))

    threads = [threading.Thread(target=order, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    worker.close()
    assert sorted(bench.done) == ["a"] * 100 + ["b"] * 100 + ["c"] * 100


def test_it_beats_when_nothing_else_is_done(bench: Bench, make: Make) -> None:
    worker = make(beat=(0.01, bench.job("beat")))
    worker.put(bench.job("a"))
    bench.wait("beat", "beat", "beat")
    worker.close()
    assert bench.done[0] == "a"


@pytest.mark.parametrize(
    ("key", "data", "value"),
    [
        ("gate", {"gate": True}, 1.0),
        ("gate", {"gate": 0.25}, 0.25),
        ("gate", {"gate": None}, None),
        ("gate", {"label": "bag"}, None),
        ("speed", {"names": ["load", "speed"], "values": [1.0, 2.5]}, 2.5),
        ("speed", {"names": ("speed",), "values": ()}, None),
        ("speed", {"names": "speed", "values": [1.0]}, None),
    ],
)
def test_the_value_of_an_output(key: str, data: dict[str, Any], value: float | None) -> None:
    assert outputs.value(key, data) == value


@pytest.mark.parametrize("found", ["left", float("nan"), float("inf"), [1], {"a": 1}])
def test_what_is_no_number_is_refused(found: object) -> None:
    with pytest.raises(OutriderError, match="no number"):
        outputs.value("gate", {"gate": found})


def test_settling_waits_for_what_was_ordered(make: Callable[..., Worker], bench: Bench) -> None:
    worker = make()
    worker.safe(bench.held("safe"))
    threading.Timer(0.05, bench.gate.set).start()
    worker.settle(10.0)
    assert bench.done == ["safe"]


def test_settling_says_what_has_failed_or_takes_too_long(make: Callable[..., Worker], bench: Bench) -> None:
    slow, failing = make(), make()
    slow.safe(bench.held("safe"))
    with pytest.raises(OutriderError, match="has not done what was ordered"):
        slow.settle(0.05)
    bench.gate.set()
    failing.safe(bench.job("safe", OutriderError("the far end is gone")))
    with pytest.raises(OutriderError, match="the far end is gone"):
        failing.settle(0.3)
