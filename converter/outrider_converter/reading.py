"""What a teacher's answers say, read as a device reads a variant's."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import File, Input, Layout, Manifest, Tensor, Variant
from outrider_converter.accuracy import Indices
from outrider_converter.dataset import Frames
from outrider_converter.fidelity import Outputs
from outrider_runtime.decoders import softmax
from outrider_runtime.perception import (
    Anomaly,
    Classification,
    Control,
    Detections,
    Perception,
    Regression,
    agreement,
)
from outrider_runtime.pipeline import Ports
from outrider_runtime.session import Array, empty

NEAR = 1e-3
"""How far from 1 a sum of probabilities may be."""


class Read(Struct, kw_only=True):
    """What a variant's answers to n frames say, filled frame by frame.

    Args:
        indices: most likely class of each frame, int64 `(n,)`; zeros where there are no classes.
        margins: its lead over the second, float64 `(n,)`.
        values: numbers and the teacher's for them, each float64 `(n, k)`; empty where there are none.
        shares: of objects, how much each frame's agree with the teacher's, float64 `(n,)`; the same.
    """

    indices: Indices
    margins: NDArray[np.float64]
    values: list[tuple[tuple[float, ...], tuple[float, ...]]]
    shares: list[float]


class Reader:
    """Reads the answers of a variant beside those of the teacher."""

    def __init__(self, manifest: Manifest, wanted: Outputs) -> None:
        """Take the teacher's answers `wanted`, as `manifest` has its outputs."""
        self._wanted, count = wanted, len(wanted[0])
        self._ports = Ports(manifest, _stated(manifest)) if manifest.task != "raw" else None
        self._inputs = [empty(_tensor(one.name, one.shape)) for one in manifest.inputs]
        self.read = Read(indices=np.zeros(count, np.int64), margins=np.zeros(count), values=[], shares=[])

    def take(self, row: int, frame: Frames, seen: Perception) -> None:
        """Take what a variant saw in the frame of number `row`.

        Raises:
            EngineError: the teacher's answer cannot be read.
        """
        read = self.read
        if isinstance(seen, Classification):
            read.indices[row], read.margins[row] = seen.index, seen.margin
        elif isinstance(seen, Control) and seen.index >= 0:
            read.indices[row], read.margins[row] = seen.index, _margin(seen.values)
        elif isinstance(seen, Detections):
            read.shares.append(agreement(seen, self._teacher(row, frame)))
        else:
            read.values.append((_numbers(seen), _numbers(self._teacher(row, frame))))

    def _teacher(self, row: int, frame: Frames) -> Perception:
        """Return what the teacher sees in a frame."""
        if self._ports is None:
            raise EngineError("Raw outputs say nothing", "Convert for a task")
        self._ports.write(frame, self._inputs)
        outputs: Sequence[Array] = [part[row : row + 1] for part in self._wanted]
        return self._ports.decode(outputs)


def _stated(manifest: Manifest) -> Variant:
    """Return a variant that answers in float32, as torch does."""
    return Variant(
        id="teacher",
        runtime="torch",
        precision="float32",
        rank=0,
        files=(File(role="model", blob="teacher"),),
        inputs=tuple(_tensor(one.name, one.shape) for one in manifest.inputs),
        outputs=tuple(_answer(_tensor(one.name, one.shape), manifest.inputs[0]) for one in manifest.outputs),
    )


def _tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    layouts: dict[int, Layout] = {3: "NCT", 4: "NCHW"}
    return Tensor(name=name, shape=shape, dtype="float32", layout=layouts.get(len(shape), "NC"))


def _answer(output: Tensor, given: Input) -> Tensor:
    """Return an output in its file's order: one of the input's sizes may have the channels last."""
    turned: dict[Layout, Layout] = {"NCT": "NTC", "NCHW": "NHWC"}
    if output.shape == given.shape or output.shape != (given.shape[0], *given.shape[2:], given.shape[1]):
        return output
    return replace(output, layout=turned.get(given.layout, output.layout))


def _margin(values: tuple[float, ...]) -> float:
    """Return the lead of the best action in probability; scores count as logits unless they are shares."""
    scores = np.array(values, np.float64)
    shares = scores if (scores >= 0).all() and abs(scores.sum() - 1) <= NEAR else softmax(scores)
    best = np.sort(shares)
    return float(best[-1] - best[-2]) if len(best) > 1 else float(best[-1])


def _numbers(seen: Perception) -> tuple[float, ...]:
    if isinstance(seen, Anomaly):
        return (seen.score,)
    if isinstance(seen, Regression | Control):
        return seen.values
    raise EngineError("The outputs are no numbers", "Correct the table 'output'")
