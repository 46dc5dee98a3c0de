"""ONNX: torch's exporter, then ONNX Runtime's static quantization in QDQ form."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.quiet import quiet
from outrider_converter.recipe import QuantizeOptions, Recipe

OUTPUT = "scores"


def export(model: nn.Module, recipe: Recipe, path: Path) -> None:
    """Write `model` as float32 ONNX with a static batch of 1.

    Raises:
        DataError: an operator cannot be exported, or the opset is not the one asked for.
    """
    try:
        with quiet():
            program = torch.onnx.export(
                model.eval(),
                (torch.zeros(recipe.input.shape),),
                dynamo=True,
                opset_version=recipe.export.opset,
                input_names=[recipe.input.name],
                output_names=[OUTPUT],
                verbose=False,
            )
    except Exception as error:
        raise DataError(
            f"The network cannot be exported to ONNX: {describe(error)}", "Replace the operator it names"
        ) from error
    if program is None:
        raise DataError("torch exported no ONNX program", "Update torch and onnxscript")
    proto = program.model_proto
    # An opset that cannot be converted to is left as it is, with no more than a line on stderr.
    opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    if opset != recipe.export.opset:
        raise DataError(
            f"ONNX opset {recipe.export.opset} was asked for, {opset} written", f"Set opset = {opset}"
        )
    onnx.save(proto, path)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """Calibration samples, one at a time."""

    def __init__(self, name: str, samples: NDArray[np.float32]) -> None:
        self._rows = iter([{name: sample[None]} for sample in samples])

    def get_next(self) -> Any:  # noqa: ANN401 - the library declares a dict, and wants None at the end
        """Return the next sample."""
        return next(self._rows, None)


def quantize(
    source: Path, target: Path, samples: NDArray[np.float32], name: str, options: QuantizeOptions
) -> None:
    """Quantize a float32 file: uint8 activations, int8 weights per channel.

    Args:
        source: float32 file.
        target: int8 file.
        samples: model inputs without batch `(n, ...)` float32.
        name: of the input.
        options: 7-bit weights where the CPU would saturate 16-bit sums (x86 without VNNI), and more.

    Raises:
        DataError: the quantizer fails.
    """
    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    prepared = target.with_suffix(".prepared.onnx")
    try:
        with quiet():
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(target),
                _Reader(name, samples),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=options.reduce_range,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=methods[options.method],
            )
    except Exception as error:
        raise DataError(
            f"The ONNX file cannot be quantized: {describe(error)}", "Try another quantize.method"
        ) from error
    finally:
        prepared.unlink(missing_ok=True)
