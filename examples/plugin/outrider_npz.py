"""Dense networks in `.npz` files, computed by numpy. Files: `model`.

A file holds `shape`, that of the input, and `w0, b0, w1, b1, ...`, all float32: a layer is `x @ w + b`, with
ReLU between layers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Scalar, Tensor
from outrider_runtime import options as opts
from outrider_runtime.checked import CheckedSession, first_line
from outrider_runtime.session import Array, Placement

DEFAULTS: dict[str, Scalar] = {"threads": 1}
"""Every runtime has `threads`; the BLAS in numpy takes its own number from OPENBLAS_NUM_THREADS."""

Layers = list[tuple[Array, Array]]


class NpzRuntime:
    """Loads `.npz` files."""

    exclusive = False  # True for a device that one process at a time may hold

    @staticmethod
    def example(folder: Path) -> tuple[dict[str, Path], dict[str, Scalar]]:
        """Write a tiny model for the contract suite; return its files and options."""
        random, arrays = np.random.default_rng(0), {"shape": np.array([1, 1, 8, 8])}
        for at, (inside, outside) in enumerate([(64, 16), (16, 3)]):
            arrays[f"w{at}"] = random.normal(size=(inside, outside)).astype(np.float32)
            arrays[f"b{at}"] = random.normal(size=outside).astype(np.float32)
        np.savez(folder / "tiny.npz", **arrays)
        return {"model": folder / "tiny.npz"}, {}

    def load(self, files: Mapping[str, Path], options: Mapping[str, Scalar]) -> "NpzSession":
        """Load `files["model"]`; whatever is wrong with it is one EngineError."""
        threads = opts.threads("npz", opts.known("npz", options, DEFAULTS))
        try:
            with files["model"].open("rb") as file, np.load(file) as archive:
                shape = tuple(int(size) for size in archive["shape"])
                count = len(archive.files) // 2
                layers = [(archive[f"w{at}"], archive[f"b{at}"]) for at in range(count)]
        except Exception as error:
            raise EngineError(f"numpy does not load the model: {first_line(error)}") from error
        if not layers:
            raise EngineError("The model has no layers")
        width = int(np.prod(shape))
        for at, (weights, bias) in enumerate(layers):
            if weights.dtype != np.float32 or bias.shape != weights.shape[1:] or len(weights) != width:
                raise EngineError(f"Layer {at} of the model does not fit", "Save float32, inputs by outputs")
            width = len(bias)
        return NpzSession(shape, layers, threads)


class NpzSession(CheckedSession):
    """A network whose arrays were checked by `CheckedSession` before `_infer` sees them."""

    def __init__(self, shape: tuple[int, ...], layers: Layers, threads: int) -> None:
        """Say what goes in and what comes out."""
        scores = Tensor(name="scores", shape=(1, len(layers[-1][1])), dtype="float32")
        super().__init__([Tensor(name="image", shape=shape, dtype="float32")], [scores])
        self._layers, self._threads = layers, threads

    def placement(self) -> Placement:
        """Say where it really runs."""
        return Placement(
            device="cpu", backend="numpy", nodes={"numpy": len(self._layers)}, threads=self._threads
        )

    def _infer(self, inputs: Sequence[Array], out: Sequence[Array] | None) -> Sequence[Array]:
        values = inputs[0].reshape(1, -1)
        for weights, bias in self._layers[:-1]:
            values = np.maximum(values @ weights + bias, 0)
        out = out or self._allocate()
        weights, bias = self._layers[-1]
        np.add(values @ weights, bias, out=out[0])
        return out
