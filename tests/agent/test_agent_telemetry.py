"""Telemetry by intervals: their sum is the whole, and nothing is counted twice."""

import pytest

from outrider_agent.connection import Counts
from outrider_agent.outbox.outbox import OutboxCounts
from outrider_agent.summary import loop_ms
from outrider_agent.telemetry.metrics import STAGES, Intervals, Meters, Work, message
from outrider_agent.telemetry.reporter import Reporter, fitted, way
from outrider_bundle.histogram import Histogram
from outrider_bundle.messages.codec import decode, encode
from outrider_bundle.messages.telemetry import LinkMetrics, OutboxMetrics, Telemetry

RUN = "0" * 16


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
    reporter = Reporter(RUN, {"belt": meters.totals(0)})
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


def test_a_message_holds_the_histograms_of_its_interval() -> None:
    meters = Meters()
    reporter = Reporter(RUN, {"belt": meters.totals(0)})
    busy(meters, 3, 1_000_000)
    first = decode(encode(reporter.cut({"belt": meters.totals(0)})), Telemetry)
    busy(meters, 1, 9_000_000)
    second = decode(encode(reporter.cut({"belt": meters.totals(0)})), Telemetry)
    one, other = (t.pipelines["belt"].stages["loop"] for t in (first, second))
    assert (one.count, other.count) == (3, 1)
    whole = Histogram.of([*one.buckets, *other.buckets])
    assert whole.counts == meters.stages["loop"].counts
    assert whole.quantiles(0.5, 1.0) == pytest.approx((1_000_000, 9_000_000), rel=0.032)


def test_a_pipeline_that_comes_later_or_anew_is_counted_from_its_start() -> None:
    old, new, late = Meters(), Meters(), Meters()
    busy(old, 9, 1000)
    intervals = Intervals({"belt": old.totals(5)})
    busy(new, 2, 1000)
    busy(late, 3, 1000)
    passed = intervals.cut({"belt": new.totals(1), "gate": late.totals(0)})
    assert (passed["belt"].frames, passed["belt"].dropped, passed["belt"].stages["loop"].count) == (2, 1, 2)
    assert (passed["gate"].frames, passed["gate"].classes) == (3, {"bag": 3})
    assert list(intervals.cut({"gate": late.totals(0)})) == ["gate"]


def test_telemetry_tells_of_process_board_link_and_outbox() -> None:
    meters = Meters()
    reporter = Reporter(RUN, {"belt": meters.totals(0)})
    counts = Counts(published=7, acked=6, lost=1, missed=2, reconnects=3)
    stored = OutboxCounts(waiting=4, waiting_bytes=99, stored=5, replayed=2, lost=(0, 0, 1), expired=8)
    works = {"belt": Work(variant="a", backend="CPU", nodes={"CPU": 7}, restarts=2)}
    told = reporter.cut({"belt": meters.totals(0)}, works, way(counts, stored))
    again = decode(encode(told), Telemetry)
    assert again.link == LinkMetrics(published=7, acked=6, lost=1, missed=2, reconnects=3)
    assert again.outbox == OutboxMetrics(
        waiting=4, waiting_bytes=99, stored=5, replayed=2, lost=(0, 0, 1), expired=8
    )
    assert again.agent is not None
    assert again.agent.rss_mb == again.pipelines["belt"].rss_mb > 1
    assert again.board is not None
    assert (again.board.disk_free_mb or 0) > 0
    belt = again.pipelines["belt"]
    assert (belt.variant, belt.backend, belt.nodes, belt.restarts) == ("a", "CPU", {"CPU": 7}, 2)


def test_what_is_too_long_goes_without_histograms_and_then_without_classes() -> None:
    meters = Meters()
    reporter = Reporter(RUN, {"belt": meters.totals(0)})
    for value in range(500):
        meters.stages["loop"].record(1000 * value)
        meters.saw("a long name of a class that is seen " * 3 + str(value))
    told = reporter.cut({"belt": meters.totals(0)})
    whole = len(encode(told))
    assert fitted(told, whole) == told
    shorter = fitted(told, whole - 1)
    belt = shorter.pipelines["belt"]
    assert (belt.stages["loop"].count, belt.stages["loop"].buckets, len(belt.classes)) == (500, (), 257)
    shortest = fitted(told, len(encode(shorter)) - 1)
    assert (shortest.pipelines["belt"].classes, shortest.pipelines["belt"].stages["loop"].count) == ({}, 500)


def test_readers_of_before_and_messages_of_before_go_together() -> None:
    old = b'{"schema":1,"run":"0000000000000000","seq":0,"start":1.0,"duration_s":2.0,"pipelines":{}}'
    told = decode(old, Telemetry)
    assert (told.agent, told.board, told.link, told.outbox) == (None, None, None, None)
