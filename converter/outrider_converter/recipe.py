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
from outrider_converter import tasks
from outrider_converter.tasks import Reading

Reference = Annotated[str, Meta(pattern=r"\A[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z", description="module:callable")]
Count = Annotated[int, Meta(ge=1)]
Whole = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0.0)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Runtime = Literal["onnx", "tflite", "openvino"]

DEFAULT_STEPS = ("search", "distill", "prune", "export_onnx", "export_tflite", "export_openvino", "quantize")
BUILT_IN_STUDENTS = ("auto", "as-is")
"""Students that are the teacher itself: to be narrowed by pruning, or taken as it is."""


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table of a recipe: immutable, unknown keys refused (`kw_only` is not inherited)."""


class TeacherOptions(Options, frozen=True, kw_only=True):
    """The model to learn from, as a `callable` or a `file`.

    Args:
        callable: `module:callable` that returns a trained `torch.nn.Module`; the module is looked up
            beside the recipe first.
        file: `.pt2` (torch.export), `.onnx`, `.keras` or `.h5` (Keras 3), float `.tflite`; beside the recipe.
        output: what the model answers. Probabilities are turned into logits by their logarithm.
        layout: order of a file's image dimensions; found out from its input's shape if left out.
        cure: what to tell the user if the callable fails, for example how to make the weights.
    """

    callable: Reference | None = None
    file: Text | None = None
    output: Literal["logits", "probabilities"] = "logits"
    layout: Literal["NCHW", "NHWC"] | None = None
    cure: str = ""


class WindowOptions(Options, frozen=True, kw_only=True):
    """How rows of a CSV file become samples `(channels, length)`, layout NCT; without it a row is one, NC.

    Args:
        length: rows a window.
        stride: rows from one window's start to the next one's.
    """

    length: Count
    stride: Count


class DataOptions(Options, frozen=True, kw_only=True):
    """Data in three parts, from exactly one of `callable`, `folder`, `npz` and `csv`.

    Args:
        callable: returns `{"train": (frames, labels), "validation": ..., "test": ...}`; frames are uint8
            `(n, h, w)` or `(n, h, w, 3)` BGR, or float features `(n, ...)`; labels int64 `(n,)`, or None.
        folder: images, either in one folder a class, or in `train`, `validation` and `test` with such
            folders in each, or flat and unlabelled.
        npz: arrays `x` and `y`, or `x_train`, `y_train`, `x_validation`, ...; without `y` unlabelled.
        csv: a file with a header, or a glob of such files.
        labels: `module:NAME` of the class names, in order.
        classes: the class names, in order, where there is no module; folders have their own.
        columns: of a CSV, the channels; all numeric ones but `target` and `group` if left out.
        target: of a CSV, the column of the class.
        group: of a CSV, a column whose values are kept together: no group is in two parts.
        window: of a CSV.
        validation: share of the samples (of the groups, if there are any) to choose with.
        test: share to report on.
        validation_groups: or these groups.
        test_groups: or these groups.
        name: what reports call the data set.
        cure: what to tell the user if the callable fails, for example which package brings the data.
    """

    callable: Reference | None = None
    folder: Text | None = None
    npz: Text | None = None
    csv: Text | None = None
    labels: Reference | None = None
    classes: tuple[Text, ...] = ()
    columns: tuple[Text, ...] = ()
    target: Text | None = None
    group: Text | None = None
    window: WindowOptions | None = None
    validation: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.1
    test: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.1
    validation_groups: tuple[Text, ...] = ()
    test_groups: tuple[Text, ...] = ()
    name: Text = ""
    cure: str = ""


class InputOptions(Options, frozen=True, kw_only=True):
    """The model's input; batch is the first dimension and must be 1."""

    shape: Annotated[tuple[Dimension, ...], Meta(min_length=2, max_length=4)]
    layout: Literal["NCHW", "NC", "NCT"]
    preprocess: ImagePreprocess | ArrayPreprocess
    name: Identifier = "image"


class StudentOptions(Options, frozen=True, kw_only=True):
    """The small network: a family scaled by `width`, or `callable` returning a `torch.nn.Module`.

    `family` is `ds-cnn` or `res-cnn` (images), `ds-cnn-1d` (windows), `mlp` (tables), `auto` (the teacher,
    to be narrowed by the table `prune`) or `as-is` (the teacher, not trained at all).
    """

    family: Identifier = "ds-cnn"
    width: Annotated[int, Meta(ge=4, le=1024)] = 32
    callable: Reference | None = None


