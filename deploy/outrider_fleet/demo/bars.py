"""The bars of the demo: what it must reach, computed from what it measured."""

from collections.abc import Iterable, Sequence

from outrider_bundle.bars import Row
from outrider_fleet.demo.device import Device
from outrider_fleet.demo.ledger import Verdict
from outrider_fleet.demo.summary import Summary, Variant


def int8(variants: Iterable[Variant]) -> tuple[Variant, ...]:
    """Return the full-integer variants; the converter says so in the id."""
    return tuple(v for v in variants if v.id.endswith("-int8"))


def student(summary: Summary, default: str) -> tuple[Row, ...]:
    """Return the bars on teacher and student; `default` is the id of the default variant.

    A converter that packaged no int8 variant, or not the default one, misses its bars: NaN keeps none.
    """
    nan = float("nan")
    small = int8(summary.variants)
    images = f"{summary.data.test_images:,} test images"
    accuracies = [v.accuracy for v in small] or [nan]
    largest = max((v.bytes for v in small), default=0)
    faster = {v.id: v.speedup_vs_teacher for v in summary.variants}.get(default)
    drop = 100 * (summary.teacher.accuracy - min(accuracies))
    return (
        Row(
            id="demo.teacher",
            value=summary.teacher.accuracy,
            sense=">=",
            limit=0.935,
            unit="accuracy",
            how=f"the converter on {images}",
        ),
        Row(
            id="demo.drop",
            value=drop,
            sense="<=",
            limit=4.0,
            unit="points",
            how=f"teacher less worst int8 variant, each in its own runtime, {images}",
        ),
        Row(
            id="demo.accuracy",
            value=max(accuracies),
            sense=">=",
            limit=0.895,
            unit="accuracy",
            how=f"best int8 variant in its own runtime, {images}",
        ),
        Row(
            id="demo.size",
            value=largest / 1000 if small else nan,
            sense="<=",
            limit=62,
            unit="KB",
            how="largest int8 variant, all its files, 1000 bytes a KB",
        ),
        Row(
            id="demo.smaller",
            value=summary.teacher.bytes / largest if largest else nan,
            sense=">=",
            limit=15,
            unit="times",
            how="teacher's float file over the largest int8 variant",
        ),
        Row(
            id="demo.faster",
            value=nan if faster is None else faster,
            sense=">=",
            limit=4,
            unit="times",
            how=f"{default} against the teacher in the same runtime, one thread, interleaved",
        ),
    )


def line(verdict: Verdict) -> tuple[Row, ...]:
    """Return the bars on what arrived from the sorting line."""
    return (
        Row(
            id="demo.exact",
            value=verdict.exact,
            sense="==",
            limit=0,
            unit="frames",
            how=f"decisions over MQTT against the variant's predictions, {verdict.fed} frames",
        ),
        Row(
            id="demo.lost",
            value=verdict.lost,
            sense="==",
            limit=0,
            unit="messages",
            how="the agent's own count and its gapless numbers against events and bin messages received",
        ),
        Row(
            id="demo.dropped",
            value=verdict.dropped_share,
            sense="<=",
            limit=0.01,
            unit="share",
            how=f"of {verdict.fed} frames at a fixed rate",
        ),
    )


def device(measured: Device) -> tuple[Row, ...]:
    """Return the bars on what a device has to install."""
    found = ", ".join(measured.training)
    return (
        Row(
            id="device.torch",
            value=len(measured.training),
            sense="==",
            limit=0,
            unit="packages",
            how=f"pip install --dry-run '.[agent,onnx]'{': ' + found if found else ''}",
        ),
        Row(
            id="device.size",
            value=measured.size_mb,
            sense="<=",
            limit=400,
            unit="MB",
            how="disk blocks of a venv with '.[agent,onnx]', 10^6 bytes",
        ),
    )


def missed(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return one phrase for each bar that is not kept."""
    return tuple(f"{r.id} is {r.shown} {r.unit} (bar: {r.sense} {r.limit:g})" for r in rows if not r.ok)
