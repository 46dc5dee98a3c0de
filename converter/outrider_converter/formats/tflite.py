"""TFLite: litert-torch, then full-integer quantization by ai-edge-quantizer; no TensorFlow."""

import copy
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter.formats.own import own_file
from outrider_converter.loading import describe
from outrider_converter.quantization.samples import fit
from outrider_converter.quiet import quiet
from outrider_converter.recipe import Recipe

METHODS = ("minmax",)
"""How ai-edge-quantizer finds ranges: by each sample's lowest and highest value; see `calibrate`."""

TABLE = 2
"""Dimensions of samples of a table."""

THREADS = 2

Calibration = dict[str, dict[str, Any]]
"""Lowest and highest value by tensor, as ai-edge-quantizer has them."""


def export(model: nn.Module, recipe: Recipe, path: Path) -> None:
    """Write `model` as float32 TFLite with a static batch of 1; images become channels-last.

    Raises:
        DataError: an operator cannot be exported, or the model is a file of another format.
    """
    own = own_file(model, "tflite")
    if own is not None:
        shutil.copyfile(own, path)
        return
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


def layers(source: Path) -> tuple[str, ...]:
    """Return the names of the operators of a float32 file that can be quantized, in order.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with quiet():
            from ai_edge_quantizer import recipe, recipe_manager  # noqa: PLC0415 - see export
            from ai_edge_quantizer.utils import tfl_flatbuffer_utils as flat  # noqa: PLC0415

            known = recipe_manager.RecipeManager()
            known.load_quantization_recipe(recipe.static_wi8_ai8())
            model: Any = flat.read_model(str(source))
            graph = model.subgraphs[0]
            found = []
            for operator in graph.operators:
                code = model.operatorCodes[operator.opcodeIndex].builtinCode
                scope = flat.get_op_scope(operator, graph.tensors)
                kind = flat.TFL_OP_CODE_TO_NAME.get(code)
                if kind and known.get_quantization_configs(kind, scope)[0] != "no_quantize":
                    found.append(scope)
    except Exception as error:
        raise DataError(
            f"{source.name} cannot be read as TFLite: {describe(error)}", "Export it again"
        ) from error
    return tuple(found)


def calibrate(source: Path, samples: NDArray[np.float32]) -> Calibration:
    """Run the samples through a float32 file.

    Args:
        source: float32 file with one signature and one input.
        samples: model inputs without batch `(n, ...)` float32, images as `(n, c, h, w)`.

    Returns:
        The range of every activation: of tables the extremes of all samples, else the quantizer's moving
        average of each sample's. A row of a table has so few values that the average of its extremes lies far
        within theirs: of a policy's int8 file half the size of the outputs was cut off by it.

    Raises:
        DataError: the file cannot be run on them.
    """
    try:
        with quiet():
            from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - see export
            from ai_edge_quantizer import calibrator, recipe, recipe_manager  # noqa: PLC0415
            from ai_edge_quantizer.utils import qsv_utils  # noqa: PLC0415

            interpreter = Interpreter(str(source))
            signatures: dict[str, Any] = interpreter.get_signature_list()
            signature = next(iter(signatures))
            name = signatures[signature]["inputs"][0]
            rows = fit(samples, interpreter.get_input_details()[0]["shape"], source.name)
            rules = recipe_manager.RecipeManager()
            rules.load_quantization_recipe(recipe.static_wi8_ai8())
            rule: dict[str, Any] = {"qsv_update_func": qsv_utils.min_max_update} if rows.ndim == TABLE else {}
            work: Any = calibrator.Calibrator(source.read_bytes(), num_threads=THREADS, **rule)
            work.calibrate({signature: [{name: row[None]} for row in rows]}, rules)
            found: Calibration = work.get_model_qsvs()
    except DataError:
        raise
    except StopIteration as error:
        raise DataError(f"{source.name} has no signature", "Export it again with one") from error
    except Exception as error:
        raise _failed(error) from error
    return found


def write(source: Path, target: Path, calibration: Calibration, exclude: Collection[str] = ()) -> None:
    """Quantize a float32 file to int8, input and output included unless their operators are excluded.

    Args:
        source: float32 file.
        target: int8 file.
        calibration: of the same file.
        exclude: layers that stay float, by their names in `layers`.

    Raises:
        DataError: the quantizer fails.
    """
    try:
        with quiet():
            from ai_edge_quantizer import quantizer, recipe  # noqa: PLC0415 - see export

            rules = [*recipe.static_wi8_ai8(), *_left_float(exclude)]
            work: Any = quantizer.Quantizer(str(source))
            work.load_quantization_recipe(rules)
            made = work.quantize(calibration, enable_progress_report=False)
            made.export_model(str(target), overwrite=True)
    except Exception as error:
        raise _failed(error) from error


def _left_float(exclude: Collection[str]) -> list[dict[str, Any]]:
    """Return the rule by which operators of exactly these names stay float."""
    if not exclude:
        return []
    regex = "^(?:" + "|".join(re.escape(name) for name in exclude) + ")$"
    return [{"regex": regex, "operation": "*", "algorithm_key": "no_quantize"}]


def quantize(
    source: Path,
    target: Path,
    samples: NDArray[np.float32],
    method: str = "minmax",
    exclude: Collection[str] = (),
) -> None:
    """Quantize a float32 file to int8.

    Args:
        source: float32 file.
        target: int8 file.
        samples: model inputs without batch `(n, ...)` float32, as the torch network takes them.
        method: minmax; there is no other.
        exclude: layers that stay float.

    Raises:
        DataError: the quantizer fails, or the method is another.
    """
    if method not in METHODS:
        raise DataError(f"TFLite has no ranges by {method}", "Set quantize.method to minmax or auto")
    write(source, target, calibrate(source, samples), exclude)


def _failed(error: Exception) -> DataError:
    return DataError(
        f"The TFLite file cannot be quantized: {describe(error)}", "Leave tflite out of export.formats"
    )
