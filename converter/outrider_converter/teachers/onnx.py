"""ONNX files as black boxes: ONNX Runtime computes them, torch only sees answers."""

import hashlib
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.measure import Cost
from outrider_converter.teachers import onnx_cost
from outrider_converter.teachers.entry import Entry, Size, Source, entry, only_input, shown
from outrider_converter.teachers.files import digest
from outrider_converter.teachers.framed import Framed

CURE = "Export it again as a float32 network with one input"


def load(source: Source) -> Framed:
    """Return the network in an `.onnx` file; weights in files beside it are found.

    Raises:
        DataError: the file is broken, ONNX Runtime does not run it, or its input does not fit.
    """
    try:
        session = open_session(source.path)
    except Exception as error:
        raise DataError(f"{source.path.name} cannot be read: {describe(error)}", CURE) from error
    entries = session.get_inputs()
    only_input([one.name for one in entries], source.path)
    if entries[0].type != "tensor(float)":
        raise DataError(f"{source.path.name} takes a {entries[0].type}, a tensor(float) is needed", CURE)
    wrong = [one.type for one in session.get_outputs() if not one.type.startswith("tensor(")]
    if wrong:
        raise DataError(f"{source.path.name} answers a {wrong[0]}, tensors are needed", CURE)
    sizes = tuple(size if isinstance(size, int) and size > 0 else None for size in entries[0].shape)
    frame = entry(sizes, source)
    return Framed(OnnxBox(session, source.path, frame, sizes), frame, _digest(source.path))


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of those of it and its weights where they lie apart."""
    graph = onnx.load(path, load_external_data=False).graph
    apart = {e.value for t in graph.initializer for e in t.external_data if e.key == "location"}
    if not apart:
        return digest(path)
    parts = [digest(path), *(digest(path.parent / name) for name in sorted(apart))]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def open_session(model: Path | bytes) -> Any:  # noqa: ANN401 - untyped library
    """Open a file or its bytes on the CPU, on as many threads as torch has."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 4
    what = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(what, settings, providers=["CPUExecutionProvider"])


class OnnxBox(nn.Module):
    """Runs an ONNX file on batches that fit it."""

    def __init__(self, session: Any, path: Path, frame: Entry, sizes: tuple[Size, ...]) -> None:  # noqa: ANN401 - untyped library
        """Hold an open session.

        Args:
            session: of ONNX Runtime.
            path: of the file.
            frame: how its input is made.
            sizes: of its input, as the file has them.
        """
        super().__init__()
        self._session, self._path, self._shape = session, path, frame.shape
        self._name = session.get_inputs()[0].name
        self.files: dict[str, Path] = {}
        if None in sizes:
            self.files["onnx"] = self._fixed()
        elif sizes[0] == 1:
            self.files["onnx"] = path

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs for the file's own input."""
        return tuple(torch.from_numpy(np.asarray(one)) for one in self._run(x.detach().numpy()))

    def _run(self, x: NDArray[np.float32]) -> list[NDArray[Any]]:
        answers: list[NDArray[Any]] = self._session.run(None, {self._name: x})
        return answers

    def cost(self) -> Cost:
        """Count parameters and multiply-accumulates of one sample.

        Raises:
            DataError: ONNX Runtime does not run the graph.
        """
        return onnx_cost.cost(onnx.load(self._path), self._name, self._shape)

    def _fixed(self) -> Path:
        """Write a copy whose sizes are all known; it is removed with this module."""
        model = onnx.load(self._path)
        zeros = np.zeros((1, *self._shape[1:]), np.float32)
        try:
            answers = self._run(zeros)
        except Exception as error:
            raise DataError(
                f"{self._path.name} does not take an input of {shown(zeros.shape)}: {describe(error)}",
                "Correct input.shape or the network",
            ) from error
        _set_shape(next(value for value in model.graph.input if value.name == self._name), zeros)
        for value, answer in zip(model.graph.output, answers, strict=True):
            _set_shape(value, answer)
        model.graph.ClearField("value_info")
        folder = Path(tempfile.mkdtemp(prefix="outrider-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        onnx.save(model, folder / self._path.name)
        return folder / self._path.name


def _set_shape(value: onnx.ValueInfoProto, array: NDArray[Any]) -> None:
    shape = value.type.tensor_type.shape
    shape.ClearField("dim")
    for size in array.shape:
        shape.dim.add(dim_value=size)
