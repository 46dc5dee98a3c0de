"""The arguments of `outrider convert`, each with its help."""

from pathlib import Path
from typing import Annotated, Any

import typer

DIRECT = "Without training (MODEL.onnx, MODEL.tflite)"
"""The help panel of options that only a model file takes."""

OUTPUTS = "What a model file's outputs are"
"""The help panel of those that are about its outputs."""


def _direct(metavar: str, text: str, *names: str) -> Any:  # noqa: ANN401 - a marker for Typer
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=DIRECT)


def _output(metavar: str, text: str) -> Any:  # noqa: ANN401 - a marker for Typer
    return typer.Option(metavar=metavar, help=text, rich_help_panel=OUTPUTS)


Source = Annotated[
    Path | None, typer.Argument(metavar="SOURCE", help="RECIPE.toml, MODEL.onnx or MODEL.tflite.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Folder of bundle, report and predictions; build/NAME for a model file."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of a table.")]
ListTargets = Annotated[bool, typer.Option("--list-targets", help="Print what can be converted for.")]
Reproduce = Annotated[
    Path | None,
    typer.Option(
        "--reproduce",
        metavar="BUNDLE",
        help="Make a bundle again and compare; SOURCE is the folder of its recipe, here if left out.",
    ),
]
Target = Annotated[list[str] | None, _direct("NAME", "Device to convert for; may be given again.")]
Calibration = Annotated[
    Path | None,
    _direct("DIR", "Images as the device will see them, flat or in one folder a class; or FILE.npz."),
]
Preprocess = Annotated[
    Path | None,
    _direct("FILE", "TOML: how pixels become the input. Without it you are shown one to fill in."),
]
Labels = Annotated[
    str | None, _direct("FILE", "Names of classes or objects, one a line; or none, for raw outputs.")
]
Task = Annotated[
    str | None,
    _output("TASK", "classification, detection, regression, control or anomaly."),
]
Layout = Annotated[
    str | None,
    _output(
        "LAYOUT",
        "Of a detector: yolo, yolo-xyxy, yolo-objectness, yolo-end or ssd; by the shapes if left out.",
    ),
]
Box = Annotated[str | None, _output("ORDER", "Of an SSD detector's boxes: yxyx or xyxy.")]
Background = Annotated[
    bool | None,
    typer.Option(
        "--background/--no-background",
        help="Whether label 0 of an SSD detector is the background.",
        rich_help_panel=OUTPUTS,
    ),
]
MinScore = Annotated[float | None, _output("P", "Of objects, the smallest; 0.25 if left out.")]
Iou = Annotated[float | None, _output("SHARE", "Overlap from which two objects are one; 0.45 if left out.")]
Names = Annotated[
    str | None, _output("NAMES", "Of numbers or actions: a list with commas, or a file with one a line.")
]
Space = Annotated[str | None, _output("SPACE", "Of actions: discrete, or continuous.")]
Threshold = Annotated[float | None, _output("SCORE", "Anomalies score as much or more.")]
Method = Annotated[
    str | None, _output("HOW", "Of an anomaly: score or reconstruction; by the shapes if left out.")
]
Drop = Annotated[
    float | None,
    _direct(
        "POINTS",
        "Accuracy that may be lost: 2 if the images are labelled. If not, points of disagreement with "
        "the float model: 100, which leaves the decision to --cosine. 2 of regression, control and anomaly, "
        "5 of detection.",
    ),
]
Cosine = Annotated[
    float | None,
    _direct("C", "Smallest median cosine between the outputs and the float model's; 0.99 if left out."),
]
Samples = Annotated[int | None, _direct("N", "Images to calibrate on; 300 if left out.")]
Name = Annotated[str | None, _direct("NAME", "Of the bundle; the file's if left out.")]
Version = Annotated[str | None, _direct("V", "Of the bundle; 0.1.0 if left out.")]
App = Annotated[str | None, _direct("APP", "What the bundle is for; its name if left out.", "--app")]
Hardware = Annotated[list[str] | None, _direct("H", "What it is for; the targets' if left out.")]
