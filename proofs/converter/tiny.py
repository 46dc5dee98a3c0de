"""The tiny recipe: what 25 KB can hold."""

from outrider_bundle.bars import Row
from proofs.converter.runs import EXAMPLE, WORK, convert, int8

LIMIT = 25_000


def rows() -> tuple[Row, ...]:
    """Convert by `examples/fashion/tiny.toml` and return its bar."""
    report = convert(EXAMPLE / "tiny.toml", "--out", WORK / "tiny")
    small = [v for v in int8(report).values() if v["bytes"] <= LIMIT]
    best = max(small, key=lambda v: v["validation"], default=None)
    how = "no int8 file is that small"
    if best is not None:
        how = f"{best['id']}, {best['bytes'] / 1000:.1f} KB, {report['data']['test']:,} test images"
    return (
        Row(
            id="tiny.accuracy",
            value=float("nan") if best is None else best["accuracy"],
            sense=">=",
            limit=0.905,
            unit="accuracy",
            how=how,
        ),
    )
