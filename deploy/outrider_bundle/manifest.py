"""The manifest: what a bundle holds, whom it is for and what it must compute.

One definition serves the header of a bundle, the converter that writes it, the agent that reads
it and the JSON Schema under `docs/schema/`. Reading and its limits are in `container.py`.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

SCHEMA = 1

# `\Z` and not `$`: Python's `$` also matches before a final newline. `schema.py` exports `$`.
Identifier = Annotated[
    str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z", description="1 to 64 letters, digits, '_' and '-'")
]
Semver = Annotated[
    str,
    Meta(
        pattern=r"\A[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(-[0-9A-Za-z.-]{1,64})?\Z",
        description="a version like 1.0.2 or 1.0.2-rc.1",
    ),
]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z", description="64 hexadecimal digits")]
Text = Annotated[str, Meta(max_length=4096)]
Dimension = Annotated[int, Meta(ge=1, le=1 << 20)]
Shape = Annotated[tuple[Dimension, ...], Meta(max_length=8)]
Size = Annotated[int, Meta(ge=0, le=1 << 40)]
Int64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
Dtype = Literal["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
Layout = Literal["NCHW", "NHWC", "NC", "NTC", "NCT"]
Precision = Literal["float32", "float16", "int8", "mixed"]
Scalar = bool | int | float | str
Task = Literal["classification", "regression", "detection", "control", "anomaly", "raw"]


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every manifest struct: unknown fields are refused. `kw_only` is not inherited."""


class Quantization(Record, frozen=True, kw_only=True):
    """Affine quantization of a whole tensor: real = scale * (stored - zero_point)."""

    scale: Positive
    zero_point: Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)] = 0


class Tensor(Record, frozen=True, kw_only=True):
    """A tensor as one variant's file has it; batch is the first dimension of `shape`."""

    name: Text
    shape: Shape
    dtype: Dtype
    layout: Layout = "NC"
    quantization: Quantization | None = None


class ImagePreprocess(Record, frozen=True, kw_only=True, tag="image", tag_field="kind"):
    """uint8 pixels to model input: value = (pixel * scale - mean[c]) / std[c], `color` channel order."""

    color: Literal["gray", "rgb", "bgr"]
    resize: Literal["stretch", "letterbox"] = "stretch"
    interpolation: Literal["linear", "nearest", "area"] = "linear"
    scale: Positive = 1.0 / 255.0
    mean: Annotated[tuple[float, ...], Meta(min_length=1, max_length=4)] = (0.0,)
    std: Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=4)] = (1.0,)


class ArrayPreprocess(Record, frozen=True, kw_only=True, tag="array", tag_field="kind"):
    """Numbers to model input: value = (x - mean) / std, one entry per feature or one for all."""

    mean: Annotated[tuple[float, ...], Meta(min_length=1, max_length=4096)] = (0.0,)
    std: Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=4096)] = (1.0,)


class ClassificationDecoder(Record, frozen=True, kw_only=True, tag="classification", tag_field="kind"):
    """One score per label; `activation` is what still has to be applied to the output."""

    labels: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=65536)]
    activation: Literal["softmax", "none"] = "softmax"


class DetectionDecoder(Record, frozen=True, kw_only=True, tag="yolo", tag_field="kind"):
    """Boxes with one score per label, in the layouts of YOLO exports; scores are probabilities already.

    `(1, rows, n)` or `(1, n, rows)`, told apart by the number of labels: each of the n candidates is four
    numbers for its box, then, with `objectness` (YOLOv5, YOLOX), how likely there is anything, then a score
    per label. The layout `end` is that of models which suppress overlaps themselves (YOLOv10, YOLO26):
    `(1, n, 6)`, each row a box, its score and the index of its label.

    Args:
        labels: what the scores are for, in their order.
        layout: of the box, in pixels of the model's input: `xywh` is its centre, width and height, `xyxy` its
            left, top, right and bottom, as `end` has it too.
        objectness: a number behind the box multiplies all scores of the candidate.
        min_score: candidates whose best score is below are no objects.
        iou: of two boxes of one label that overlap more (intersection over union) the better one is kept.
        max_objects: no more than the best so many are reported.
    """

    labels: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=65536)]
    layout: Literal["xywh", "xyxy", "end"] = "xywh"
    objectness: bool | UnsetType = UNSET
    min_score: Share = 0.25
    iou: Share = 0.45
    max_objects: Annotated[int, Meta(ge=1, le=1000)] = 100


