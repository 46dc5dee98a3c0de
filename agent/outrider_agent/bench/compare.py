"""Sides measured in turns, so that what happens to the machine happens to both."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from outrider_agent.bench.sides import Side

WARM = 5
"""Frames before the first block."""


class Ratio(Struct, frozen=True, kw_only=True):
    """The ratios of pairs: their median, the middle half, and the ends."""

    median: float
    low: float
    high: float
    least: float
    most: float


def interleave(
    sides: Mapping[str, Side], rounds: int, frames: int, progress: Callable[[int], None] = lambda _: None
) -> dict[str, list[float]]:
    """Let each side run a block of `frames` in turn, `rounds` times.

    Returns:
        CPU seconds of a frame, by side, one for each round.

    Raises:
        OutriderError: a side failed.
    """
    for side in sides.values():
        side.block(WARM)
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        progress(number)
        for name, side in sides.items():
            spent[name].append(side.block(frames))
    return spent


def ratio(over: Sequence[float], under: Sequence[float]) -> Ratio:
    """Return how much more `over` took than `under`, pair by pair."""
    ratios = sorted(one / other for one, other in zip(over, under, strict=True))
    low, middle, high = statistics.quantiles(ratios, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Ratio(median=middle, low=low, high=high, least=ratios[0], most=ratios[-1])
