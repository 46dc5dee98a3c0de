"""A runtime without a library: for tests, and to try a pipeline before there is a model.

Its answer is one-hot at the sum of the input's bytes, modulo the number of outputs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, cast, get_args

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Dtype, Scalar, Tensor
from outrider_runtime import options as opts
from outrider_runtime.checked import CheckedSession
from outrider_runtime.session import Array, Placement

DEFAULTS: dict[str, Scalar] = {
    "input": "1,1,8,8",
    "input_dtype": "float32",
    "output": "1,2",
    "output_dtype": "float32",
    "threads": 1,
}


class NullRuntime:
    """Makes sessions of the shapes that its options give; a file is only looked for."""

    exclusive: ClassVar[bool] = False

    def load(self, files: Mapping[str, Path], options: Mapping[str, Scalar]) -> "NullSession":
        """Return a session; see `Runtime.load`."""
        for path in files.values():
            if not path.is_file():
                raise EngineError(f"There is no file {path.name}")
        chosen = opts.known("null", options, DEFAULTS)
        opts.threads("null", chosen)
        return NullSession([_tensor("input", chosen)], [_tensor("output", chosen)])


class NullSession(CheckedSession):
    """Answers at once."""

    def _infer(self, inputs: Sequence[Array], out: Sequence[Array] | None) -> Sequence[Array]:
        out = out or self._allocate()
        flat = out[0].reshape(-1)
        flat[:] = 0
        flat[int(inputs[0].view("uint8").sum(dtype="uint64")) % flat.size] = 1
        return out

    def placement(self) -> Placement:
        """Return `null`."""
        return Placement(device="null", backend="null")


def _tensor(name: str, options: Mapping[str, Scalar]) -> Tensor:
    sizes, dtype = str(options[name]).split(","), str(options[f"{name}_dtype"])
    if dtype not in get_args(Dtype) or not all(size.strip().isdecimal() and int(size) for size in sizes):
        raise EngineError(f"The runtime null cannot make an {name} of {dtype} {options[name]}")
    return Tensor(name=name, shape=tuple(map(int, sizes)), dtype=cast("Dtype", dtype))
