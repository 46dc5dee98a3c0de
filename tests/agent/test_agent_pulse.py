"""What the watchdog is fed by: loops that turn, each by its own pace."""

from msgspec import Struct

from outrider_agent.pulse import Pulse


class Loop(Struct):
    id: str
    patience_s: float
    ticks: int = 0
    finished: bool = False


def test_loops_that_idle_out_of_step_are_alive() -> None:
    now = [0.0]
    pulse, quick, slow = Pulse(lambda: now[0]), Loop("quick", 2.0), Loop("slow", 60.0)
    for turn in range(200):
        now[0] = turn * 0.5
        quick.ticks += turn % 2  # never both in one turn
        slow.ticks += turn % 100 == 0
        assert pulse.beats([quick, slow])


def test_one_loop_that_hangs_is_enough() -> None:
    now = [0.0]
    pulse, good, bad = Pulse(lambda: now[0]), Loop("good", 1.0), Loop("bad", 1.0)
    assert pulse.beats([good, bad])
    now[0], good.ticks = 1.0, 1
    assert pulse.beats([good, bad])
    now[0], good.ticks = 1.1, 2
    assert not pulse.beats([good, bad])
    bad.ticks = 1
    assert pulse.beats([good, bad])


def test_a_loop_that_has_ended_need_not_turn() -> None:
    now = [0.0]
    pulse, loop = Pulse(lambda: now[0]), Loop("only", 1.0)
    assert pulse.beats([loop])
    now[0] = 10.0
    assert not pulse.beats([loop])
    loop.finished = True
    assert pulse.beats([loop])
    assert pulse.beats([])
