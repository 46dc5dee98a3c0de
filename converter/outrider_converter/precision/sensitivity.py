"""Which layers suffer most from being int8.

Each layer is quantized alone, all others stay float: what the outputs lose then is this layer's own doing,
not hidden by the rest, and over layers such losses add up roughly. Whether it pays to take a layer back to
float depends on its neighbours as well, so `mixed` measures that anew.
"""

from collections.abc import Callable

from msgspec import Struct

from outrider_converter.exports import Export
from outrider_converter.precision.gauge import Gauge
from outrider_converter.progress import Task

FRAMES = 64
"""Frames a layer; enough to rank, and the scan is as long as the network is deep."""

Make = Callable[[tuple[str, ...]], Export]
"""Makes an int8 file in which the layers named stay float."""


class Sensitivity(Struct, frozen=True, kw_only=True):
    """What outputs lose if `layer` alone is int8: `error` relative, L2; `agreement` of answers with float."""

    layer: str
    error: float
    agreement: float


def scan(make: Make, layers: tuple[str, ...], gauge: Gauge, task: Task) -> tuple[Sensitivity, ...]:
    """Return all layers, the most sensitive first.

    Raises:
        OutriderError: a file cannot be made or run.
    """
    rows = []
    for layer in layers:
        found = gauge.deviation(make(tuple(other for other in layers if other != layer)), FRAMES)
        rows.append(Sensitivity(layer=layer, error=found.relative, agreement=found.agreement))
        task.advance()
    return tuple(sorted(rows, key=lambda row: -row.error))


def short(layer: str) -> str:
    """Return a layer's name for people; those of litert-torch are lists of whole module paths."""
    parts = [part for part in layer.split(";") if not part.isdigit() and part]
    return parts[-1].rsplit("/", 1)[-1] if ";" in layer and parts else layer
