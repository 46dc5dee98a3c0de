"""The recipe: what to convert, from what, under which budget. Read once, then frozen.

Every number a step uses stands here with its unit or its meaning; nothing is read from the environment.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from outrider_bundle import settings
from outrider_bundle.errors import UsageError
from outrider_bundle.manifest import (
    ArrayPreprocess,
    Dimension,
    Identifier,
    ImagePreprocess,
    Semver,
    Text,
)

Reference = Annotated[str, Meta(pattern=r"\A[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z", description="module:callable")]
Count = Annotated[int, Meta(ge=1)]
Whole = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0.0)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Format = Literal["onnx", "tflite"]

DEFAULT_STEPS = ("distill", "prune", "export_onnx", "export_tflite", "quantize")


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table of a recipe: immutable, unknown keys refused (`kw_only` is not inherited)."""


class TeacherOptions(Options, frozen=True, kw_only=True):
    """The model to learn from: `callable` returns a trained `torch.nn.Module` that gives logits.

    Args:
        callable: `module:callable`; the module is looked up beside the recipe first.
        cure: what to tell the user if the callable fails, for example how to make the weights.
    """

    callable: Reference
    cure: str = ""


class DataOptions(Options, frozen=True, kw_only=True):
    """Labelled data in three parts.

    Args:
        callable: returns `{"train": (frames, labels), "validation": ..., "test": ...}`; frames are uint8
            `(n, h, w)` or `(n, h, w, 3)` BGR, or float features `(n, ...)`; labels int64 `(n,)`.
        labels: `module:NAME` of the class names, in order.
        name: what reports call the data set.
        cure: what to tell the user if the callable fails, for example which package brings the data.
    """

    callable: Reference
    labels: Reference
    name: Text = ""
    cure: str = ""


class InputOptions(Options, frozen=True, kw_only=True):
    """The model's input; batch is the first dimension and must be 1."""

    shape: Annotated[tuple[Dimension, ...], Meta(min_length=2, max_length=4)]
    layout: Literal["NCHW", "NC", "NCT"]
    preprocess: ImagePreprocess | ArrayPreprocess
    name: Identifier = "image"


class StudentOptions(Options, frozen=True, kw_only=True):
    """The small network: a built-in family scaled by `width`, or `callable` returning a `torch.nn.Module`."""

    family: Identifier = "ds-cnn"
    width: Annotated[int, Meta(ge=4, le=1024)] = 32
    callable: Reference | None = None


class BudgetOptions(Options, frozen=True, kw_only=True):
    """How much accuracy may be given up, in points under the teacher on the validation split."""

    drop: Annotated[float, Meta(ge=0.0, le=100.0)]


class DistillOptions(Options, frozen=True, kw_only=True):
    """Training of the student on softened teacher answers.

    Args:
        temperature: divides both logits before the softmax.
        alpha: weight of the teacher; `1 - alpha` is the weight of the labels.
        epochs: passes over the training split.
        batch: samples a step.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of AdamW, on matrices and filters only.
        views: augmented copies of the training split with the teacher's answers kept; epochs take turns.
        flip: mirror images left to right in half of the cases.
        shift: largest shift of an image in pixels.
        average: decay of the moving average of the weights.
        compile: use `torch.compile`; pays off for long trainings only.
    """

    temperature: Positive = 2.0
    alpha: Fraction = 0.5
    epochs: Whole = 10
    batch: Count = 256
    learning_rate: Positive = 5e-3
    weight_decay: Annotated[float, Meta(ge=0.0)] = 0.02
    views: Count = 2
    flip: bool = False
    shift: Whole = 0
    average: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.99
    compile: bool = False