class SsdDecoder(Record, frozen=True, kw_only=True, tag="ssd", tag_field="kind"):
    """Boxes and scores in outputs of their own, as SSD detectors have them; it stands at the first output.

    The outputs are one of these sets, each in any order

        boxes, classes, scores, count    suppressed already, as TFLite_Detection_PostProcess gives them:
                                         (1, n, 4), (1, n), (1, n), (1)
        boxes, scores                    (1, n, 4) and (1, n, labels), one more score with a background
        rows                             (1, 1, n, 7): image, label, score, left, top, right, bottom, as
                                         OpenVINO's DetectionOutput gives them

    Boxes are in shares of the model's input, anchors applied already.

    Args:
        outputs: what they are, in the order of the manifest; the decoders of all but the first are `raw`.
        labels: what the classes are for, without a background.
        box: order of a box's edges: top, left, bottom, right or left, top, right, bottom; `xyxy` for `rows`.
        background: whether index 0 of classes and scores is the background.
        min_score: what is below is no object.
        iou: of two boxes of one label that overlap more the better one is kept; for `boxes, scores` only.
        max_objects: no more than the best so many are reported.
    """

    outputs: Annotated[
        tuple[Literal["boxes", "classes", "scores", "count", "rows"], ...], Meta(min_length=1, max_length=4)
    ] = ("boxes", "classes", "scores", "count")
    labels: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=65536)]
    box: Literal["yxyx", "xyxy"] = "yxyx"
    background: bool = False
    min_score: Share = 0.25
    iou: Share = 0.45
    max_objects: Annotated[int, Meta(ge=1, le=1000)] = 100


class RegressionDecoder(Record, frozen=True, kw_only=True, tag="regression", tag_field="kind"):
    """Numbers by name: value = output * std + mean, which undoes the normalization of what was learned."""

    names: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=65536)]
    mean: Annotated[tuple[float, ...], Meta(min_length=1, max_length=65536)] = (0.0,)
    std: Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=65536)] = (1.0,)


class ControlDecoder(Record, frozen=True, kw_only=True, tag="control", tag_field="kind"):
    """What a policy network wants done.

    Args:
        names: of the discrete actions, each with a score, or of the actuators of a continuous action.
        space: `discrete`: the action with the largest score; `continuous`: a value per actuator.
        squash: of a continuous action: `tanh` is still to be applied, as after a Gaussian policy's mean.
        low: the least value of each actuator, or one for all: an output of -1, or what is clipped to.
        high: the largest.
        scaled: outputs -1..1 stand for low..high; without it they are values already.
    """

    names: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=65536)]
    space: Literal["discrete", "continuous"] = "discrete"
    squash: Literal["none", "tanh"] = "none"
    low: Annotated[tuple[float, ...], Meta(min_length=1, max_length=65536)] = (-1.0,)
    high: Annotated[tuple[float, ...], Meta(min_length=1, max_length=65536)] = (1.0,)
    scaled: bool = False


class AnomalyDecoder(Record, frozen=True, kw_only=True, tag="anomaly", tag_field="kind"):
    """How strange an input is.

    Args:
        threshold: scores from here on are anomalies.
        method: `score`: the output is one number, the score; `reconstruction`: the output is the input as an
            autoencoder remembers it, and the score is their mean squared difference, after preprocessing.
    """

    threshold: Annotated[float, Meta(ge=0.0)]
    method: Literal["score", "reconstruction"] = "score"


