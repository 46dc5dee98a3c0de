"""Write the float network as TFLite."""

from outrider_bundle.errors import DataError
from outrider_converter.artifact import Artifact, Context
from outrider_converter.exports import Export
from outrider_converter.formats import tflite
from outrider_converter.recipe import ExportOptions
from outrider_converter.targets import formats

ID = "tflite-float32"


def export_tflite(artifact: Artifact, params: ExportOptions, context: Context) -> Artifact:  # noqa: ARG001 - formats follow from the whole recipe
    """Return the artifact with a TFLite file, or with the reason why there is none."""
    if "tflite" not in formats(context.recipe, context.targets):
        return artifact
    task = context.reporter.start("export to TFLite", 1)
    path = context.folder / f"{ID}.tflite"
    try:
        tflite.export(artifact.model, context.recipe, path)
    except DataError as error:
        return artifact.without(ID, str(error))
    task.advance()
    return artifact.with_export(Export(id=ID, runtime="tflite", precision="float32", path=path))