class PruneOptions(Options, frozen=True, kw_only=True):
    """Structured pruning, in rounds, each followed by distillation.

    Args:
        macs: share of the student's multiply-accumulates to remove.
        rounds: how many times to prune and recover.
        epochs: of recovery, over all rounds.
        round_to: channel counts stay multiples of it.
        learning_rate: peak during recovery.
        scope: rank channels over the whole network or layer by layer.
    """

    macs: Annotated[float, Meta(gt=0.0, lt=1.0)]
    rounds: Count = 1
    epochs: Whole = 2
    round_to: Count = 8
    learning_rate: Positive = 2e-3
    scope: Literal["global", "layer"] = "global"


class QuantizeOptions(Options, frozen=True, kw_only=True):
    """Post-training quantization to int8; calibrated on `samples` training frames.

    Args:
        samples: training frames shown to find the ranges.
        method: how ONNX activations get their range.
        reduce_range: 7-bit ONNX weights, which cannot saturate the kernels of CPUs without VNNI.
    """

    samples: Annotated[int, Meta(ge=1, le=100_000)] = 300
    method: Literal["minmax", "entropy", "percentile"] = "minmax"
    reduce_range: bool = True


class ExportOptions(Options, frozen=True, kw_only=True):
    """File formats to write; `opset` is of ONNX."""

    formats: Annotated[tuple[Format, ...], Meta(min_length=1)] = ("onnx", "tflite")
    opset: Annotated[int, Meta(ge=18, le=26)] = 21


class Recipe(Options, frozen=True, kw_only=True):
    """A whole conversion.

    `steps` are entry points of `outrider.steps`, run in order; `options` holds the tables of those
    that are not built in.
    """

    name: Identifier
    version: Semver
    app: Identifier
    hardware: Annotated[tuple[Identifier, ...], Meta(min_length=1, max_length=64)]
    teacher: TeacherOptions
    data: DataOptions
    input: InputOptions
    budget: BudgetOptions
    task: Literal["classification"] = "classification"
    seed: Whole = 0
    student: StudentOptions = StudentOptions()
    distill: DistillOptions = DistillOptions()
    prune: PruneOptions | None = None
    quantize: QuantizeOptions = QuantizeOptions()
    export: ExportOptions = ExportOptions()
    steps: tuple[Identifier, ...] = DEFAULT_STEPS
    options: dict[Identifier, dict[str, Any]] = {}


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        UsageError: it is missing, not TOML or wrong; the message lists every fault.
    """
    recipe = settings.read(path, Recipe, UsageError)
    faults = contradictions(recipe)
    if faults:
        raise UsageError(f"{path} contradicts itself: {'; '.join(faults)}", "Correct the keys named")
    return recipe


def contradictions(recipe: Recipe) -> list[str]:
    """Return what each key alone allows but together makes no sense."""
    entry, rank = recipe.input, {"NC": 2, "NCT": 3, "NCHW": 4}[recipe.input.layout]
    image = isinstance(entry.preprocess, ImagePreprocess)
    faults = []
    if len(entry.shape) != rank:
        faults.append(f"input.shape: layout {entry.layout} has {rank} dimensions, got {len(entry.shape)}")
    if entry.shape[0] != 1:
        faults.append(f"input.shape: the batch must be 1, got {entry.shape[0]}")
    if image != (entry.layout == "NCHW"):
        faults.append("input.layout: images are NCHW, arrays NC or NCT")
    if image and len(entry.shape) == rank and entry.shape[1] != _channels(entry.preprocess):
        faults.append(f"input.shape: {entry.shape[1]} channels do not fit input.preprocess.color")
    if not image and (recipe.distill.flip or recipe.distill.shift):
        faults.append("distill.flip and distill.shift are for images")
    if not image and recipe.student.callable is None:
        faults.append("student.callable: built-in families are for images, name a callable")
    unknown = set(recipe.options) - set(recipe.steps)
    faults += [f"options.{name}: no such step in steps" for name in sorted(unknown)]
    return faults


def _channels(preprocess: ImagePreprocess | ArrayPreprocess) -> int:
    return 1 if isinstance(preprocess, ImagePreprocess) and preprocess.color == "gray" else 3
