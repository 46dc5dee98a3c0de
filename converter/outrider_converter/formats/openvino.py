"""OpenVINO: its reader of ONNX files, then post-training quantization by NNCF. A file is `.xml` and `.bin`.

Source of the method: Intel's NNCF, https://github.com/openvinotoolkit/nncf, `nncf.quantize`.
"""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter.formats import onnx
from outrider_converter.formats.own import own_file
from outrider_converter.loading import describe
from outrider_converter.quantization.samples import fit
from outrider_converter.quiet import quiet
from outrider_converter.recipe import Recipe
from outrider_converter.targets import Scheme
from outrider_runtime.untracked import openvino as ov

METHODS = ("minmax", "percentile")
"""How NNCF finds ranges: the extremes over all samples, or the mean of each sample's quantiles."""

QUANTIZED = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul")
"""Operators with weights that NNCF quantizes."""

SCHEME = Scheme(weights="reduced")


def export(model: nn.Module, recipe: Recipe, path: Path) -> None:
    """Write `model` as a float32 IR with a static batch of 1; of a black box, its ONNX file is taken.

    Args:
        model: of torch, or one that runs an ONNX file.
        recipe: shape and name of the input.
        path: ends in `.xml`; weights go beside it, ending in `.bin`.

    Raises:
        DataError: an operator cannot be exported, or the model is a file of another format than ONNX.
    """
    if "onnx" not in getattr(model, "files", {}):
        own_file(model, "openvino")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source = Path(folder) / "float.onnx"
        onnx.export(model, recipe, source)
        convert(source, recipe, path)


def convert(source: Path, recipe: Recipe, path: Path) -> None:
    """Write a float32 ONNX file as an IR, its input fixed to the recipe's shape if it is dynamic.

    Raises:
        DataError: OpenVINO does not read it.
    """
    try:
        with quiet():
            model = ov.convert_model(str(source))
            if model.is_dynamic():
                model.reshape(list(recipe.input.shape))
            ov.save_model(model, str(path), compress_to_fp16=False)
    except Exception as error:
        raise DataError(
            f"The network cannot be exported to OpenVINO: {describe(error)}",
            "Replace the operator it names, or leave openvino out of export.formats",
        ) from error


def layers(source: Path) -> tuple[str, ...]:
    """Return the names of the layers of a float32 IR that can be quantized, in order.

    Raises:
        DataError: OpenVINO does not read it.
    """
    return tuple(
        op.get_friendly_name()
        for op in _read(source).get_ordered_ops()
        if op.get_type_name() in QUANTIZED and _is_constant(op.input_value(1).get_node())
    )


def quantize(
    source: Path,
    target: Path,
    samples: NDArray[np.float32],
    method: str,
    exclude: Collection[str] = (),
    scheme: Scheme = SCHEME,
) -> None:
    """Quantize a float32 IR; inputs and outputs stay float32.

    Args:
        source: float32 `.xml` with its `.bin`.
        target: int8 `.xml`.
        samples: model inputs without batch `(n, ...)` float32, images as `(n, c, h, w)`.
        method: one of `METHODS`.
        exclude: layers that stay float, by their names from `layers`.
        scheme: uint8 activations may have any zero point, int8 ones are symmetric. NNCF has no pair-safe
            weights: they become 7-bit ones, which cannot overflow 16-bit sums either. Depthwise kernels keep
            8 bits whatever is asked: on AVX2 OpenVINO was seen to compute them as exactly as on VNNI.

    Raises:
        DataError: the quantizer fails or has no such method.
    """
    if method not in METHODS:
        raise DataError(f"OpenVINO has no ranges by {method}", f"Give one of {', '.join(METHODS)}")
    model = _read(source)
    rows = fit(samples, model.input(0).get_shape(), source.name)
    try:
        with quiet():
            made = _quantized(model, rows, method, tuple(exclude), scheme)
            ov.save_model(made, str(target), compress_to_fp16=False)
    except Exception as error:
        raise DataError(
            f"The OpenVINO file cannot be quantized: {describe(error)}",
            "Leave openvino out of export.formats",
        ) from error


def _quantized(
    model: Any,  # noqa: ANN401 - untyped library
    rows: NDArray[np.float32],
    method: str,
    exclude: tuple[str, ...],
    scheme: Scheme,
) -> Any:  # noqa: ANN401 - untyped library
    # After `untracked`, or it would report its use; and it takes seconds to import.
    import nncf  # noqa: PLC0415
    from nncf.quantization import advanced_parameters as advanced  # noqa: PLC0415
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet as Ranges  # noqa: PLC0415

    kinds, presets = advanced.OverflowFix, nncf.QuantizationPreset
    return nncf.quantize(
        model,
        nncf.Dataset([row[None] for row in rows]),
        preset=presets.MIXED if scheme.activation == "uint8" else presets.PERFORMANCE,
        subset_size=len(rows),
        ignored_scope=nncf.IgnoredScope(names=list(exclude)),
        advanced_parameters=advanced.AdvancedQuantizationParameters(
            overflow_fix=kinds.ENABLE if scheme.reduce_range else kinds.DISABLE,
            weights_quantization_params=advanced.QuantizationParameters(per_channel=scheme.per_channel),
            activations_range_estimator_params=Ranges.MINMAX if method == "minmax" else Ranges.MEAN_QUANTILE,
        ),
    )


def _read(source: Path) -> Any:  # noqa: ANN401 - untyped library
    try:
        return ov.Core().read_model(str(source))
    except Exception as error:
        raise DataError(f"OpenVINO does not read {source.name}", "Export it again") from error


def _is_constant(node: Any) -> bool:  # noqa: ANN401 - untyped library
    """Whether a value is weights: a constant, or one behind a conversion or a change of shape."""
    passing = ("Convert", "Reshape", "Transpose")
    while node.get_type_name() in passing:
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")
