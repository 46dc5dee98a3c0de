"""The report of a conversion: one typed document as JSON, and the same as a single readable page."""

from importlib.resources import files
from pathlib import Path
from typing import Literal

import jinja2
import msgspec
from msgspec import Struct

from outrider_bundle.bars import Machine
from outrider_converter.accuracy import Accuracy
from outrider_converter.latency import Latency
from outrider_converter.records import Decision, LeftOut, PruneProof, Saturated, Stage
from outrider_converter.tasks import Metric


class DataReport(Struct, frozen=True, kw_only=True):
    """The data and how many samples each part has."""

    name: str
    labels: tuple[str, ...]
    train: int
    validation: int
    test: int


class TeacherReport(Struct, frozen=True, kw_only=True):
    """The yardstick. `accuracy` is on the test split; `bytes` are those of its stripped float file."""

    accuracy: float
    low: float
    high: float
    validation: float
    validation_low: float
    validation_high: float
    bytes: int
    params: int
    macs: int
    classes: tuple[float | None, ...]
    latency: dict[str, Latency]


class TargetReport(Struct, frozen=True, kw_only=True):
    """What was converted for; `figures` tells whether anybody has measured or simulated numbers for it."""

    name: str
    title: str
    figures: Literal["measured", "simulated", "unknown"]
    note: str = ""


class VariantReport(Struct, frozen=True, kw_only=True):
    """A packaged variant. Accuracies are those of the report's metric, on the test split.

    Args:
        rank: fallback order; 0 is the fastest.
        low: with `high` the 95 % interval of `accuracy`.
        validation: accuracy on the validation split, by which the budget was decided; with its interval.
        drop: points under the teacher on the test split; 0 for raw outputs.
        cosine: median cosine of the outputs to the teacher's on the test split.
        kernel: with which kernels accuracy and cosine were computed.
        isa: what a CPU must have to run it.
        float_layers: layers that went back to float.
        files: bytes by file.
        speedup_vs_teacher: against the teacher in the same runtime on one thread; None if it has none.
        classes: accuracy of each class.
    """

    id: str
    runtime: str
    precision: str
    rank: int
    accuracy: float
    low: float
    high: float
    validation: float
    validation_low: float
    validation_high: float
    drop: float
    bytes: int
    files: dict[str, int]
    params: int
    macs: int
    latency: Latency
    speedup_vs_teacher: float | None
    agreement_with_teacher: float
    classes: tuple[float | None, ...]
    cosine: float | None = None
    kernel: str = ""
    isa: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()


class BundleReport(Struct, frozen=True, kw_only=True):
    """The bundle: `sha256` of the file, `digest` of its header, which is what a signature covers."""

    path: str
    bytes: int
    sha256: str
    digest: str


class Report(Struct, frozen=True, kw_only=True):
    """All that a conversion found out.

    `budget` is in points, `budget_cosine` the smallest cosine that was asked for, if any.
    """

    schema: int = 1
    name: str
    version: str
    seed: int
    budget: float
    data: DataReport
    teacher: TeacherReport
    stages: tuple[Stage, ...]
    variants: tuple[VariantReport, ...]
    left_out: tuple[LeftOut, ...]
    bundle: BundleReport | None
    machine: Machine
    versions: dict[str, str]
    seconds: float
    recipe: str
    metric: Metric = "accuracy"
    budget_cosine: float | None = None
    targets: tuple[TargetReport, ...] = ()
    decisions: tuple[Decision, ...] = ()
    pruning: PruneProof | None = None
    saturation: tuple[Saturated, ...] = ()


def encode(report: Report) -> bytes:
    """Return the report as JSON for people and machines."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def interval(accuracy: Accuracy) -> str:
    """Return an accuracy as it may be quoted."""
    return f"{accuracy.value:.2%} ({accuracy.low:.2%} to {accuracy.high:.2%})"


def render(report: Report) -> str:
    """Return the report as one HTML page that needs nothing else."""
    source = files("outrider_converter").joinpath("templates", "report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(source).render(report=report)


def write(report: Report, folder: Path) -> None:
    """Write `report.json` and `report.html` into `folder`."""
    (folder / "report.json").write_bytes(encode(report))
    (folder / "report.html").write_text(render(report), encoding="utf-8")
