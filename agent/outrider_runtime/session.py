"""The runtime seam: files in, a session out; tensors in, tensors out.

A runtime knows nothing of frames, labels or devices. It ships as one module with one class and one
entry point in the group `outrider.runtimes`; third parties use the same group, and may build on
`checked.CheckedSession` and `options.known`. `tests/contract/` says what a runtime must keep to: it
runs over every one that is installed and asks its static method `example(folder) -> (files, options)` for
a tiny model to load.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from outrider_bundle.manifest import Scalar, Tensor

Array = NDArray[Any]
"""A C-contiguous tensor of any dtype."""


class Placement(Struct, frozen=True, kw_only=True):
    """Where a session really runs: the truth that status and telemetry report.

    Args:
        device: what most of the work runs on, for people: `cpu`, `gpu:0`, `edgetpu:usb`, `null`.
        backend: the provider or delegate: `CPUExecutionProvider`, `XNNPACK`.
        nodes: how many nodes each backend took; empty where the runtime does not tell.
        threads: intra-op threads.
        asked: the backend that the options asked for; empty if none was.
        reason: why not all of the model is there; empty if it is.
    """

    device: str
    backend: str
    nodes: dict[str, int] = {}
    threads: int = 1
    asked: str = ""
    reason: str = ""

    @property
    def share(self) -> float:
        """The share of the nodes that is where it was asked for, 0..1."""
        if not self.asked:
            return 1.0
        if not self.nodes:
            return float(self.backend == self.asked)
        return self.nodes.get(self.asked, 0) / sum(self.nodes.values())


@runtime_checkable
class Session(Protocol):
    """A loaded model with its physical tensors; `inputs` and `outputs` are as the file has them."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Physical inputs, in file order. No file knows the `layout`, which stays at its default."""
        ...

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Physical outputs, in file order."""
        ...

    def run(self, inputs: Sequence[Array], out: Sequence[Array] | None = None) -> Sequence[Array]:
        """Run once.

        Args:
            inputs: one C-contiguous array per input, with its exact shape and dtype.
            out: arrays to write the outputs into; allocated if None.

        Returns:
            `out`, or fresh arrays owned by the caller.

        Raises:
            EngineError: shape or dtype do not fit, or the runtime failed.
        """
        ...

    def placement(self) -> Placement:
        """Return where the session runs."""
        ...

    def close(self) -> None:
        """Free the model; idempotent."""
        ...


@runtime_checkable
class Runtime(Protocol):
    """How sessions are made. `exclusive`: one process at a time may hold the device."""

    exclusive: ClassVar[bool]

    def load(self, files: Mapping[str, Path], options: Mapping[str, Scalar]) -> Session:
        """Load a model.

        Args:
            files: role to path, as `Variant.files` lists them.
            options: of this runtime, for example `threads`; unknown ones are refused.

        Raises:
            EngineError: the files cannot be loaded.
            MissingExtraError: the runtime's library is not installed.
        """
        ...


def empty(tensor: Tensor) -> Array:
    """Return an uninitialized C-contiguous array for `tensor`."""
    return np.empty(tensor.shape, np.dtype(tensor.dtype))
