"""The arguments of `outrider convert`, each with its help."""

from pathlib import Path
from typing import Annotated, Any

import typer

DIRECT = "Without training (MODEL.onnx, MODEL.tflite)"
"""The help panel of options that only a model file takes."""

OUTPUTS = "What a model file's outputs are"
"""The help panel of those that are about its outputs."""


def _direct(option: str, metavar: str, text: str) -> Any:  # noqa: ANN401 - a marker for Typer
    return typer.Option(option, metavar=metavar, help=text, rich_help_panel=DIRECT)


def _output(option: str, metavar: str, text: str) -> Any:  # noqa: ANN401 - a marker for Typer
    return typer.Option(option, metavar=metavar, help=text, rich_help_panel=OUTPUTS)


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
Target = Annotated[
    list[str] | None, _direct("--target", "NAME", "Device to convert for; may be given again.")
]
Calibration = Annotated[
    Path | None,
    _direct(
        "--calibration",
        "DIR",
        "Images as the device will see them, flat or in one folder a class; or FILE.npz.",
    ),
]
Preprocess = Annotated[
    Path | None,
    _direct(
        "--preprocess", "FILE", "TOML: how pixels become the input. Without it you are shown one to fill in."
    ),
]
Labels = Annotated[
    str | None,
    _direct("--labels", "FILE", "Names of classes or objects, one a line; or none, for raw outputs."),
]
Task = Annotated[
    str | None,
    _output("--task", "TASK", "classification, detection, regression, control or anomaly."),
]
Layout = Annotated[
    str | None,
    _output(
        "--layout",
        "LAYOUT",
        "Of a detector: yolo, yolo-xyxy, yolo-objectness, yolo-end or ssd; by the shapes if left out.",
    ),
]
Box = Annotated[str | None, _output("--box", "ORDER", "Of an SSD detector's boxes: yxyx or xyxy.")]
Background = Annotated[
    bool | None,
    typer.Option(
        "--background/--no-background",
        help="Whether label 0 of an SSD detector is the background.",
        rich_help_panel=OUTPUTS,
    ),
]
MinScore = Annotated[float | None, _output("--min-score", "P", "Of objects, the smallest; 0.25 if left out.")]
Iou = Annotated[
    float | None, _output("--iou", "SHARE", "Overlap from which two objects are one; 0.45 if left out.")
]
Names = Annotated[
    str | None,
    _output("--names", "NAMES", "Of numbers or actions: a list with commas, or a file with one a line."),
]
Space = Annotated[str | None, _output("--space", "SPACE", "Of actions: discrete, or continuous.")]
Threshold = Annotated[float | None, _output("--threshold", "SCORE", "Anomalies score as much or more.")]
Method = Annotated[
    str | None,
    _output("--method", "HOW", "Of an anomaly: score or reconstruction; by the shapes if left out."),
]
Drop = Annotated[
    float | None,
    _direct(
        "--drop",
        "POINTS",
        "Accuracy that may be lost: 2 if the images are labelled. If not, points of disagreement with "
        "the float model: 100, which leaves the decision to --cosine. 2 of regression, control and anomaly, "
        "5 of detection.",
    ),
]
Cosine = Annotated[
    float | None,
    _direct(
        "--cosine", "C", "Smallest median cosine between the outputs and the float model's; 0.99 if left out."
    ),
]
Samples = Annotated[int | None, _direct("--samples", "N", "Images to calibrate on; 300 if left out.")]
Name = Annotated[str | None, _direct("--name", "NAME", "Of the bundle; the file's if left out.")]
Version = Annotated[str | None, _direct("--version", "V", "Of the bundle; 0.1.0 if left out.")]
App = Annotated[str | None, _direct("--app", "APP", "What the bundle is for; its name if left out.")]
Hardware = Annotated[
    list[str] | None, _direct("--hardware", "H", "What it is for; the targets' if left out.")
]
