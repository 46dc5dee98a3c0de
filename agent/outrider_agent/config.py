"""The agent's configuration: one TOML file, frozen structs, every fault at once.

Tables of plug-ins are open here (`kind` and whatever else) and judged by the plug-in's own `Options`
in `parts.py`, in the same pass. Relative paths count from the working directory.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from outrider_agent.broker import BrokerOptions, Seconds
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


class PipelineTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[pipelines]]` as it is written.

    Args:
        id: its name in topics and events.
        bundle: path of the `.orb` file.
        source: where frames come from: `kind` and the plug-in's options.
        policy: what is decided: the same.
        actions: what is done: the same.
        engine: how the model is run.
        idle_s: a wait for a frame that takes longer counts as no input.
        stale_s: when the last perception is older, actions go to their safe state.
    """

    id: Identifier
    bundle: Path
    source: Rest
    policy: Rest
    actions: Annotated[tuple[Rest, ...], Meta(max_length=64)] = ()
    engine: Engine = Engine()
    idle_s: Seconds = 1.0
    stale_s: Seconds = 5.0


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as it is written; see `Config`."""

    device: Device
    trust: Trust = Trust()
    link: BrokerOptions | None = None
    pipelines: Annotated[tuple[PipelineTable, ...], Meta(min_length=1, max_length=64)]


class Pipeline(Struct, frozen=True, kw_only=True):
    """One way from a source to actions: its table with the plug-ins found."""

    table: PipelineTable
    source: Part
    policy: Part
    actions: tuple[Part, ...]


class Config(Struct, frozen=True, kw_only=True):
    """All of it, checked."""

    device: Device
    trust: Trust
    link: BrokerOptions | None
    pipelines: tuple[Pipeline, ...]


def read(path: Path) -> Config:
    """Read and check the configuration at `path`.

    Raises:
        UsageError: it is missing, no TOML, or has faults; the message lists them all.
        MissingExtraError: a plug-in's library is not installed.
    """
    table = settings.table(path, UsageError)
    document, faults = settings.convert(table, Document, "")
    found = [_find(written, f"pipelines[{at}]") for at, written in enumerate(_tables(table))]
    faults += [fault for _, more in found for fault in more]
    if document is not None:
        faults += _contradictions(document, [parts for parts, _ in found])
    if document is None or faults:
        raise UsageError(settings.summary(str(path), faults), settings.CURE)
    pipelines = tuple(
        Pipeline(table=written, source=parts[0], policy=parts[1], actions=tuple(parts[2:]))
        for written, (parts, _) in zip(document.pipelines, found, strict=True)
    )
    return Config(device=document.device, trust=document.trust, link=document.link, pipelines=pipelines)


def _tables(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tables of pipelines as far as there are any; what else stands there is a fault elsewhere."""
    written = table.get("pipelines")
    return [one for one in written if isinstance(one, dict)] if isinstance(written, list) else []


def _find(written: dict[str, Any], where: str) -> tuple[list[Part], list[str]]:
    """Return source, policy and actions of one pipeline, and what is wrong with them."""
    actions = written.get("actions")
    several = actions if isinstance(actions, list) else []
    wanted = [
        (SOURCES, written.get("source"), f"{where}.source"),
        (POLICIES, written.get("policy"), f"{where}.policy"),
        *((ACTIONS, one, f"{where}.actions[{at}]") for at, one in enumerate(several)),
    ]
    parts: list[Part] = []
    faults: list[str] = []
    for group, table, place in wanted:
        part, more = find(group, table, place)
        parts += [part] if part else []
        faults += more
    return parts, faults


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
    if not document.trust.keys and not document.trust.allow_unsigned:
        faults.append("trust.keys: name a public key of who signs bundles, or set allow_unsigned = true")
    return faults
