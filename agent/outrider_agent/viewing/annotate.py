"""What was perceived and decided, drawn: boxes on the picture, words on a strip below it."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import cv2
import numpy as np

from outrider_agent.viewing.chart import chart
from outrider_agent.viewing.received import Received
from outrider_runtime.session import Array

LEAST_WIDTH, MOST_WIDTH = 480, 1920
"""A smaller picture is enlarged until words can be read beside it, a larger one is reduced."""
FONT = cv2.FONT_HERSHEY_SIMPLEX
LINES = 5
"""Of the strip, always: the pictures of a film have one size."""
STRIP, WORDS, BOX, FAULT = (32, 32, 32), (235, 235, 235), (60, 200, 60), (80, 80, 255)
COLUMNS = 72


def annotated(view: Received) -> Array:
    """Return a BGR picture of the frame of `view` with what was made of it.

    Raises:
        MessageError: its frame cannot be read.
    """
    array = view.array()
    picture, factor = _shown(chart(array) if view.format == "npy" else array)
    for found in _objects(view.perception):
        _draw(picture, found, factor)
    return np.vstack([picture, _strip(view, picture.shape[1])])


def words(view: Received) -> list[str]:
    """Return what there is to say of `view`, the most important first."""
    lines = [f"{view.time}  frame {view.frame}  {view.took_ms:.3g} ms"]
    lines += [f"error: {view.error}"] if view.error else []
    lines.append(f"saw {said(view.perception)}")
    lines += [f"decided {_pairs(data)}" for data in view.decisions]
    lines += [f"why: {one}" for one in view.why]
    return lines


def said(perception: Mapping[str, Any] | None) -> str:
    """Return a perception in few words."""
    if perception is None:
        return "nothing: there is no perception"
    if perception.get("kind") == "classification":
        return _named(perception)
    if "objects" in perception:
        return ", ".join(map(_named, _objects(perception))) or "no objects"
    return _pairs({key: value for key, value in perception.items() if key != "kind"})


def _named(found: Mapping[str, Any]) -> str:
    detail = found.get("detail")
    score = found.get("score")
    text = f"{found.get('label', '?')} {score:.2f}" if isinstance(score, int | float) else "?"
    return f"{text} ({_named(detail)})" if isinstance(detail, Mapping) else text


def _pairs(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in data.items()) or "nothing"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return str(value)


def _objects(perception: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    found = (perception or {}).get("objects") or ()
    return [one for one in found if isinstance(one, Mapping)]


def _shown(picture: Array) -> tuple[Array, float]:
    """Return a BGR copy of a size for people, and by what it was enlarged."""
    height, width = picture.shape[:2]
    factor = min(max(width, LEAST_WIDTH), MOST_WIDTH) / width
    size = (round(width * factor), max(1, round(height * factor)))
    way = cv2.INTER_NEAREST if factor > 1 else cv2.INTER_AREA
    sized = cv2.resize(picture, size, interpolation=way)
    return np.asarray(cv2.cvtColor(sized, cv2.COLOR_GRAY2BGR) if sized.ndim == 2 else sized), factor  # noqa: PLR2004


def _draw(picture: Array, found: Mapping[str, Any], factor: float) -> None:
    box = found.get("box") or ()
    if len(box) != 4:  # noqa: PLR2004
        return
    left, top, width, height = (round(float(edge) * factor) for edge in box)
    cv2.rectangle(picture, (left, top), (left + width, top + height), BOX, 2)
    scale, text = _scale(picture.shape[1]), _ascii(_named(found))
    (wide, high), below = cv2.getTextSize(text, FONT, scale, 1)
    foot = max(top, high + below + 2)  # above the box where there is room
    cv2.rectangle(picture, (left, foot - high - below - 2), (left + wide + 4, foot), BOX, cv2.FILLED)
    cv2.putText(picture, text, (left + 2, foot - below), FONT, scale, STRIP, 1, cv2.LINE_AA)


def _strip(view: Received, width: int) -> Array:
    scale = _scale(width)
    (_, high), below = cv2.getTextSize("Xg", FONT, scale, 1)
    height = high + below + 4
    strip = np.empty((LINES * height + height // 2, width, 3), np.uint8)
    strip[:] = STRIP
    lines = words(view)
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], f"and {len(lines) - LINES + 1} more"]
    for at, line in enumerate(lines):
        text = _ascii(line if len(line) <= COLUMNS else f"{line[: COLUMNS - 3]}...")
        color = FAULT if line.startswith("error:") else WORDS
        cv2.putText(strip, text, (8, (at + 1) * height), FONT, scale, color, 1, cv2.LINE_AA)
    return strip


@cache
def _scale(width: int) -> float:
    """Return a size at which `COLUMNS` letters fill `width`; fonts differ between OpenCV's versions."""
    (wide, _), _ = cv2.getTextSize("n" * COLUMNS, FONT, 1.0, 1)
    return width / wide


def _ascii(text: str) -> str:
    """Return `text` in what the font has."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
