"""Make an int8 file of every float file, calibrated on training frames."""

import numpy as np
import torch
from numpy.typing import NDArray

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.artifact import Artifact, Context, Export
from outrider_converter.formats import onnx, tflite
from outrider_converter.recipe import QuantizeOptions


def quantize(artifact: Artifact, params: QuantizeOptions, context: Context) -> Artifact:
    """Return the artifact with an int8 file beside each float file, or the reason why there is none."""
    floats = [e for e in artifact.exports if e.precision == "float32"]
    task = context.reporter.start("quantize", len(floats))
    samples = model_inputs(context, params.samples)
    for export in floats:
        name = f"{export.runtime}-int8"
        path = context.folder / f"{name}{export.path.suffix}"
        try:
            if export.runtime == "onnx":
                onnx.quantize(export.path, path, samples, context.recipe.input.name, params)
            else:
                tflite.quantize(export.path, path, samples)
        except DataError as error:
            artifact = artifact.without(name, str(error))
            continue
        artifact = artifact.with_export(Export(id=name, runtime=export.runtime, precision="int8", path=path))
        task.advance()
    return artifact


def calibration_indices(context: Context, count: int) -> NDArray[np.int64]:
    """Return the sample numbers of the calibration set: drawn once from the training split, in order."""
    order = torch.randperm(
        len(context.data.train), generator=seeding.generator(context.recipe.seed, "calibration")
    )
    return np.sort(order[:count].numpy())


def model_inputs(context: Context, count: int) -> NDArray[np.float32]:
    """Return the calibration set as the network takes it, without batch: `(n, ...)` float32."""
    values = context.data.train.prepared[torch.from_numpy(calibration_indices(context, count))]
    return np.ascontiguousarray(context.views.normalize(values).numpy())
