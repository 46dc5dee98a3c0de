"""Write the float network as ONNX."""

from outrider_bundle.errors import DataError
from outrider_converter.artifact import Artifact, Context
from outrider_converter.exports import Export
from outrider_converter.formats import onnx
from outrider_converter.recipe import ExportOptions
from outrider_converter.targets import formats

ID = "onnx-float32"


def export_onnx(artifact: Artifact, params: ExportOptions, context: Context) -> Artifact:  # noqa: ARG001 - formats follow from the whole recipe
    """Return the artifact with an ONNX file, or with the reason why there is none."""
    if "onnx" not in formats(context.recipe, context.targets):
        return artifact
    task = context.reporter.start("export to ONNX", 1)
    path = context.folder / f"{ID}.onnx"
    try:
        onnx.export(artifact.model, context.recipe, path)
    except DataError as error:
        return artifact.without(ID, str(error))
    task.advance()
    return artifact.with_export(Export(id=ID, runtime="onnx", precision="float32", path=path))