class BudgetOptions(Options, frozen=True, kw_only=True):
    """What may be given up, judged on the validation split.

    Args:
        drop: points of accuracy under the teacher; without labels, points of disagreement with it; of
            numbers points of R2, of detections points of Dice's share of objects.
        cosine: smallest median cosine between a variant's outputs and the teacher's; None asks for none.
    """

    drop: Annotated[float, Meta(ge=0.0, le=100.0)]
    cosine: Fraction | None = None


class HintOptions(Options, frozen=True, kw_only=True):
    """A hidden layer of the student that learns a hidden layer of the teacher, through a learned projection.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", arXiv 1412.6550.

    Args:
        teacher: dotted name of the teacher's module, as `named_modules()` gives it.
        student: the same of the student.
        weight: of the mean squared error between the two, each feature normalized.
    """

    teacher: Text
    student: Text
    weight: Positive = 1.0


class DistillOptions(Options, frozen=True, kw_only=True):
    """Training of the student on softened teacher answers.

    Args:
        temperature: divides both logits before the softmax.
        alpha: weight of the teacher; `1 - alpha` is the weight of the labels.
        epochs: passes over the training split.
        batch: samples a step.
        learning_rate: peak of the schedule.
        schedule: of the learning rate: one-cycle (a rise, then a cosine), cosine, step (a tenth after
            half and after three quarters) or constant.
        weight_decay: of AdamW, on matrices and filters only.
        patience: epochs without a better validation accuracy after which to stop; 0 never stops early.
        teacher: cached asks once for each view and keeps the answers; online asks at every step, on images
            augmented anew.
        views: augmented copies of the training split with the teacher's answers kept; epochs take turns.
        flip: mirror images left to right in half of the cases.
        shift: largest shift of an image in pixels.
        average: decay of the moving average of the weights.
        hints: hidden layers to learn as well.
        compile: use `torch.compile`; pays off for long trainings only.
    """

    temperature: Positive = 2.0
    alpha: Fraction = 0.5
    epochs: Whole = 10
    batch: Count = 256
    learning_rate: Positive = 5e-3
    schedule: Literal["one-cycle", "cosine", "step", "constant"] = "one-cycle"
    weight_decay: Annotated[float, Meta(ge=0.0)] = 0.02
    patience: Whole = 0
    teacher: Literal["cached", "online"] = "cached"
    views: Count = 2
    flip: bool = False
    shift: Whole = 0
    average: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.99
    hints: tuple[HintOptions, ...] = ()
    compile: bool = False


class SearchOptions(Options, frozen=True, kw_only=True):
    """Short trainings that choose settings of `distill` by validation accuracy; an empty tuple is fixed.

    Args:
        trials: how many settings to try.
        epochs: of each.
        temperature: values to choose from.
        alpha: values to choose from.
        learning_rate: values to choose from.
    """

    trials: Count = 8
    epochs: Count = 2
    temperature: tuple[Positive, ...] = ()
    alpha: tuple[Fraction, ...] = ()
    learning_rate: tuple[Positive, ...] = ()


class PruneOptions(Options, frozen=True, kw_only=True):
    """Structured pruning, in rounds, each followed by distillation.

    Args:
        macs: share of the student's multiply-accumulates to remove.
        rounds: how many times to prune and recover.
        epochs: of recovery, over all rounds.
        round_to: channel counts stay multiples of it; the targets' largest channel multiple if left out.
        learning_rate: peak during recovery.
        scope: rank channels over the whole network or layer by layer.
        importance: of a channel: magnitude of its weights, or taylor, the loss it is expected to cost.
    """

    macs: Annotated[float, Meta(gt=0.0, lt=1.0)]
    rounds: Count = 1
    epochs: Whole = 2
    round_to: Count | None = None
    learning_rate: Positive = 2e-3
    scope: Literal["global", "layer"] = "global"
    importance: Literal["magnitude", "taylor"] = "magnitude"


