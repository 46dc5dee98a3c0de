"""A base for sessions: what every runtime has to check, once and cheap enough for every frame."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from outrider_bundle.errors import EngineError, OutriderError
from outrider_bundle.manifest import Tensor
from outrider_runtime.session import Array, Placement, empty


class Fit:
    """The shapes and dtypes that arrays must have; 0.5 us for an array that fits."""

    def __init__(self, what: str, tensors: Sequence[Tensor]) -> None:
        """Remember `tensors`; `what` is `input` or `output`, for the message."""
        self._what = what
        self._expected = tuple((tensor.name, tensor.shape, np.dtype(tensor.dtype)) for tensor in tensors)

    def check(self, arrays: Sequence[Array]) -> None:
        """Compare.

        Raises:
            EngineError: their number, a shape, a dtype or the memory layout does not fit.
        """
        if len(arrays) != len(self._expected):
            raise EngineError(f"There are {len(arrays)} {self._what}s and not {len(self._expected)}")
        for array, (name, shape, dtype) in zip(arrays, self._expected, strict=True):
            if array.shape != shape or array.dtype != dtype:
                found = f"{array.dtype} {array.shape}"
                raise EngineError(f"The {self._what} '{name}' is {found} and must be {dtype} {shape}")
            if not array.flags.c_contiguous or not array.flags.aligned:
                cure = "Use numpy.ascontiguousarray"
                raise EngineError(f"The {self._what} '{name}' is not C-contiguous and aligned", cure)


class CheckedSession(ABC):
    """A `Session` whose `run` checks its arrays and turns a library's exceptions into ours.

    Args:
        inputs: physical inputs.
        outputs: physical outputs.
    """

    def __init__(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Remember the tensors."""
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self._fit_inputs, self._fit_outputs = Fit("input", inputs), Fit("output", outputs)
        self._open = True

    def run(self, inputs: Sequence[Array], out: Sequence[Array] | None = None) -> Sequence[Array]:
        """Run once; see `Session.run`."""
        if not self._open:
            raise EngineError("The session is closed", "Load the model again")
        self._fit_inputs.check(inputs)
        if out is not None:
            self._fit_outputs.check(out)
        try:
            return self._infer(inputs, out)
        except OutriderError:
            raise
        except Exception as error:
            raise EngineError(f"The model failed: {first_line(error)}") from error

    @abstractmethod
    def _infer(self, inputs: Sequence[Array], out: Sequence[Array] | None) -> Sequence[Array]:
        """Run on arrays that fit; return `out`, or fresh arrays."""

    @abstractmethod
    def placement(self) -> Placement:
        """Return where the session runs."""

    def close(self) -> None:
        """Refuse to run from here on; idempotent. Extend it to free what the session holds."""
        self._open = False

    def _allocate(self) -> list[Array]:
        return [empty(tensor) for tensor in self.outputs]


def first_line(error: Exception) -> str:
    """Return what an error of another library says, in one line."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
