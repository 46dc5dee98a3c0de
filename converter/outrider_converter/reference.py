"""The teacher as the yardstick: its answers, its size, and its own files for the latency comparison."""

from pathlib import Path

import numpy as np
from msgspec import Struct
from torch import nn

from outrider_bundle.errors import DataError, OutriderError
from outrider_converter import loading, measure
from outrider_converter.accuracy import Indices
from outrider_converter.artifact import Candidate, Export
from outrider_converter.dataset import Dataset
from outrider_converter.formats import onnx, tflite
from outrider_converter.progress import Reporter
from outrider_converter.recipe import Recipe
from outrider_converter.strip.candidate import strip
from outrider_converter.students import check_model
from outrider_converter.tensors import Normalizer, logical_input


class Reference(Struct, frozen=True, kw_only=True):
    """What students are measured against.

    Args:
        cost: parameters and multiply-accumulates.
        digest: of its weights.
        validation: its most likely class of each validation frame.
        test: the same of each test frame.
        files: float32, stripped, by runtime; a runtime is missing if the teacher has no export for it.
    """

    cost: measure.Cost
    digest: str
    validation: Indices
    test: Indices
    files: dict[str, Candidate]


def load_teacher(recipe: Recipe, classes: int, folder: Path) -> nn.Module:
    """Return the teacher in evaluation mode, checked and without gradients.

    Raises:
        DataError: it cannot be loaded or does not fit input and classes.
    """
    options = recipe.teacher
    made = loading.call(options.callable, folder, options.cure)
    model = check_model(made, f"The teacher '{options.callable}'", recipe.input.shape, classes)
    return model.eval().requires_grad_(requires_grad=False)


def measure_teacher(
    teacher: nn.Module, recipe: Recipe, data: Dataset, folder: Path, reporter: Reporter
) -> Reference:
    """Ask the teacher about validation and test frames and export it as it is.

    Raises:
        DataError: it answers NaN.
    """
    normalize = Normalizer(logical_input(recipe))
    task = reporter.start("measure the teacher", len(data.validation) + len(data.test))
    answers = []
    for split in (data.validation, data.test):
        scores = measure.logits(teacher, split.prepared, normalize, task)
        if not bool(scores.isfinite().all()):
            raise DataError(
                "The teacher answers NaN or infinity", "Check its weights and the input's preprocessing"
            )
        answers.append(scores.argmax(1).numpy().astype(np.int64))
    return Reference(
        cost=measure.cost(teacher, recipe.input.shape),
        digest=measure.digest(teacher),
        validation=answers[0],
        test=answers[1],
        files=_export(teacher, recipe, folder, reporter),
    )


def _export(teacher: nn.Module, recipe: Recipe, folder: Path, reporter: Reporter) -> dict[str, Candidate]:
    """Export the teacher for every runtime; one that does not take it costs the comparison, no more."""
    task = reporter.start("export the teacher", len(recipe.export.formats))
    writers = {"onnx": onnx.export, "tflite": tflite.export}
    files: dict[str, Candidate] = {}
    for kind in recipe.export.formats:
        path = folder / f"teacher.{kind}"
        try:
            writers[kind](teacher, recipe, path)
            export = Export(id=f"teacher-{kind}", runtime=kind, precision="float32", path=path)
            files[kind] = strip(export, recipe, folder)
        except OutriderError as error:
            task.advance(0, f"no {kind}: {error.what}")
        task.advance()
    return files
