"""Float TFLite files as black boxes: LiteRT computes them, torch only sees answers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.measure import Cost
from outrider_converter.quiet import quiet
from outrider_converter.teachers import tflite_cost
from outrider_converter.teachers.entry import Entry, Size, Source, entry, only_input
from outrider_converter.teachers.files import digest
from outrider_converter.teachers.framed import Framed

CURE = "Convert it again without quantization, input and output float32"
INTEGERS = (np.int8, np.uint8, np.int16)


def load(source: Source) -> Framed:
    """Return the network in a `.tflite` file.

    Raises:
        DataError: the file is broken or quantized, LiteRT does not run it, or its input does not fit.
    """
    try:
        with quiet():  # LiteRT greets once per process
            from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - other formats need none

            interpreter = Interpreter(str(source.path), num_threads=torch.get_num_threads())
            interpreter.allocate_tensors()
    except Exception as error:
        raise DataError(
            f"{source.path.name} cannot be read: {describe(error)}",
            "Convert it again; operators that only TensorFlow has cannot be run",
        ) from error
    inputs = interpreter.get_input_details()
    only_input([one["name"] for one in inputs], source.path)
    _check_float(interpreter, source.path)
    frame = entry(_sizes(inputs[0]), source)
    return Framed(TfliteBox(interpreter, source.path, frame), frame, digest(source.path))


def _check_float(interpreter: Any, path: Path) -> None:  # noqa: ANN401 - untyped library
    """Refuse quantized tensors, wherever they are."""
    if any(
        one["dtype"] in INTEGERS and len(one["quantization_parameters"]["scales"])
        for one in interpreter.get_tensor_details()
    ):
        raise DataError(f"{path.name} is quantized, a teacher must be float", CURE)
    kind = np.dtype(interpreter.get_input_details()[0]["dtype"])
    if kind != np.float32:
        raise DataError(f"{path.name} takes {kind}, float32 is needed", CURE)


def _sizes(details: dict[str, Any]) -> tuple[Size, ...]:
    """Return the sizes of an input; those that may change are -1 in its signature."""
    signature = details.get("shape_signature")
    sizes = details["shape"] if signature is None or len(signature) == 0 else signature
    return tuple(int(size) if size > 0 else None for size in sizes)


class TfliteBox(nn.Module):
    """Runs a TFLite file on batches that fit it."""

    def __init__(self, interpreter: Any, path: Path, frame: Entry) -> None:  # noqa: ANN401 - untyped library
        """Hold an interpreter.

        Args:
            interpreter: of LiteRT.
            path: of the file.
            frame: how its input is made.
        """
        super().__init__()
        self._interpreter, self._path, self._shape = interpreter, path, frame.shape
        stored = tuple(int(size) for size in interpreter.get_input_details()[0]["shape"])
        self.files = {"tflite": path} if stored == (1, *frame.shape[1:]) else {}

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs for the file's own input."""
        self._resize(tuple(x.shape))
        index = self._interpreter.get_input_details()[0]["index"]
        self._interpreter.set_tensor(index, x.detach().numpy())
        self._interpreter.invoke()
        details = self._interpreter.get_output_details()
        return tuple(torch.from_numpy(self._interpreter.get_tensor(one["index"])) for one in details)

    def _resize(self, shape: tuple[int, ...]) -> None:
        entry = self._interpreter.get_input_details()[0]
        if tuple(entry["shape"]) != shape:
            self._interpreter.resize_tensor_input(entry["index"], shape)
            self._interpreter.allocate_tensors()

    def cost(self) -> Cost:
        """Count parameters and multiply-accumulates of one sample."""
        self._resize(self._shape)
        shapes = [tuple(int(n) for n in one["shape"]) for one in self._interpreter.get_tensor_details()]
        found = tflite_cost.cost(self._path.read_bytes(), shapes)
        return Cost(params=found.params, macs=found.macs // math.prod(self._shape[:1]))
