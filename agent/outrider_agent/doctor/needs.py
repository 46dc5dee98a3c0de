"""What a configuration needs of this machine, read without any of the libraries that may be missing."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from outrider_agent.doctor.row import Row
from outrider_bundle import settings
from outrider_bundle.container import Bundle
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.manifest import Manifest
from outrider_runtime.requirements import lacking

PARTS = {"source": "outrider.sources", "policy": "outrider.policies", "actions": "outrider.actions"}


class PlugIn(Struct, frozen=True, kw_only=True):
    """A plug-in by group and name, and the interpreter that must have it."""

    group: str
    name: str
    python: str = ""


class Choice(Struct, frozen=True, kw_only=True):
    """A pipeline's variants: one whose runtime is there is enough.

    Args:
        pipeline: its id.
        variants: id to runtime, in fallback order.
        lacks: id to what this machine has not that the variant asks for.
        python: interpreter that the runtimes must be in; empty for this one.
        fault: why its bundle does not say.
    """

    pipeline: str
    variants: Mapping[str, str] = {}
    lacks: Mapping[str, str] = {}
    python: str = ""
    fault: str = ""


class Needs(Struct, frozen=True, kw_only=True):
    """All that a configuration names."""

    plug_ins: tuple[PlugIn, ...]
    choices: tuple[Choice, ...]
    broker: dict[str, Any] | None
    state_dir: Path | None

    def runtimes(self) -> tuple[PlugIn, ...]:
        """Return every runtime of any variant."""
        found = {(choice.python, name) for choice in self.choices for name in choice.variants.values()}
        return tuple(
            PlugIn(group="outrider.runtimes", name=name, python=python) for python, name in sorted(found)
        )


def needs(path: Path) -> Needs:
    """Return what the configuration at `path` needs, as far as it says so.

    Raises:
        UsageError: there is no such file, or it is no TOML.
    """
    table = settings.table(path, UsageError)
    pipelines = [one for one in _list(table.get("pipelines")) if isinstance(one, dict)]
    named = {(group, name) for one in pipelines for group, name in _named(one)}
    link, device = table.get("link"), table.get("device")
    state_dir = device.get("state_dir") if isinstance(device, dict) else None
    return Needs(
        plug_ins=tuple(PlugIn(group=group, name=name) for group, name in sorted(named)),
        choices=tuple(_choice(one, at) for at, one in enumerate(pipelines)),
        broker=link if isinstance(link, dict) else None,
        state_dir=Path(state_dir) if isinstance(state_dir, str) else None,
    )


def judge(choice: Choice, runtimes: Mapping[tuple[str, str], Row]) -> Row:
    """Return the row of a pipeline: which of its variants can run here, as far as the machine goes.

    Args:
        choice: its variants.
        runtimes: what was found, by interpreter and name.
    """
    name = f"pipeline {choice.pipeline}"
    if choice.fault:
        return Row(part="config", name=name, state="problem", detail=choice.fault)
    rows = {one: runtimes[choice.python, runtime] for one, runtime in choice.variants.items()}
    absent = [row for row in rows.values() if row.state != "ok"]
    able = [one for one, row in rows.items() if row.state == "ok" and one not in choice.lacks]
    unable = [f"{one}: {choice.lacks.get(one) or rows[one].detail}" for one in rows if one not in able]
    if not able:
        cure = next((row.cure for row in absent), "Convert it for this machine")
        return Row(part="config", name=name, state="missing", detail="; ".join(unable), cure=cure)
    detail = f"{', '.join(able)} can run" + (f"; not {'; '.join(unable)}" if unable else "")
    return Row(part="config", name=name, state="ok", detail=detail)


def _named(pipeline: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, group in PARTS.items():
        written = pipeline.get(key)
        for one in _list(written) if key == "actions" else [written]:
            if isinstance(one, dict) and isinstance(one.get("kind"), str):
                yield group, one["kind"]


def _choice(pipeline: Mapping[str, Any], at: int) -> Choice:
    name, engine = str(pipeline.get("id", at)), pipeline.get("engine")
    engine = engine if isinstance(engine, dict) else {}
    wanted, python = engine.get("variant"), engine.get("python")
    bundle = pipeline.get("bundle")
    if not isinstance(bundle, str):
        return Choice(pipeline=name, fault="it names no bundle")
    try:
        with Bundle.open(bundle) as opened:
            manifest = opened.manifest
    except OutriderError as error:
        return Choice(pipeline=name, fault=error.what)
    variants = {one.id: one for one in manifest.ranked() if one.status == "ready"}
    if isinstance(wanted, str):
        variants = {key: one for key, one in variants.items() if key == wanted}
    if not variants:
        return Choice(pipeline=name, fault=_without(manifest, wanted))
    return Choice(
        pipeline=name,
        variants={key: one.runtime for key, one in variants.items()},
        lacks={key: why for key, one in variants.items() if (why := lacking(one.requirements))},
        python=os.fspath(python) if isinstance(python, str) else "",
    )


def _without(manifest: Manifest, wanted: object) -> str:
    if wanted:
        return f"{manifest.name} has no variant '{wanted}' that is ready to run"
    return f"{manifest.name} has no variant that is ready to run"


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []
