"""The full recipe of the example: accuracy, size and speed of one student beside its teacher."""

from outrider_bundle.bars import Row
from proofs.converter.runs import EXAMPLE, POINTS, WORK, Report, convert, default, int8


def rows() -> tuple[Row, ...]:
    """Convert by `examples/fashion/recipe.toml` and return its bars."""
    report = convert(EXAMPLE / "recipe.toml", "--out", WORK / "full")
    teacher, variants = report["teacher"], int8(report)
    how = f"{report['data']['test']:,} test images, each file in its own runtime"
    accuracies = [
        Row(
            id=f"full.accuracy.{runtime}",
            value=variants[runtime]["accuracy"] if runtime in variants else float("nan"),
            sense=">=",
            limit=0.920,
            unit="accuracy",
            how=how,
        )
        for runtime in ("onnx", "tflite")
    ]
    worst = max((v["drop"] for v in variants.values()), default=float("nan"))
    largest = max((v["bytes"] for v in variants.values()), default=float("nan"))
    first = default(report)
    return (
        Row(
            id="full.teacher",
            value=teacher["accuracy"] if teacher["macs"] <= 50e6 else float("nan"),
            sense=">=",
            limit=0.940,
            unit="accuracy",
            how=f"examples/fashion/train_teacher.py, {teacher['macs'] / 1e6:.1f} M MACs, test images",
        ),
        *accuracies,
        Row(id="full.drop", value=worst, sense="<=", limit=2.0, unit="points", how=f"worst int8 file, {how}"),
        Row(
            id="full.size",
            value=largest / 1000,
            sense="<=",
            limit=80,
            unit="KB",
            how="largest int8 variant, all its files, 1000 bytes a KB",
        ),
        Row(
            id="full.faster",
            value=first["speedup_vs_teacher"],
            sense=">=",
            limit=5,
            unit="times",
            how=f"{first['id']} against the teacher in the same runtime, one thread, interleaved",
        ),
        Row(
            id="full.class",
            value=max((lost(report, v["classes"]) for v in variants.values()), default=float("nan")),
            sense="<=",
            limit=4.0,
            unit="points",
            how=f"worst class of the worst int8 file under the teacher, {how}",
        ),
    )


def lost(report: Report, classes: list[float]) -> float:
    """Return the points that the worst class has lost against the teacher."""
    return POINTS * max(t - s for t, s in zip(report["teacher"]["classes"], classes, strict=True))
