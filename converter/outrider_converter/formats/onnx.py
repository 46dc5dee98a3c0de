"""ONNX: torch's exporter or a file of the user's own, then static quantization in QDQ form."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter.exports import OUTPUT
from outrider_converter.formats.own import own_file
from outrider_converter.loading import describe
from outrider_converter.quantization import prepare
from outrider_converter.quantization.qdq import quantized
from outrider_converter.quantization.ranges import Method, Ranges, observe
from outrider_converter.quantization.ranges import ranges as find_ranges
from outrider_converter.quantization.samples import fit
from outrider_converter.quantization.sizes import fix_sizes
from outrider_converter.quiet import quiet
from outrider_converter.recipe import Recipe
from outrider_converter.targets import Scheme


def export(model: nn.Module, recipe: Recipe, path: Path) -> None:
    """Write `model` as float32 ONNX with a static batch of 1; a file's own model is copied.

    Raises:
        DataError: an operator cannot be exported, the opset is not the one asked for, or the model is a file
            of another format.
    """
    own = own_file(model, "onnx")
    if own is not None:
        copy = onnx.load(own)
        fix_sizes(copy, own.name)
        onnx.save(copy, path)
        return
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


def layers(source: Path) -> tuple[str, ...]:
    """Return the names of the layers of a float32 file that can be quantized, in order.

    Raises:
        DataError: the file cannot be prepared for it.
    """
    return prepare.layers(prepare.prepare(source))


def quantize(  # noqa: PLR0913, PLR0917 - the seam that all formats have
    source: Path,
    target: Path,
    samples: NDArray[np.float32],
    name: str,
    scheme: Scheme,
    method: Method = "minmax",
    exclude: Collection[str] = (),
    ranges: Ranges | None = None,
) -> None:
    """Quantize a float32 file into QDQ form.

    Args:
        source: float32 file, any opset, batch 1 or unknown.
        target: int8 file.
        samples: model inputs without batch `(n, ...)` float32.
        name: of the input; a file with a single one may call it otherwise.
        scheme: types of activations and weights, and whether 16-bit sums must not overflow.
        method: how activations get their range.
        exclude: layers that stay float, by their names in `layers`.
        ranges: of an earlier calibration; `samples` and `method` are not looked at then.

    Raises:
        DataError: the file cannot be quantized.
    """
    model = prepare.prepare(source)
    if ranges is None:
        entry = prepare.entry(model, name)
        fitting = fit(samples, entry.shape, source.name)
        ranges = find_ranges(observe(model, fitting, entry.name, histograms=method != "minmax"), method)
    onnx.save(quantized(model, ranges, scheme, exclude), target)
