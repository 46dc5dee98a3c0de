"""The teacher as the yardstick: its answers, its size, and its own files for the latency comparison."""

import importlib
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import nn

from outrider_bundle.errors import DataError, OutriderError
from outrider_converter import loading, measure, tasks
from outrider_converter.accuracy import Indices
from outrider_converter.dataset import Dataset
from outrider_converter.exports import Candidate, Export
from outrider_converter.progress import Reporter
from outrider_converter.recipe import Recipe, Runtime
from outrider_converter.scale import Scale, scale_of
from outrider_converter.strip.candidate import strip
from outrider_converter.students import check_model
from outrider_converter.targets import Target, formats
from outrider_converter.teachers.answers import as_logits
from outrider_converter.teachers.files import load_file
from outrider_converter.tensors import Normalizer, logical_input

SUFFIXES: dict[Runtime, str] = {"onnx": ".onnx", "openvino": ".xml", "tflite": ".tflite"}
"""What files of the formats end in."""


class Reference(Struct, frozen=True, kw_only=True):
    """What students are measured against.

    Args:
        cost: parameters and multiply-accumulates.
        digest: of its weights.
        validation: its most likely class of each validation frame.
        test: the same of each test frame.
        outputs: all it answered, `(n, ...)` float32 each, by `validation` and `test`.
        files: float32, stripped, by runtime; a runtime is missing if the teacher has no export for it.
        scale: of its numbers, if students answer in another.
    """

    cost: measure.Cost
    digest: str
    validation: Indices
    test: Indices
    outputs: dict[str, tuple[NDArray[np.float32], ...]] = {}
    files: dict[str, Candidate]
    scale: Scale | None = None


def load_teacher(recipe: Recipe, classes: int | None, folder: Path) -> nn.Module:
    """Return the teacher in evaluation mode, checked and without gradients.

    Args:
        recipe: names a callable or a file.
        classes: how many, or how many numbers; None for outputs of any shape.
        folder: the recipe's.

    Returns:
        A network that takes `(n, ...)` float32 in the recipe's layout and gives logits `(n, classes)`, or
        without classes whatever it gives, a tensor or a tuple of tensors. A black box (ONNX, TFLite) has
        `files`, its own float files by runtime, and `cost()`.

    Raises:
        DataError: it cannot be loaded, does not fit input and classes, or answers not what the recipe says.
    """
    options = recipe.teacher
    if options.callable is not None:
        name = f"The teacher '{options.callable}'"
        made = loading.call(options.callable, folder, options.cure)
    else:
        name = f"The teacher {options.file}"
        made = load_file(recipe, folder)
    model = check_model(made, name, recipe.input.shape, classes)
    if classes is not None and not tasks.metric_of(recipe.output):
        model = as_logits(model, options.output, name, recipe.input.shape)
    return model.eval().requires_grad_(requires_grad=False)


def measure_teacher(
    teacher: nn.Module,
    recipe: Recipe,
    data: Dataset,
    folder: Path,
    reporter: Reporter,
    targets: tuple[Target, ...] = (),
) -> Reference:
    """Ask the teacher about validation and test frames and export it as it is.

    Args:
        teacher: in evaluation mode.
        recipe: of the conversion.
        data: frames to ask about; without class names the answers are raw, and every class is 0.
        folder: where its files go.
        reporter: shows progress.
        targets: tell the formats, unless the recipe does.

    Raises:
        DataError: it answers NaN.
    """
    normalize = Normalizer(logical_input(recipe))
    task = reporter.start("measure the teacher", len(data.validation) + len(data.test))
    answers, outputs = [], {}
    for name, split in (("validation", data.validation), ("test", data.test)):
        parts = measure.outputs(teacher, split.prepared, normalize, task)
        if not all(bool(part.isfinite().all()) for part in parts):
            raise DataError(
                "The teacher answers NaN or infinity", "Check its weights and the input's preprocessing"
            )
        classes = parts[0].argmax(1).numpy() if data.labels else np.zeros(len(split))
        answers.append(classes.astype(np.int64))
        outputs[name] = tuple(part.numpy() for part in parts)
    return Reference(
        cost=measure.cost(teacher, recipe.input.shape),
        digest=measure.digest(teacher),
        validation=answers[0],
        test=answers[1],
        outputs=outputs,
        scale=scale_of(teacher, recipe, data.train.prepared, normalize),
        files=_export(teacher, recipe, folder, reporter, formats(recipe, targets)),
    )


def answered(data: Dataset, reference: Reference) -> Dataset:
    """Return `data` with the teacher's answers as labels of validation and test, where there are none."""
    if data.metric != "agreement":
        return data
    validation = replace(data.validation, labels=reference.validation)
    return replace(data, validation=validation, test=replace(data.test, labels=reference.test))


def _export(
    teacher: nn.Module, recipe: Recipe, folder: Path, reporter: Reporter, kinds: tuple[Runtime, ...]
) -> dict[str, Candidate]:
    """Export the teacher for every runtime; one that does not take it costs the comparison, no more."""
    task = reporter.start("export the teacher", len(kinds))
    files: dict[str, Candidate] = {}
    for kind in kinds:
        path = folder / f"teacher{SUFFIXES[kind]}"
        try:
            importlib.import_module(f"outrider_converter.formats.{kind}").export(teacher, recipe, path)
            export = Export(id=f"teacher-{kind}", runtime=kind, precision="float32", path=path)
            files[kind] = strip(export, recipe, folder)
        except OutriderError as error:
            task.advance(0, f"no {kind}: {error.what}")
        task.advance()
    return files
