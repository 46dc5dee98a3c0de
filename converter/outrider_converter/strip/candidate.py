"""From a file as the tools write it to the files of a variant."""

from pathlib import Path

from msgspec.structs import replace

from outrider_bundle.errors import OutriderError
from outrider_bundle.manifest import Layout, Tensor
from outrider_converter.exports import OUTPUT, Candidate, Export
from outrider_converter.quiet import quiet
from outrider_converter.recipe import Recipe
from outrider_converter.strip import onnx, openvino, tflite
from outrider_runtime.loading import runtime

ROLES = {"onnx": ("graph", "weights"), "openvino": ("model", "weights"), "tflite": ("model",)}
"""Files of a variant, by runtime."""


def strip(export: Export, recipe: Recipe, folder: Path) -> Candidate:
    """Strip an export into `folder` and ask its runtime for its tensors.

    Raises:
        EngineError: the runtime does not load the stripped file.
        OutriderError: no such format.
    """
    if export.runtime not in ROLES:
        raise OutriderError(f"Files of the runtime '{export.runtime}' cannot be stripped")
    files = {role: folder / f"{export.id}-{role}" for role in ROLES[export.runtime]}
    if export.runtime == "onnx":
        onnx.strip(export.path, files["graph"], files["weights"])
    elif export.runtime == "openvino":
        openvino.strip(export.path, files["model"], files["weights"])
    else:
        tflite.strip(export.path, files["model"], recipe.input.name, OUTPUT)
    inputs, outputs = _tensors(export.runtime, files)
    return Candidate(
        id=export.id,
        runtime=export.runtime,
        precision=export.precision,
        files=files,
        inputs=tuple(replace(tensor, layout=_layout(export.runtime, tensor, recipe)) for tensor in inputs),
        outputs=outputs,
        isa=export.isa,
        float_layers=export.float_layers,
    )


def _layout(name: str, tensor: Tensor, recipe: Recipe) -> Layout:
    """Return the order of a file's dimensions: the recipe's, or that with the channels last.

    TFLite's images have them last, and so may a teacher's own file of any format.
    """
    shape, layout = recipe.input.shape, recipe.input.layout
    last: dict[str, Layout] = {"NCHW": "NHWC", "NCT": "NTC"}
    if layout not in last or tensor.shape != (shape[0], *shape[2:], shape[1]):
        return layout
    either = tensor.shape == shape
    return layout if either and (name, layout) != ("tflite", "NCHW") else last[layout]


def _tensors(name: str, files: dict[str, Path]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    with quiet():  # LiteRT greets once per process
        session = runtime(name).load(files, {})
    try:
        return session.inputs, session.outputs
    finally:
        session.close()