class QatOptions(Options, frozen=True, kw_only=True):
    """Quantization-aware training with the distillation loss, run if mixed precision does not suffice."""

    epochs: Count = 2
    learning_rate: Positive = 5e-4


class QuantizeOptions(Options, frozen=True, kw_only=True):
    """Quantization to int8; calibrated on `samples` training frames.

    Args:
        samples: training frames shown to find the ranges.
        method: how activations get their range; auto tries all and keeps the best on validation data.
        reduce_range: 7-bit ONNX weights, which cannot saturate the kernels of CPUs without VNNI; by the
            targets if left out, and on if there are none.
        max_reverts: layers that may go back to float, the worst first, until the budget holds.
        qat: training to run if that does not suffice.
        previous: folder of an earlier conversion, whose ranges are kept for layers that have not changed.
    """

    samples: Annotated[int, Meta(ge=1, le=100_000)] = 300
    method: Literal["minmax", "entropy", "percentile", "auto"] = "minmax"
    reduce_range: bool | None = None
    max_reverts: Whole = 4
    qat: QatOptions | None = None
    previous: Text | None = None


class ExportOptions(Options, frozen=True, kw_only=True):
    """File formats to write, the targets' if left out; `opset` is of ONNX."""

    formats: tuple[Runtime, ...] = ()
    opset: Annotated[int, Meta(ge=18, le=26)] = 21


class Recipe(Options, frozen=True, kw_only=True):
    """A whole conversion.

    `steps` are entry points of `outrider.steps`, run in order; `options` holds the tables of those
    that are not built in. `targets` are names of built-in targets or files beside the recipe; without
    any, ONNX and TFLite files are made that run everywhere. `output` is how the teacher's outputs are read,
    as a manifest has it: for every task but classification, whose classes stand in `data`.
    """

    name: Identifier
    version: Semver
    app: Identifier
    hardware: Annotated[tuple[Identifier, ...], Meta(min_length=1, max_length=64)]
    teacher: TeacherOptions
    data: DataOptions
    input: InputOptions
    budget: BudgetOptions
    task: Literal["classification", "regression", "detection", "control", "anomaly"] = "classification"
    output: Reading | None = None
    seed: Whole = 0
    student: StudentOptions = StudentOptions()
    targets: tuple[Text, ...] = ()
    search: SearchOptions | None = None
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
    faults = [*_one_of("teacher", recipe.teacher, "callable", "file")]
    faults += _one_of("data", recipe.data, "callable", "folder", "npz", "csv")
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
    faults += [*_student_faults(recipe), *_task_faults(recipe)]
    unknown = set(recipe.options) - set(recipe.steps)
    faults += [f"options.{name}: no such step in steps" for name in sorted(unknown)]
    return faults


def _one_of(table: str, options: Options, *keys: str) -> list[str]:
    """Return a fault unless exactly one of `keys` is given."""
    given = [key for key in keys if getattr(options, key) is not None]
    if len(given) == 1:
        return []
    got = " and ".join(given) or "none"
    return [f"{table}: give exactly one of {', '.join(keys)}; got {got}"]


def _student_faults(recipe: Recipe) -> list[str]:
    student, layout = recipe.student, recipe.input.layout
    wanted = {"ds-cnn": "NCHW", "res-cnn": "NCHW", "ds-cnn-1d": "NCT", "mlp": "NC"}.get(student.family)
    faults = []
    if student.callable is None and wanted not in (None, layout):
        faults.append(f"student.family: {student.family} takes layout {wanted}, input.layout is {layout}")
    if student.callable is None and student.family == "auto" and recipe.prune is None:
        faults.append("student.family: auto needs a table 'prune', which narrows the teacher")
    if recipe.distill.hints and recipe.teacher.file is not None:
        faults.append("distill.hints: a teacher in a file has no layers to learn from, name a callable")
    return faults


def _task_faults(recipe: Recipe) -> list[str]:
    data, student = recipe.data, recipe.student
    return tasks.faults(
        recipe.task,
        recipe.output,
        student=student.family if student.callable is None else None,
        image=isinstance(recipe.input.preprocess, ImagePreprocess),
        named=bool(data.classes or data.labels),
    )


def _channels(preprocess: ImagePreprocess | ArrayPreprocess) -> int:
    return 1 if isinstance(preprocess, ImagePreprocess) and preprocess.color == "gray" else 3