class RawDecoder(Record, frozen=True, kw_only=True, tag="raw", tag_field="kind"):
    """No reading at all: numbers for a program of the user's own. An agent cannot act on them."""


Decoder = (
    ClassificationDecoder
    | DetectionDecoder
    | SsdDecoder
    | RegressionDecoder
    | ControlDecoder
    | AnomalyDecoder
    | RawDecoder
)


class Input(Record, frozen=True, kw_only=True):
    """A logical input: what the model sees after preprocessing, whatever the variant stores it as."""

    name: Text
    shape: Shape
    dtype: Dtype = "float32"
    layout: Layout
    preprocess: ImagePreprocess | ArrayPreprocess


class Output(Record, frozen=True, kw_only=True):
    """A logical output and how it is read."""

    name: Text
    shape: Shape
    dtype: Dtype = "float32"
    decoder: Decoder


class File(Record, frozen=True, kw_only=True):
    """One file of a variant: the runtime asks for it by `role`, the container holds it as `blob`.

    On disk the file is called like its blob; an ONNX graph refers to its weights by that name.
    """

    role: Identifier
    blob: Identifier


class Requirements(Record, frozen=True, kw_only=True):
    """What a device must have to run a variant; empty means anything."""

    isa: tuple[Identifier, ...] = ()
    memory_mb: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    min_runtime: Text = ""


class Variant(Record, frozen=True, kw_only=True):
    """The student for one runtime and precision. `rank` is the fallback order, 0 is tried first."""

    id: Identifier
    runtime: Identifier
    precision: Precision
    rank: Annotated[int, Meta(ge=0, le=63)]
    status: Literal["ready", "rtl-only"] = "ready"
    files: Annotated[tuple[File, ...], Meta(min_length=1, max_length=8)]
    inputs: Annotated[tuple[Tensor, ...], Meta(min_length=1, max_length=16)]
    outputs: Annotated[tuple[Tensor, ...], Meta(min_length=1, max_length=16)]
    requirements: Requirements = Requirements()
    options: dict[Identifier, bool | Int64 | float | Text] = {}


class StepTolerance(Record, frozen=True, kw_only=True, tag="steps", tag_field="kind"):
    """Largest allowed difference of an output, in quantization steps of `step` (1 for integer outputs)."""

    step: Positive
    steps: Annotated[float, Meta(ge=0.0, le=255.0)]


class RelativeTolerance(Record, frozen=True, kw_only=True, tag="relative", tag_field="kind"):
    """Largest allowed L2 norm of an output's difference over the L2 norm of what was expected."""

    relative: Annotated[float, Meta(ge=0.0, le=1.0)]


Tolerance = StepTolerance | RelativeTolerance


class Expected(Record, frozen=True, kw_only=True):
    """What one variant must answer: `blob` holds its outputs for all samples, in output order, as stored.

    Args:
        variant: its id.
        blob: name of the answers.
        tolerance: of the first output, and of the others if `more` does not tell.
        more: of the other outputs, in their order; all of them or none.
        agreement: needed share of samples whose most likely class, or discrete action, is the expected one;
            0 if there is none of the whole sample, as in detections, measurements and raw outputs.
    """

    variant: Identifier
    blob: Identifier
    tolerance: Tolerance
    more: Annotated[tuple[Tolerance, ...], Meta(max_length=15)] | UnsetType = UNSET
    agreement: Share = 1.0

    def tolerances(self, outputs: int) -> tuple[Tolerance, ...]:
        """Return the tolerance of each of so many outputs."""
        more = () if isinstance(self.more, UnsetType) else self.more
        return (self.tolerance, *more) if more else (self.tolerance,) * outputs


