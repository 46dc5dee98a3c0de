"""JSON Schemas of the manifest and the messages, as published under `docs/schema/`.

python -m outrider_bundle.schema docs/schema
"""

import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from outrider_bundle.manifest import Manifest
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import Reported
from outrider_bundle.messages.state import State
from outrider_bundle.messages.telemetry import Telemetry

PUBLISHED: dict[str, type[Struct]] = {
    "event": Event,
    "manifest": Manifest,
    "reported": Reported,
    "state": State,
    "telemetry": Telemetry,
}
"""File name without suffix to what it describes."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(name: str) -> dict[str, object]:
    r"""Return the JSON Schema called `name`; patterns use `^` and `$`, for ECMA knows no `\A` and `\Z`."""
    head: dict[str, object] = {"$schema": DIALECT, "$id": f"urn:outrider:schema:{name}:1"}
    described = _ecma(msgspec.json.schema(PUBLISHED[name]))
    return head | described if isinstance(described, dict) else head


def text(name: str) -> str:
    """Return the content of the file `name`.json."""
    return msgspec.json.format(msgspec.json.encode(schema(name)), indent=2).decode() + "\n"


def write(folder: Path) -> tuple[Path, ...]:
    """Write all schemas into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{name}.json" for name in PUBLISHED)
    for path in paths:
        path.write_text(text(path.stem), encoding="utf-8")
    return paths


def _ecma(node: object) -> object:
    if isinstance(node, list):
        return [_ecma(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: item.replace(r"\A", "^").replace(r"\Z", "$")
        if key == "pattern" and isinstance(item, str)
        else _ecma(item)
        for key, item in node.items()
    }


if __name__ == "__main__":
    for written in write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schema")):
        sys.stdout.write(f"{written}\n")
