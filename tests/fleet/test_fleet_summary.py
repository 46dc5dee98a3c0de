import io
import json
import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from outrider_bundle import bars as proofs
from outrider_fleet.demo import bars, summary, tables
from outrider_fleet.demo.device import Device
from outrider_fleet.demo.ledger import Verdict

VERDICT = Verdict(
    fed=2000,
    decided=2000,
    right=0.91,
    exact=0,
    lost=0,
    duplicates=0,
    dropped_share=0.0,
    bins={"tops": 1},
    faults=(),
)
DEVICE = Device(training=(), size_mb=390.0, outrider=Path("outrider"))
FORM = {
    "schema": [],
    "data": ["name", "test_images"],
    "teacher": ["accuracy", "bytes", "params", "macs"],
    "variants": [
        "id",
        "runtime",
        "accuracy",
        "bytes",
        "macs",
        "speedup_vs_teacher",
        "agreement_with_teacher",
    ],
    "bundle": ["path", "bytes", "sha256"],
    "agent": ["frames", "dropped", "accuracy", "p50_ms", "p99_ms", "variant", "placement"],
    "mqtt": ["broker", "protocol", "telemetry", "events", "lost"],
    "seconds": [],
}
"""The form of summary.json, keys in order; others rely on it."""


def variant(
    name: str, accuracy: float = 0.91, size: int = 50_000, speedup: float | None = 6.0
) -> summary.Variant:
    return summary.Variant(
        id=name,
        runtime=name.partition("-")[0],
        accuracy=accuracy,
        bytes=size,
        macs=1_000_000,
        speedup_vs_teacher=speedup,
        agreement_with_teacher=0.95,
    )


def made(*variants: summary.Variant) -> summary.Summary:
    return summary.Summary(
        data=summary.Data(name="fashion-mnist", test_images=10_000),
        teacher=summary.Teacher(accuracy=0.94, bytes=2_000_000, params=500_000, macs=40_000_000),
        variants=variants,
        bundle=summary.BundleFile(path="a.orb", bytes=300_000, sha256="00"),
        agent=summary.Agent(
            frames=2000,
            dropped=0,
            accuracy=0.91,
            p50_ms=0.1,
            p99_ms=0.4,
            variant="tflite-int8",
            placement="cpu (XNNPACK)",
        ),
        mqtt=summary.Mqtt(broker="mosquitto 2.0.11", protocol=5, telemetry=11, events=2000, lost=0),
        seconds=500.5,
    )


GOOD = made(
    variant("tflite-int8", 0.91, 50_000, 6.0),
    variant("onnx-int8", 0.90, 60_000, 3.0),
    variant("onnx-float32", 0.92, 150_000, 2.0),
)


def values(good: summary.Summary, default: str = "tflite-int8") -> dict[str, proofs.Row]:
    return {row.id: row for row in bars.student(good, default)}


def test_the_summary_has_exactly_its_form(tmp_path: Path) -> None:
    summary.write(tmp_path / "summary.json", GOOD)
    document = json.loads((tmp_path / "summary.json").read_text())
    assert list(document) == list(FORM)
    assert document["schema"] == 1
    for name, keys in FORM.items():
        parts = document[name] if name == "variants" else [document[name]]
        assert all(list(part) == keys for part in parts if keys)
    assert len(document["variants"]) == 3
    assert msgspec.json.decode((tmp_path / "summary.json").read_bytes(), type=summary.Summary) == GOOD
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_student_bars_are_of_the_worst_the_best_and_the_largest_int8_variant() -> None:
    rows = values(GOOD)
    assert rows["demo.teacher"].value == 0.94
    assert rows["demo.drop"].value == pytest.approx(4.0)
    assert rows["demo.accuracy"].value == 0.91
    assert rows["demo.size"].value == 60.0
    assert rows["demo.smaller"].value == pytest.approx(2_000_000 / 60_000)
    assert rows["demo.faster"].value == 6.0
    assert values(GOOD, "onnx-int8")["demo.faster"].value == 3.0


@pytest.mark.parametrize(
    ("what", "missed"),
    [
        (made(variant("tflite-int8", 0.8999), variant("onnx-int8", 0.91)), {"demo.drop"}),
        (made(variant("tflite-int8", 0.8949)), {"demo.drop", "demo.accuracy"}),
        (made(variant("tflite-int8", size=62_001)), {"demo.size"}),
        (made(variant("tflite-int8", size=133_334)), {"demo.size", "demo.smaller"}),
        (made(variant("tflite-int8", speedup=3.99)), {"demo.faster"}),
        (made(variant("tflite-int8", speedup=None)), {"demo.faster"}),
        (
            made(variant("tflite-float32")),
            {"demo.drop", "demo.accuracy", "demo.size", "demo.smaller", "demo.faster"},
        ),
        (made(), {"demo.drop", "demo.accuracy", "demo.size", "demo.smaller", "demo.faster"}),
    ],
)
def test_student_bars_that_are_missed(what: summary.Summary, missed: set[str]) -> None:
    assert {name for name, row in values(what).items() if not row.ok} == missed


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"exact": 1}, ["demo.exact"]),
        ({"lost": 1}, ["demo.lost"]),
        ({"dropped_share": 0.0101}, ["demo.dropped"]),
        ({"dropped_share": 0.01}, []),
    ],
)
def test_line_bars(changes: dict[str, float], missed: list[str]) -> None:
    rows = bars.line(msgspec.structs.replace(VERDICT, **changes))
    assert [row.id for row in rows if not row.ok] == missed


@pytest.mark.parametrize(
    ("changes", "missed"),
    [({}, []), ({"training": ("torch",)}, ["device.torch"]), ({"size_mb": 400.1}, ["device.size"])],
)
def test_device_bars(changes: dict[str, object], missed: list[str]) -> None:
    rows = bars.device(msgspec.structs.replace(DEVICE, **changes))
    assert [row.id for row in rows if not row.ok] == missed


def test_every_bar_of_the_issue_is_there_once() -> None:
    rows = (*bars.student(GOOD, "tflite-int8"), *bars.line(VERDICT), *bars.device(DEVICE))
    assert [(row.id, row.sense, row.limit) for row in rows] == [
        ("demo.teacher", ">=", 0.935),
        ("demo.drop", "<=", 4.0),
        ("demo.accuracy", ">=", 0.895),
        ("demo.size", "<=", 62),
        ("demo.smaller", ">=", 15),
        ("demo.faster", ">=", 4),
        ("demo.exact", "==", 0),
        ("demo.lost", "==", 0),
        ("demo.dropped", "<=", 0.01),
        ("device.torch", "==", 0),
        ("device.size", "<=", 400),
    ]
    assert bars.missed(rows) == ()


def test_a_missed_bar_is_named_with_value_and_limit() -> None:
    rows = bars.line(msgspec.structs.replace(VERDICT, lost=3))
    assert bars.missed(rows) == ("demo.lost is 3 messages (bar: == 0)",)


def test_the_tables_show_what_was_measured() -> None:
    shown = io.StringIO()
    console = Console(width=150, file=shown)
    console.print(tables.results(GOOD, "tflite-int8"))
    console.print(tables.story(GOOD, VERDICT))
    console.print(tables.bars(bars.line(msgspec.structs.replace(VERDICT, lost=3))))
    for part in (
        r"tflite-int8 \(default\) .* 0\.9100 .* 50\.0 .* 6\.0x",
        r"2000 events",
        r"demo\.lost .* 3 .* NO",
    ):
        assert re.search(part, shown.getvalue()), part
