"""Telemetry by intervals: their sum is the whole, and nothing is counted twice."""

import pytest

from outrider_agent.summary import loop_ms
from outrider_agent.telemetry.metrics import STAGES, Intervals, Meters, message
from outrider_agent.telemetry.reporter import Reporter
from outrider_bundle.messages.codec import encode


def busy(meters: Meters, frames: int, ns: int) -> None:
    for _ in range(frames):
        meters.frames += 1
        meters.saw("bag")
        meters.stages["loop"].record(ns)


def test_intervals_hold_what_was_counted_in_them_and_no_more() -> None:
    meters = Meters()
    intervals = Intervals({"belt": meters.totals(0)})
    busy(meters, 3, 1_000_000)
    meters.decisions, meters.late = 2, 1
    first = message(intervals.cut({"belt": meters.totals(4)})["belt"], rss_mb=1.0, cpu_s=2.0)
    busy(meters, 5, 8_000_000)
    meters.saw("coat")
    second = message(intervals.cut({"belt": meters.totals(4)})["belt"], rss_mb=1.0, cpu_s=2.0)
    empty = message(intervals.cut({"belt": meters.totals(4)})["belt"], rss_mb=1.0, cpu_s=2.0)
    assert (first.frames, first.dropped, first.decisions, first.late) == (3, 4, 2, 1)
    assert (second.frames, second.dropped, second.decisions, second.late) == (5, 0, 0, 0)
    assert (first.classes, second.classes) == ({"bag": 3}, {"bag": 5, "coat": 1})
    assert list(first.stages) == ["loop"]
    assert first.stages["loop"].p50_ms == pytest.approx(1.0, rel=0.032)
    assert second.stages["loop"].p50_ms == pytest.approx(8.0, rel=0.032)
    assert second.stages["loop"].max_ms == pytest.approx(8.0, rel=0.032)
    assert (second.stages["loop"].count, empty.frames, empty.stages, empty.classes) == (5, 0, {}, {})


def test_rare_classes_are_summed_up_where_there_are_too_many() -> None:
    meters = Meters()
    for number in range(1000):
        for _ in range(1 + (number < 10)):
            meters.saw(f"class {number}")
    made = message(meters.totals(0), rss_mb=0.0, cpu_s=0.0)
    assert len(made.classes) == 257
    assert sum(made.classes.values()) == 1010
    assert all(made.classes[f"class {number}"] == 2 for number in range(10))


def test_telemetry_is_numbered_and_says_how_long_it_was() -> None:
    meters = Meters()
    reporter = Reporter("0" * 16, {"belt": meters.totals(0)})
    busy(meters, 2, 1000)
    first = reporter.cut({"belt": meters.totals(0)})
    second = reporter.cut({"belt": meters.totals(0)})
    assert (first.seq, second.seq, reporter.count) == (0, 1, 2)
    assert first.pipelines["belt"].frames == 2
    assert first.pipelines["belt"].rss_mb > 1
    assert first.start <= second.start
    assert first.duration_s >= 0
    encode(first)


def test_times_of_several_pipelines_are_taken_together() -> None:
    one, other = Meters(), Meters()
    busy(one, 50, 1_000_000)
    busy(other, 50, 9_000_000)
    p50_ms, p99_ms = loop_ms([one.totals(0), other.totals(0)], 0.5, 0.99)
    assert (p50_ms, p99_ms) == pytest.approx((1.0, 9.0), rel=0.032)
    assert loop_ms([], 0.5) == (0.0,)


def test_every_stage_has_its_times() -> None:
    assert tuple(Meters().stages) == STAGES
