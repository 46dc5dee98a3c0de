"""Write the float network as OpenVINO's IR."""

from outrider_bundle.errors import DataError
from outrider_converter.artifact import Artifact, Context
from outrider_converter.exports import Export
from outrider_converter.recipe import ExportOptions
from outrider_converter.targets import formats

ID = "openvino-float32"


def export_openvino(artifact: Artifact, params: ExportOptions, context: Context) -> Artifact:  # noqa: ARG001 - formats follow from the whole recipe
    """Return the artifact with an OpenVINO file, or with the reason why there is none."""
    if "openvino" not in formats(context.recipe, context.targets):
        return artifact
    from outrider_converter.formats import openvino  # noqa: PLC0415 - its library takes half a second to import

    task = context.reporter.start("export to OpenVINO", 1)
    path = context.folder / f"{ID}.xml"
    graphs = [e.path for e in artifact.exports if e.runtime == "onnx" and e.precision == "float32"]
    try:
        if graphs:  # torch's exporter takes seconds
            openvino.convert(graphs[0], context.recipe, path)
        else:
            openvino.export(artifact.model, context.recipe, path)
    except DataError as error:
        return artifact.without(ID, str(error))
    task.advance()
    return artifact.with_export(Export(id=ID, runtime="openvino", precision="float32", path=path))
