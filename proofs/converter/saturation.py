"""A model built to overflow 16-bit sums must be flagged on any machine; its safe twin must not.

Both are the same float network and samples: all weights of one sign, inputs near their maximum. One is
quantized with full 8-bit weights, the other pair-safe.
"""

import tempfile
from pathlib import Path

from outrider_bundle.bars import Row
from outrider_converter.formats import onnx
from outrider_converter.quantization.saturation import Saturation, detect
from outrider_converter.targets import Scheme
from tests.fakes.graphs import bright, saturating

SAMPLES = 16


def rows() -> tuple[Row, ...]:
    """Quantize both ways, look for saturation, and return the bar."""
    with tempfile.TemporaryDirectory() as name:
        source = saturating(Path(name) / "float.onnx")
        hot, safe = (_found(source, scheme) for scheme in (Scheme(weights="full"), Scheme()))
    ok = hot.flagged and not safe.flagged
    how = f"full weights: {hot.note}; pair-safe weights: {safe.note}"
    return (Row(id="saturation.caught", value=float(ok), sense="==", limit=1, unit="1 is yes", how=how),)


def _found(source: Path, scheme: Scheme) -> Saturation:
    target = source.with_name(f"{scheme.weights}.onnx")
    onnx.quantize(source, target, bright(SAMPLES), "image", scheme)
    return detect(target, bright(SAMPLES), "image")
