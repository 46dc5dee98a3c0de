"""What a task's outputs are to the converter: classes, numbers, or objects.

    classes   classification, discrete control        judged by accuracy, or agreement with the teacher
    numbers   regression, continuous control, anomaly judged by R2 to the teacher's numbers
    objects   detection                               judged by Dice's share of objects found by both

Without class names and without a table `output` they are raw and judged by cosine.
"""

from typing import Literal

from outrider_bundle.manifest import (
    AnomalyDecoder,
    ControlDecoder,
    DetectionDecoder,
    RegressionDecoder,
    SsdDecoder,
)

Reading = DetectionDecoder | SsdDecoder | RegressionDecoder | ControlDecoder | AnomalyDecoder
"""How outputs are read, as a manifest has it; of classes alone it follows from their names."""

Metric = Literal["accuracy", "agreement", "cosine", "r2", "dice"]
"""What an accuracy is: the share of answers that are right; without labels, that are the teacher's; of raw
outputs their median cosine to the teacher's; of numbers R2; of objects the share that both find."""

KINDS: dict[str, tuple[type[Reading], ...]] = {
    "regression": (RegressionDecoder,),
    "detection": (DetectionDecoder, SsdDecoder),
    "control": (ControlDecoder,),
    "anomaly": (AnomalyDecoder,),
}
"""Tables `output` by task."""


def metric_of(reading: Reading | None) -> Literal["r2", "dice"] | None:
    """Return what outputs that are read so are judged by; None for classes and for raw ones."""
    if isinstance(reading, DetectionDecoder | SsdDecoder):
        return "dice"
    if isinstance(reading, ControlDecoder) and reading.space == "discrete":
        return None
    return None if reading is None else "r2"


def action_names(reading: object) -> tuple[str, ...]:
    """Return the names of discrete actions, which are classes; none for all else."""
    return reading.names if isinstance(reading, ControlDecoder) and reading.space == "discrete" else ()


def width(reading: Reading | None, labels: tuple[str, ...]) -> int | None:
    """Return how many numbers a network must answer; None if its own shape is what counts."""
    names = reading.names if isinstance(reading, RegressionDecoder | ControlDecoder) else labels
    return len(names) or None


def faults(task: str, reading: Reading | None, *, student: str | None, image: bool, named: bool) -> list[str]:
    """Return what contradicts itself between task, output, input and student.

    Args:
        task: of the recipe.
        reading: its table `output`.
        student: its family; None if it is the user's own network.
        image: whether the input is one.
        named: whether the table of the data names classes.
    """
    known, found = KINDS.get(task, ()), []
    if reading is None and known:
        found.append(f"output: the task {task} needs this table, which says how the outputs are read")
    if reading is not None and not isinstance(reading, known):
        found.append(f"output.kind: it is not of the task {task}")
    if reading is None or found:
        return found
    if named:
        found.append(f"data.classes and data.labels: names of the task {task} stand in 'output'")
    found += [f"output.{name}: give one number, or one a name" for name in _uneven(reading)]
    if metric_of(reading) == "dice" and not image:
        found.append("input.preprocess: objects are found in images")
    if isinstance(reading, DetectionDecoder | SsdDecoder | AnomalyDecoder) and student != "as-is":
        found.append(f"student.family: the task {task} takes the teacher as it is: as-is")
    elif metric_of(reading) and student == "auto":
        found.append("student.family: auto is for classes; numbers are learned by a family or a callable")
    return found


def _uneven(reading: Reading) -> list[str]:
    """Return the keys with neither one number nor one for each name."""
    if not isinstance(reading, RegressionDecoder | ControlDecoder):
        return []
    keys = ("mean", "std") if isinstance(reading, RegressionDecoder) else ("low", "high")
    return [key for key in keys if len(getattr(reading, key)) not in (1, len(reading.names))]