class Golden(Record, frozen=True, kw_only=True):
    """Golden vectors: raw samples, so that preprocessing is proved as well.

    `blob` holds an array of `shape` (first dimension: samples) and `dtype`, C order, little endian:
    frames `(n, h, w)` or `(n, h, w, 3)` BGR uint8 as a camera gives them, or feature arrays.
    """

    blob: Identifier
    shape: Shape
    dtype: Dtype
    expected: Annotated[tuple[Expected, ...], Meta(min_length=1, max_length=64)]


class Statistic(Record, frozen=True, kw_only=True):
    """A distribution in four numbers."""

    mean: float
    std: float
    p05: float
    p95: float


class Baseline(Record, frozen=True, kw_only=True):
    """Statistics of the calibration set, against which a device measures drift."""

    samples: Size
    inputs: dict[Identifier, Statistic]
    outputs: dict[Identifier, Statistic]
    prior: tuple[Share, ...] = ()


class VariantEvidence(Record, frozen=True, kw_only=True):
    """What the converter measured of one variant on held-out data.

    Args:
        variant: its id.
        accuracy: the value of the evidence's `metric`; `low` and `high` are its 95 % interval.
        low: see `accuracy`.
        high: see `accuracy`.
        agreement: share of equal answers with the teacher; of raw outputs their median cosine.
        cosine: median cosine of the outputs to the teacher's; left out if it was not measured.
        bytes: of all its files.
        speedup: against the teacher in the same runtime, 0 if that is not known.
    """

    variant: Identifier
    accuracy: Share
    low: Share
    high: Share
    agreement: Share
    cosine: Annotated[float, Meta(ge=-1.0, le=1.0)] | UnsetType = UNSET
    bytes: Size
    speedup: Annotated[float, Meta(ge=0.0)]


class Evidence(Record, frozen=True, kw_only=True):
    """A summary of at most 4 KB; the whole report is the blob `report`.

    `metric` is what was measured: `accuracy`, without labels `agreement` with the teacher, of numbers `r2`
    and of objects `dice`, both against the teacher's, or of raw outputs their median `cosine`.
    """

    data: Text
    samples: Size
    metric: Text
    reference: Share
    budget: float
    variants: tuple[VariantEvidence, ...]
    machine: Text = ""
    report: Identifier | None = None


class Lineage(Record, frozen=True, kw_only=True):
    """Where the bundle comes from; enough to make it again."""

    recipe: Sha256
    seed: Int64
    data: dict[Identifier, Sha256]
    teacher: Sha256
    versions: dict[Text, Text]
    cpu: tuple[Text, ...] = ()


class Blob(Record, frozen=True, kw_only=True):
    """A byte range: `offset` counts from the first 64-byte boundary behind the header.

    `blocks` is the base64 text of the concatenated SHA-256 digests of its 16 KiB blocks, the last one short.
    """

    name: Identifier
    offset: Size
    length: Size
    sha256: Sha256
    blocks: Annotated[str, Meta(max_length=262_144)]


class Manifest(Record, frozen=True, kw_only=True):
    """The header of a bundle."""

    schema: Literal[1] = 1
    name: Identifier
    version: Semver
    app: Identifier
    hardware: Annotated[tuple[Identifier, ...], Meta(min_length=1, max_length=64)]
    task: Task
    inputs: Annotated[tuple[Input, ...], Meta(min_length=1, max_length=16)]
    outputs: Annotated[tuple[Output, ...], Meta(min_length=1, max_length=16)]
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=64)]
    golden: Golden
    baseline: Baseline | None = None
    evidence: Evidence | None = None
    lineage: Lineage | None = None
    blobs: Annotated[tuple[Blob, ...], Meta(min_length=1, max_length=256)]

    def variant(self, name: str) -> Variant:
        """Return the variant called `name`; raises `KeyError`."""
        return {v.id: v for v in self.variants}[name]

    def ranked(self) -> tuple[Variant, ...]:
        """Return the variants in fallback order."""
        return tuple(sorted(self.variants, key=lambda v: v.rank))
