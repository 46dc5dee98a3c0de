"""Statistics of the calibration set that travel in the manifest: what a device compares its own frames with.

Inputs of images, on the raw pixels of each frame in 0..255:
    brightness  mean
    contrast    standard deviation
    noise       standard deviation of the noise, by Immerkaer's mask ("Fast Noise Variance Estimation",
                Computer Vision and Image Understanding 64, 1996), on the grey frame
Inputs of arrays, on each sample: mean, deviation.
Outputs, on each decision's probabilities: confidence (the largest), margin (lead over the second),
entropy in nats.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.manifest import ArrayPreprocess, Baseline, Input, Statistic, Tensor
from outrider_converter.dataset import Frames
from outrider_runtime.decoders import dequantize
from outrider_runtime.decoders import softmax as from_logits

MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float64)
Rows = NDArray[np.float64]


def statistic(values: Rows) -> Statistic:
    """Return a distribution in four numbers, to six significant digits."""
    low, high = np.percentile(values, (5, 95))
    mean, std, p05, p95 = (float(f"{v:.6g}") for v in (values.mean(), values.std(), low, high))
    return Statistic(mean=mean, std=std, p05=p05, p95=p95)


def noise(image: Rows) -> float:
    """Return the deviation of a grey image's noise; 0 if it is smaller than the mask."""
    height, width = image.shape
    if min(height, width) < len(MASK):
        return 0.0
    inner = sum(MASK[y, x] * image[y : height - 2 + y, x : width - 2 + x] for y in range(3) for x in range(3))
    return float(np.sqrt(np.pi / 2) * np.abs(inner).sum() / (6 * (width - 2) * (height - 2)))


def input_rows(frames: Frames, entry: Input) -> dict[str, Rows]:
    """Return each input quantity of each frame."""
    flat = frames.reshape(len(frames), -1).astype(np.float64)
    if isinstance(entry.preprocess, ArrayPreprocess):
        return {"mean": flat.mean(1), "deviation": flat.std(1)}
    grey = frames.astype(np.float64) if frames.ndim == 3 else frames.astype(np.float64).mean(3)  # noqa: PLR2004
    return {"brightness": flat.mean(1), "contrast": flat.std(1), "noise": np.array([noise(g) for g in grey])}


def probabilities(raw: NDArray[np.generic], tensor: Tensor, *, softmax: bool) -> Rows:
    """Return stored outputs `(n, classes)` as probabilities."""
    values = dequantize(raw, tensor)
    return from_logits(values) if softmax else values


def output_rows(scores: Rows) -> dict[str, Rows]:
    """Return each output quantity of each decision."""
    ordered = np.sort(scores, 1)
    second = ordered[:, -2] if scores.shape[1] > 1 else np.zeros(len(scores))
    safe = np.clip(scores, 1e-12, 1.0)
    return {
        "confidence": ordered[:, -1],
        "margin": ordered[:, -1] - second,
        "entropy": -(safe * np.log(safe)).sum(1),
    }


def baseline(frames: Frames, entry: Input, scores: Rows | None) -> Baseline:
    """Return the statistics of `frames` and of the probabilities `scores` `(n, classes)` for them.

    Raw outputs have no `scores`, and so no statistics.
    """
    return Baseline(
        samples=len(frames),
        inputs=_statistics(input_rows(frames, entry)),
        outputs={} if scores is None else _statistics(output_rows(scores)),
        prior=() if scores is None else _prior(scores),
    )


def _statistics(rows: Mapping[str, Rows]) -> dict[str, Statistic]:
    return {name: statistic(values) for name, values in rows.items()}


def _prior(scores: Rows) -> tuple[float, ...]:
    counts = np.bincount(scores.argmax(1), minlength=scores.shape[1])
    return tuple(round(float(c) / len(scores), 6) for c in counts)
