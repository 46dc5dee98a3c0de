"""From a prepared model and its ranges to one with QuantizeLinear and DequantizeLinear around its layers."""

from collections.abc import Collection
from typing import Any

import numpy as np
from onnx import ModelProto
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.quantization.prepare import QUANTIZED, followers
from outrider_converter.quantization.ranges import Ranges
from outrider_converter.quantization.safe import overrides
from outrider_converter.quiet import quiet
from outrider_converter.targets import Scheme

TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}


def quantized(model: ModelProto, ranges: Ranges, scheme: Scheme, exclude: Collection[str] = ()) -> ModelProto:
    """Return `model` in QDQ form.

    Args:
        model: prepared; it is not changed.
        ranges: of its activations.
        scheme: types of activations and weights; 7 bits where pair-safe scales do not apply.
        exclude: layers that stay float.

    Raises:
        DataError: the quantizer fails.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    left = [name for layer in exclude for name in (layer, *(n.name for n in followers(model, layer)))]
    safe = scheme.weights == "pair-safe" and scheme.per_channel
    options = {"TensorQuantOverrides": overrides(model)} if safe else {}
    try:
        with quiet():
            work = QDQQuantizer(
                copy,
                scheme.per_channel,
                scheme.reduce_range,
                TYPES[scheme.weight],
                TYPES[scheme.activation],
                _ranges(ranges),
                [],
                left,
                list(QUANTIZED),
                options,
            )
            work.quantize_model()
    except Exception as error:
        raise DataError(
            f"The ONNX file cannot be quantized: {describe(error)}",
            "Replace the operator it names, or leave onnx out of export.formats",
        ) from error
    made: ModelProto = work.model.model
    return made


def _ranges(ranges: Ranges) -> TensorsData:
    """Return the ranges as the quantizer takes them, new each time: it changes them."""
    values: dict[str, Any] = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    return TensorsData(CalibrationMethod.MinMax, values)
