"""A sample of numbers as a picture: one line per feature, each over its own range."""

import cv2
import numpy as np

from outrider_runtime.session import Array

WIDTH, HEIGHT, MARGIN = 640, 320, 16
BACKGROUND = 250
FEATURES = 12
"""More lines than that cannot be told apart."""
POINTS = 4096
COLORS = ((180, 90, 20), (30, 120, 220), (60, 150, 40), (160, 40, 140), (40, 40, 200), (120, 120, 0))
"""BGR."""


def chart(sample: Array) -> Array:
    """Return `sample`, `(T, C)` or anything of that many rows, as a BGR picture."""
    canvas = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
    for at, line in enumerate(_lines(sample)):
        points = np.stack([_spread(line.size), _heights(line)], axis=1).round().astype(np.int32)
        color = COLORS[at % len(COLORS)]
        cv2.polylines(canvas, [points.reshape(-1, 1, 2)], isClosed=False, color=color, lineType=cv2.LINE_AA)
        if line.size <= WIDTH // 16:
            for x, y in points.tolist():
                cv2.circle(canvas, (x, y), 3, color, cv2.FILLED)
    return canvas


def _lines(sample: Array) -> list[Array]:
    """Return the features to draw, each over time; a plain vector is one line."""
    numbers = np.nan_to_num(np.asarray(sample, np.float64))
    if not numbers.size:
        return []
    table = numbers.reshape(-1, 1) if numbers.ndim < 2 else numbers.reshape(numbers.shape[0], -1)  # noqa: PLR2004
    if table.shape[0] == 1:
        table = table.T
    table = table[:POINTS, :FEATURES]
    return [table[:, at] for at in range(table.shape[1])]


def _spread(count: int) -> Array:
    return np.linspace(MARGIN, WIDTH - 1 - MARGIN, count) if count > 1 else np.array([WIDTH / 2])


def _heights(line: Array) -> Array:
    low, high = float(line.min()), float(line.max())
    share = (line - low) / (high - low) if high > low else np.full(line.shape, 0.5)
    return np.asarray(HEIGHT - 1 - MARGIN - share * (HEIGHT - 1 - 2 * MARGIN))
