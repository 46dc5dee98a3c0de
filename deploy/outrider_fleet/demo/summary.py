"""`summary.json`: what the demo measured, in the form that others read."""

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct


class Data(Struct, frozen=True, kw_only=True):
    """The data set; `test_images` is how many the accuracies below are measured on."""

    name: str
    test_images: int


class Teacher(Struct, frozen=True, kw_only=True):
    """The big model: its float file and its cost for one image."""

    accuracy: float
    bytes: int
    params: int
    macs: int


class Variant(Struct, frozen=True, kw_only=True):
    """One variant of the student; the speedup is None where the teacher has no file for its runtime."""

    id: str
    runtime: str
    accuracy: float
    bytes: int
    macs: int
    speedup_vs_teacher: float | None
    agreement_with_teacher: float


class BundleFile(Struct, frozen=True, kw_only=True):
    """The file that was signed and run; `sha256` is of the whole file."""

    path: str
    bytes: int
    sha256: str


class Agent(Struct, frozen=True, kw_only=True):
    """What the agent did; `accuracy` is of the decisions that arrived over MQTT."""

    frames: int
    dropped: int
    accuracy: float
    p50_ms: float
    p99_ms: float
    variant: str
    placement: str


class Mqtt(Struct, frozen=True, kw_only=True):
    """What arrived: `telemetry` and `events` received, `lost` published but not received."""

    broker: str
    protocol: int
    telemetry: int
    events: int
    lost: int


class Summary(Struct, frozen=True, kw_only=True):
    """The whole run; `seconds` from the first step to the last."""

    schema: Literal[1] = 1
    data: Data
    teacher: Teacher
    variants: tuple[Variant, ...]
    bundle: BundleFile
    agent: Agent
    mqtt: Mqtt
    seconds: float


def encode(summary: Summary) -> bytes:
    """Return `summary` as indented JSON, keys in the order of the structs."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n"


def write(path: Path, summary: Summary) -> None:
    """Write `summary` in one piece."""
    draft = path.with_suffix(".tmp")
    draft.write_bytes(encode(summary))
    draft.replace(path)
