"""The residual teacher of the example at half of its multiply-accumulates: is it really faster?"""

from outrider_bundle.bars import Row
from proofs.converter.runs import EXAMPLE, WORK, convert

RECOVERED = 1.0
"""Points that the pruned network may stay under the teacher."""


def rows() -> tuple[Row, ...]:
    """Convert by `examples/fashion/narrow.toml` and return its bar."""
    report = convert(EXAMPLE / "narrow.toml", "--out", WORK / "narrow")
    proof = report["pruning"]
    best = next(v for v in report["variants"] if v["precision"] == "float32")
    share = proof["macs_after"] / proof["macs_before"]
    recovered = best["drop"] <= RECOVERED and share <= 1 / 2
    how = (
        f"stripped float ONNX, one thread, interleaved; MACs x{share:.2f}, "
        f"parameters x{proof['params_after'] / proof['params_before']:.2f}, "
        f"bytes x{proof['bytes_after'] / proof['bytes_before']:.2f}; "
        f"{best['drop']:.2f} points under the teacher on {report['data']['test']:,} test images"
    )
    return (
        Row(
            id="prune.real",
            value=proof["faster"] if recovered else float("nan"),
            sense=">=",
            limit=1.5,
            unit="times",
            how=how if recovered else f"not recovered: {how}",
        ),
    )
