"""Telemetry as OpenTelemetry's data points: nothing is left out, and what is counted stays counted."""

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_bundle.histogram import TOP, Histogram
from outrider_bundle.messages.otel import Distribution, Point, distribution, points
from outrider_bundle.messages.telemetry import (
    BoardMetrics,
    Latency,
    LinkMetrics,
    OutboxMetrics,
    PipelineMetrics,
    ProcessMetrics,
    ShadowMetrics,
    Telemetry,
)

TABLE = Path(__file__).parents[2] / "docs" / "telemetry.md"

LOOP = Latency(count=3, p50_ms=1.0, p95_ms=2.0, p99_ms=2.0, max_ms=2.0, buckets=((20, 1), (500, 2)))
BELT = PipelineMetrics(
    frames=10,
    dropped=1,
    decisions=3,
    events=4,
    no_input=5,
    late=6,
    errors=7,
    stages={"loop": LOOP},
    classes={"bag": 8, "coat": 2},
    rss_mb=150.0,
    cpu_s=3.0,
    variant="int8",
    backend="CPU",
    nodes={"CPU": 60, "NPU": 4},
    restarts=2,
    shadow=ShadowMetrics(frames=9, offered=9, agreement=0.5, errors=0, p50_ms=1.0, p95_ms=1.0),
)
WHOLE = Telemetry(
    run="0" * 16,
    seq=0,
    start=0.0,
    duration_s=10.0,
    pipelines={"belt": BELT},
    agent=ProcessMetrics(rss_mb=90.0, cpu_s=1.0),
    board=BoardMetrics(
        temperature_c=60.0,
        temperatures_c={"cpu-thermal": 60.0},
        throttled=("under-voltage",),
        throttles=2,
        load_1m=1.5,
        memory_available_mb=500.0,
        disk_free_mb=9000.0,
    ),
    link=LinkMetrics(published=20, acked=19, reconnects=1),
    outbox=OutboxMetrics(waiting=3, waiting_bytes=300, lost=(0, 1, 2)),
)


def named(name: str, found: tuple[Point, ...] = points(WHOLE)) -> list[Point]:
    return [point for point in found if point.name == name]


@pytest.mark.parametrize(
    ("name", "unit", "value"),
    [
        ("outrider.pipeline.frame.count", "{frame}", 10),
        ("outrider.pipeline.frame.dropped", "{frame}", 1),
        ("outrider.engine.restart.count", "{restart}", 2),
        ("hw.temperature", "Cel", 60.0),
        ("outrider.board.throttled", "1", 1),
        ("system.linux.cpu.load_1m", "{thread}", 1.5),
        ("system.memory.linux.available", "By", 5e8),
        ("system.filesystem.usage", "By", 9e9),
        ("outrider.link.message.acked", "{message}", 19),
        ("outrider.outbox.usage", "By", 300),
    ],
)
def test_values_come_under_their_names_and_in_base_units(name: str, unit: str, value: float) -> None:
    (point,) = named(name)
    assert (point.unit, point.value) == (unit, value)


def test_memory_and_processor_time_are_not_counted_twice() -> None:
    memory, cpu = named("process.memory.usage"), named("process.cpu.time")
    assert {p.attributes["outrider.process"]: p.value for p in memory} == {"agent": 90e6, "engine": 60e6}
    assert {p.attributes["outrider.process"]: p.value for p in cpu} == {"agent": 1.0, "engine": 2.0}


def test_labels_stages_and_backends_are_attributes() -> None:
    classes = named("outrider.pipeline.perception.count")
    assert [(p.attributes["outrider.label"], p.value) for p in classes] == [("bag", 8), ("coat", 2)]
    (times,) = named("outrider.pipeline.stage.duration")
    assert times.attributes == {"outrider.pipeline": "belt", "outrider.stage": "loop"}
    assert isinstance(times.value, Distribution)
    assert sum(times.value.counts) == 3
    assert [p.value for p in named("outrider.engine.node.count")] == [60, 4]


def test_no_series_comes_twice() -> None:
    series = [(p.name, tuple(sorted(p.attributes.items()))) for p in points(WHOLE)]
    assert len(series) == len(set(series))


def test_the_table_of_the_documentation_has_every_name_and_its_unit() -> None:
    text = TABLE.read_text(encoding="utf-8")
    rows = {
        tuple(cell.strip().strip("`") for cell in line.split("|")[2:4])
        for line in text.splitlines()
        if "|" in line
    }
    missing = {(p.name, p.unit) for p in points(WHOLE)} - rows
    assert not missing


def test_what_is_not_there_makes_no_point() -> None:
    bare = Telemetry(run="0" * 16, seq=0, start=0.0, duration_s=1.0, pipelines={})
    assert points(bare) == ()
    assert [p.name for p in points(msgspec.structs.replace(bare, board=BoardMetrics()))] == [
        "outrider.board.throttled",
        "outrider.board.throttle.count",
    ]


@given(st.lists(st.integers(0, TOP), max_size=100))
def test_bounds_hold_what_was_recorded(values: list[int]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    found = distribution(histogram.buckets)
    assert len(found.counts) == len(found.bounds) + 1
    assert sum(found.counts) == len(values)
    assert all(low < high for low, high in pairwise(found.bounds))
    assert found.counts[-1] == 0
    for bound, below in zip(found.bounds, range(len(found.bounds)), strict=True):
        up_to = sum(found.counts[: below + 1])
        assert up_to == sum(value <= round(bound * 1e9) for value in values)
