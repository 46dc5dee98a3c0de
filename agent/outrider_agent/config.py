"""The agent's configuration: one TOML file, frozen structs, every fault at once.

Tables of plug-ins are open here (`kind` and whatever else) and judged by the plug-in's own `Options`
in `parts.py`, in the same pass. Relative paths count from the working directory.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from outrider_agent.broker import BrokerOptions, Seconds
from outrider_agent.discovery.options import DiscoveryOptions
from outrider_agent.events import AGENT
from outrider_agent.parts import ACTIONS, POLICIES, SOURCES, Part, find
from outrider_bundle import settings
from outrider_bundle.errors import UsageError
from outrider_bundle.manifest import Identifier, Scalar
from outrider_runtime.placing import Policy

Rest = dict[str, Any]
Isolation = Literal["auto", "child", "inline"]


class Device(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this is. A bundle must be made for `app`, and for `hardware` or for any."""

    id: Identifier
    fleet: Identifier
    app: Identifier
    hardware: Identifier
    state_dir: Path


class Trust(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose bundles may run: public keys; `allow_unsigned` also lets those run that have no signature."""

    keys: tuple[Path, ...] = ()
    allow_unsigned: bool = False


class Engine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the model is run.

    Args:
        isolation: `child` runs it in a process of its own, which can be killed and replaced; `inline` in this
            one, for the smallest devices; `auto` inline only on a CPU and below half a millisecond a frame.
        deadline_ms: an answer that comes later is not decided on.
        hang_ms: so long after its deadline an answer may still come before the child counts as hung.
        load_s: how long loading and proving a variant may take.
        python: interpreter of the child, for a board whose drivers have their own; Outrider must be there.
        user: whom the child runs as, where its device asks for that.
        threads: of one inference, where the runtime has a choice; left out for the runtime's own.
        variant: run this one and no other; left out for the best that proves itself.
        options: by runtime, what to pass to it, for example `options.onnx.threads`.
        placement: what to do where the backend that the options ask for does not take the model:
            `require` it, `prefer` it and be degraded without it, or `allow` any.
        share: of the model's nodes that must be there.
        failures: so many in a row, and the next variant is taken.
        retry_s: first wait before a better variant is tried again; it doubles.
        retry_max_s: the longest such wait.
    """

    isolation: Isolation = "auto"
    deadline_ms: Annotated[float, Meta(gt=0.0, le=3.6e6)] = 1000.0
    hang_ms: Annotated[float, Meta(ge=0.0, le=3.6e6)] = 500.0
    load_s: Seconds = 120.0
    python: Path | None = None
    user: str | None = None
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    variant: Identifier | None = None
    options: dict[Identifier, dict[str, Scalar]] = {}
    placement: Policy = "prefer"
    share: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    failures: Annotated[int, Meta(ge=1, le=1000)] = 3
    retry_s: Seconds = 30.0
    retry_max_s: Seconds = 3600.0

    def __post_init__(self) -> None:
        """Refuse an interpreter or a user for a model that has no process of its own."""
        if self.isolation == "inline" and (self.python or self.user):
            raise ValueError("python and user need isolation = 'child'")


class SafeMode(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the agent starts without its loop.

    Args:
        crashes: so many starts in a row that ended in a crash; 0 for never.
        stable_s: after so long a start was a good one, however it ends.
    """

    crashes: Annotated[int, Meta(ge=0, le=1000)] = 3
    stable_s: Seconds = 60.0


class CascadeTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[pipelines.cascade]]`: a classifier that looks at objects the pipeline's detector has found.

    Args:
        bundle: path of its `.orb` file.
        labels: of the objects it looks at; left out for all.
        min_score: how sure the detector must be of them, 0..1.
        most: so many of a frame, the surest ones.
        margin: how much of what is around an object it sees too, in sides of its box.
        engine: how it is run.
    """

    bundle: Path
    labels: tuple[str, ...] = ()
    min_score: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    most: Annotated[int, Meta(ge=1, le=1000)] = 8
    margin: Annotated[float, Meta(ge=0.0, le=10.0)] = 0.0
    engine: Engine = Engine()


class PipelineTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[pipelines]]` as it is written.

    Args:
        id: its name in topics and events.
        bundle: path of the `.orb` file.
        source: where frames come from: `kind` and the plug-in's options, or the id of one of `[[sources]]`.
        policy: what is decided: the same.
        actions: what is done: the same.
        engine: how the model is run.
        cascade: classifiers for what it detects; an object is looked at by the first that wants it.
        idle_s: a wait for a frame that takes longer counts as no input.
        stale_s: when the last perception is older, actions go to their safe state.
    """

    id: Identifier
    bundle: Path
    source: Rest | str
    policy: Rest
    actions: Annotated[tuple[Rest, ...], Meta(max_length=64)] = ()
    engine: Engine = Engine()
    cascade: Annotated[tuple[CascadeTable, ...], Meta(max_length=16)] = ()
    idle_s: Seconds = 1.0
    stale_s: Seconds = 5.0


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as it is written; see `Config`. `sources` are named by `id`, for pipelines to share."""

    device: Device
    trust: Trust = Trust()
    link: BrokerOptions | None = None
    discovery: DiscoveryOptions | None = None
    safe_mode: SafeMode = SafeMode()
    sources: Annotated[tuple[Rest, ...], Meta(max_length=64)] = ()
    pipelines: Annotated[tuple[PipelineTable, ...], Meta(min_length=1, max_length=64)]


class Pipeline(Struct, frozen=True, kw_only=True):
    """One way from a source to actions: its table with the plug-ins found.

    `shared` is the id of the source if it is one of `[[sources]]`, empty for a source of its own.
    """

    table: PipelineTable
    source: Part
    policy: Part
    actions: tuple[Part, ...]
    shared: str = ""


class Config(Struct, frozen=True, kw_only=True):
    """All of it, checked."""

    device: Device
    trust: Trust
    link: BrokerOptions | None
    discovery: DiscoveryOptions | None = None
    safe_mode: SafeMode = SafeMode()
    pipelines: tuple[Pipeline, ...]


def read(path: Path) -> Config:
    """Read and check the configuration at `path`.

    Raises:
        UsageError: it is missing, no TOML, or has faults; the message lists them all.
        MissingExtraError: a plug-in's library is not installed.
    """
    config, faults = examine(settings.table(path, UsageError))
    if config is None or faults:
        raise UsageError(settings.summary(str(path), faults), settings.CURE)
    return config


def examine(table: dict[str, Any]) -> tuple[Config | None, list[str]]:
    """Return the configuration in `table`, None if there is none for its faults, and all faults.

    Raises:
        MissingExtraError: a plug-in's library is not installed.
    """
    document, faults = settings.convert(table, Document, "")
    sources, more = _sources(_tables(table, "sources"))
    faults += more
    found = [
        _find(written, f"pipelines[{at}]", sources) for at, written in enumerate(_tables(table, "pipelines"))
    ]
    faults += [fault for _, more in found for fault in more]
    if document is None:
        return None, faults
    faults += _contradictions(document, [parts for parts, _ in found])
    if faults:
        return None, faults
    pipelines = tuple(
        Pipeline(
            table=written,
            source=parts[0],
            policy=parts[1],
            actions=tuple(parts[2:]),
            shared=written.source if isinstance(written.source, str) else "",
        )
        for written, (parts, _) in zip(document.pipelines, found, strict=True)
    )
    device, trust, link = document.device, document.trust, document.link
    safe_mode = document.safe_mode
    made = Config(
        device=device,
        trust=trust,
        link=link,
        discovery=document.discovery,
        safe_mode=safe_mode,
        pipelines=pipelines,
    )
    return made, []


def _tables(table: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the tables called `name` as far as there are any; what else is there is a fault elsewhere."""
    written = table.get(name)
    return [one for one in written if isinstance(one, dict)] if isinstance(written, list) else []


def _sources(tables: list[dict[str, Any]]) -> tuple[dict[str, Part | None], list[str]]:
    """Return shared sources by id, None for a faulty one, and what is wrong with them."""
    sources: dict[str, Part | None] = {}
    faults: list[str] = []
    for at, table in enumerate(tables):
        rest, where = dict(table), f"sources[{at}]"
        name = rest.pop("id", None)
        part, more = find(SOURCES, rest, where)
        faults += more
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            faults.append(f"{where}.id: give it 1 to 64 letters, digits, '_' and '-' for pipelines to name")
        elif name in sources:
            faults.append(f"{where}.id: there is another source '{name}'")
        else:
            sources[name] = part
    return sources, faults


def _find(
    written: dict[str, Any], where: str, sources: dict[str, Part | None]
) -> tuple[list[Part], list[str]]:
    """Return source, policy and actions of one pipeline, and what is wrong with them."""
    actions = written.get("actions")
    several = actions if isinstance(actions, list) else []
    wanted = [
        (POLICIES, written.get("policy"), f"{where}.policy"),
        *((ACTIONS, one, f"{where}.actions[{at}]") for at, one in enumerate(several)),
    ]
    source, faults = _source(written.get("source"), f"{where}.source", sources)
    parts = [source] if source else []
    for group, table, place in wanted:
        part, more = find(group, table, place)
        parts += [part] if part else []
        faults += more
    return parts, faults


def _source(written: object, where: str, sources: dict[str, Part | None]) -> tuple[Part | None, list[str]]:
    """Return the source of a pipeline: its own, or the shared one that it names."""
    if not isinstance(written, str):
        return find(SOURCES, written, where)
    if written not in sources:
        names = ", ".join(sources) or "none; write a [[sources]] table with that id"
        return None, [f"{where}: there is no source '{written}' among [[sources]]: {names}"]
    return sources[written], []


def _contradictions(document: Document, parts: list[list[Part]]) -> list[str]:
    """Return what is wrong although every value by itself is right."""
    faults: list[str] = []
    names = [pipeline.id for pipeline in document.pipelines]
    for at, name in enumerate(names):
        if name in names[:at]:
            faults.append(f"pipelines[{at}].id: there is another pipeline '{name}'")
        if name == AGENT:
            faults.append(f"pipelines[{at}].id: '{AGENT}' stands for the agent itself; choose another")
    if document.link is None:
        faults += [
            f"pipelines[{at}]: '{part.kind}' needs a broker; add a [link] table with its url"
            for at, several in enumerate(parts)
            for part in several
            if part.needs_link
        ]
        if document.discovery is not None and document.discovery.enabled:
            faults.append("discovery: it needs a broker; add a [link] table with its url")
    used = {pipeline.source for pipeline in document.pipelines if isinstance(pipeline.source, str)}
    faults += [
        f"sources[{at}]: no pipeline names the source '{one['id']}'; name it, or leave it out"
        for at, one in enumerate(document.sources)
        if isinstance(one.get("id"), str) and one["id"] not in used
    ]
    if not document.trust.keys and not document.trust.allow_unsigned:
        faults.append("trust.keys: name a public key of who signs bundles, or set allow_unsigned = true")
    return faults
