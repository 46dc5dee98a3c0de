"""The whole examination: what to probe, and what the findings mean for a configuration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from outrider_agent.doctor.accelerators import accelerators
from outrider_agent.doctor.boards import boards, disk
from outrider_agent.doctor.child import Probe, run
from outrider_agent.doctor.needs import Needs, PlugIn, judge, needs
from outrider_agent.doctor.plug_ins import PARTS, RUNTIMES
from outrider_agent.doctor.row import Row
from outrider_agent.doctor.system import system
from outrider_bundle import plugins

BROKER_S = 6.0
"""For an answer, and the slow look-up of a name before it."""
CAMERAS_S = 5.0


class Findings(Struct, frozen=True, kw_only=True):
    """What was found; `lacking` are those rows without which the configuration cannot run."""

    rows: tuple[Row, ...]
    lacking: tuple[Row, ...] = ()


def checkup(config: Path | None, urls: Sequence[str] = ()) -> Findings:
    """Examine this machine, and what the configuration at `config` needs of it.

    Args:
        config: None for the machine alone.
        urls: brokers to try besides that of the configuration.

    Raises:
        UsageError: there is no such configuration.
    """
    wanted = needs(config) if config else None
    every = [PlugIn(group=RUNTIMES, name=name) for name in plugins.names(RUNTIMES)]
    needed = [*wanted.runtimes(), *wanted.plug_ins] if wanted else []
    loaded = list(dict.fromkeys([*every, *needed]))
    others = _others(config, wanted, urls)
    answers = run([*map(_loading, loaded), *others])
    plug_ins = {one: _called(one, rows[0]) for one, rows in zip(loaded, answers, strict=False)}
    rest = [row for rows in answers[len(loaded) :] for row in rows]
    usable = " ".join(row.detail for one, row in plug_ins.items() if one.group == RUNTIMES)
    pipelines = _pipelines(wanted, plug_ins)
    here = [disk(wanted.state_dir)] if wanted and wanted.state_dir else []
    rows = [*plug_ins.values(), *accelerators(usable=usable), *rest, *boards(), *here, *system(), *pipelines]
    own = [plug_ins[one] for one in wanted.plug_ins] if wanted else []
    lacking = [row for row in own if row.state != "ok"] + [row for row in pipelines if row.state == "missing"]
    return Findings(rows=tuple(rows), lacking=tuple(lacking))


def _loading(one: PlugIn) -> Probe:
    request = {"probe": "plug_in", "group": one.group, "name": one.name}
    return Probe(part=PARTS[one.group], name=one.name, request=request, python=one.python)


def _called(one: PlugIn, row: Row) -> Row:
    """Return the row of a plug-in with the interpreter that it was looked for in."""
    return replace(row, name=f"{row.name} in {one.python}") if one.python else row


def _others(config: Path | None, wanted: Needs | None, urls: Sequence[str]) -> list[Probe]:
    brokers: list[dict[str, Any]] = [{"url": url} for url in urls]
    if wanted and wanted.broker:
        brokers.insert(0, wanted.broker)
    probes = [Probe(part="camera", name="V4L2", request={"probe": "cameras"}, timeout_s=CAMERAS_S)]
    for one in brokers:
        request = {"probe": "broker", "broker": one}
        name = str(one.get("url", "[link]"))
        probes.append(Probe(part="broker", name=name, request=request, timeout_s=BROKER_S))
    if config:
        request = {"probe": "config", "path": str(config)}
        probes.append(Probe(part="config", name=str(config), request=request))
    return probes


def _pipelines(wanted: Needs | None, plug_ins: dict[PlugIn, Row]) -> list[Row]:
    if wanted is None:
        return []
    runtimes = {(one.python, one.name): row for one, row in plug_ins.items() if one.group == RUNTIMES}
    return [judge(choice, runtimes) for choice in wanted.choices]
