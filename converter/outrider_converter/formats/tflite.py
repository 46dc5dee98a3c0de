"""TFLite: litert-torch, then full-integer quantization by ai-edge-quantizer; no TensorFlow."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.quiet import quiet
from outrider_converter.recipe import Recipe


def export(model: nn.Module, recipe: Recipe, path: Path) -> None:
    """Write `model` as float32 TFLite with a static batch of 1; images become channels-last.

    Raises:
        DataError: an operator cannot be exported.
    """
    shape = recipe.input.shape
    try:
        with quiet():
            import litert_torch  # noqa: PLC0415 - half a minute on a small machine, and only TFLite needs it

            model = _contiguous(model)
            if recipe.input.layout == "NCHW":
                model = litert_torch.to_channel_last_io(model, args=[0]).eval()
                shape = (shape[0], *shape[2:], shape[1])
            litert_torch.convert(model, (torch.zeros(shape),)).export(str(path))
    except Exception as error:
        raise DataError(
            f"The network cannot be exported to TFLite: {describe(error)}", "Replace the operator it names"
        ) from error


def _contiguous(model: nn.Module) -> nn.Module:
    """Return a copy with plain strides: litert-torch reads channels-last weights in the wrong order."""
    model = copy.deepcopy(model).eval()
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.contiguous()
    return model


def quantize(source: Path, target: Path, samples: NDArray[np.float32]) -> None:
    """Quantize a float32 file to int8 throughout, input and output included.

    Args:
        source: float32 file.
        target: int8 file.
        samples: model inputs without batch `(n, ...)` float32, as the torch network takes them.

    Raises:
        DataError: the quantizer fails.
    """
    try:
        with quiet():
            from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - see export
            from ai_edge_quantizer import quantizer, recipe  # noqa: PLC0415

            signatures: dict[str, Any] = Interpreter(str(source)).get_signature_list()
            signature = next(iter(signatures))
            name = signatures[signature]["inputs"][0]
            rows = channels_last(samples)
            work = quantizer.Quantizer(str(source))
            work.load_quantization_recipe(recipe.static_wi8_ai8())
            ranges = work.calibrate({signature: [{name: row[None]} for row in rows]})
            work.quantize(ranges).export_model(str(target), overwrite=True)
    except Exception as error:
        raise DataError(
            f"The TFLite file cannot be quantized: {describe(error)}", "Leave tflite out of export.formats"
        ) from error


def channels_last(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return image samples `(n, c, h, w)` as `(n, h, w, c)`; others as they are."""
    return np.ascontiguousarray(samples.transpose(0, 2, 3, 1)) if samples.ndim == 4 else samples  # noqa: PLR2004
