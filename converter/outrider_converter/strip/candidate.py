"""From a file as the tools write it to the files of a variant."""

from pathlib import Path

from msgspec.structs import replace

from outrider_bundle.errors import OutriderError
from outrider_bundle.manifest import Layout, Tensor
from outrider_converter.artifact import Candidate, Export
from outrider_converter.formats.onnx import OUTPUT
from outrider_converter.quiet import quiet
from outrider_converter.recipe import Recipe
from outrider_converter.strip import onnx, tflite
from outrider_runtime.loading import runtime


def strip(export: Export, recipe: Recipe, folder: Path) -> Candidate:
    """Strip an export into `folder` and ask its runtime for its tensors.

    Raises:
        EngineError: the runtime does not load the stripped file.
        OutriderError: no such format.
    """
    if export.runtime == "onnx":
        files = {"graph": folder / f"{export.id}-graph", "weights": folder / f"{export.id}-weights"}
        onnx.strip(export.path, files["graph"], files["weights"])
    elif export.runtime == "tflite":
        files = {"model": folder / f"{export.id}-model"}
        tflite.strip(export.path, files["model"], (recipe.input.name,), (OUTPUT,))
    else:
        raise OutriderError(f"Files of the runtime '{export.runtime}' cannot be stripped")
    inputs, outputs = _tensors(export.runtime, files)
    layout: Layout = recipe.input.layout
    if export.runtime == "tflite" and layout == "NCHW":
        layout = "NHWC"
    return Candidate(
        id=export.id,
        runtime=export.runtime,
        precision=export.precision,
        files=files,
        inputs=tuple(replace(t, layout=layout) for t in inputs),
        outputs=outputs,
    )


def _tensors(name: str, files: dict[str, Path]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    with quiet():  # LiteRT greets once per process
        session = runtime(name).load(files, {})
    try:
        return session.inputs, session.outputs
    finally:
        session.close()
