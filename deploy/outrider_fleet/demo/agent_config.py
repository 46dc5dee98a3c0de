"""The configuration file of the demo's agent: one pipeline from images to bins."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

PIPELINE = "sorter"
FLEET = "demo"
DEVICE = "line-1"


class Line(Struct, frozen=True, kw_only=True):
    """What differs from one sorting line to the next.

    Args:
        bundle: the signed bundle.
        key: the public key it is signed for.
        images: folder of the frames, in the order of their names.
        state: where the agent keeps its state.
        url: of the broker.
        app: the application of the bundle.
        hardware: one that the bundle is for.
        fps: frames a second on the belt.
        bins: the bin of each label.
        deadline_ms: how old a frame may get before its decision is of no use.
    """

    bundle: Path
    key: Path
    images: Path
    state: Path
    url: str
    app: str
    hardware: str
    fps: float
    bins: Mapping[str, str]
    deadline_ms: float


def value(item: object) -> str:
    """Return `item` as TOML: text, path, boolean, number, list or inline table."""
    match item:
        case bool():
            return "true" if item else "false"
        case int() | float():
            return repr(item)
        case str() | Path():
            return json.dumps(str(item), ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            return "{" + ", ".join(f"{value(str(k))} = {value(v)}" for k, v in item.items()) + "}"
        case Sequence():
            return "[" + ", ".join(value(part) for part in item) + "]"
        case _:
            raise TypeError(f"{type(item).__name__} has no place in a configuration")


def table(header: str, entries: Mapping[str, object]) -> str:
    """Return a TOML table under its `header`, brackets included."""
    return "\n".join([header, *(f"{key} = {value(item)}" for key, item in entries.items())]) + "\n"


def rules(bins: Mapping[str, str]) -> list[dict[str, object]]:
    """Return one rule per label: every frame is decided, the best label wins, whatever its score."""
    return [
        {"label": label, "min_score": 0.0, "frames": 1, "cooldown_s": 0.0, "data": {"bin": name}}
        for label, name in bins.items()
    ]


def text(line: Line) -> str:
    """Return the configuration as TOML."""
    device = {
        "id": DEVICE,
        "fleet": FLEET,
        "app": line.app,
        "hardware": line.hardware,
        "state_dir": line.state,
    }
    return "\n".join([
        table("[device]", device),
        table("[trust]", {"keys": [line.key]}),
        table("[link]", {"url": line.url, "telemetry_interval_s": 2.0}),
        table("[[pipelines]]", {"id": PIPELINE, "bundle": line.bundle}),
        table("[pipelines.source]", {"kind": "images", "path": line.images, "fps": line.fps, "loop": False}),
        table("[pipelines.policy]", {"kind": "rules", "rules": rules(line.bins)}),
        table(
            "[pipelines.engine]", {"isolation": "inline", "deadline_ms": line.deadline_ms, "threads": 1}
        ),
        table("[[pipelines.actions]]", {"kind": "mqtt"}),
    ])  # fmt: skip
