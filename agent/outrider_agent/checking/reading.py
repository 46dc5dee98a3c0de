"""A configuration that may have any fault, taken as far as it goes."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from msgspec import Struct

from outrider_agent import config, parts
from outrider_agent.parts import ACTIONS, POLICIES, SOURCES, Part
from outrider_bundle import plugins, settings
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.manifest import Identifier

STAND_INS: Mapping[str, dict[str, Any]] = {
    SOURCES: {"kind": "camera"},
    POLICIES: {"kind": "argmax"},
    ACTIONS: {"kind": "log"},
}
"""What stands in for a plug-in that cannot be imported, so that all else is judged: they need no option."""

SOUND = {"id": "any", "fleet": "any", "app": "any", "hardware": "any", "state_dir": "any"}
"""A device."""

Table = dict[str, Any]


class Placed(Struct, frozen=True, kw_only=True):
    """A plug-in of the configuration and where it stands there."""

    part: Part
    where: str
    group: str


class Branch(Struct, frozen=True, kw_only=True):
    """A pipeline as far as it can be read.

    Args:
        where: it stands.
        table: as it is written.
        plug_ins: its source, policy and actions, without those that have faults.
    """

    where: str
    table: Table
    plug_ins: tuple[Placed, ...]


def judged(table: Table) -> list[str]:
    """Return the faults of the file and of all options; a plug-in that cannot be imported is one of them."""
    copy, faults = deepcopy(table), []
    for group, place, where, put in _places(copy):
        try:
            plugins.load(group, str(place.get("kind")))
        except UsageError:
            pass  # there is none of that kind: `examine` says so
        except OutriderError as error:
            faults.append(f"{where}.kind: {error}")
            put({**STAND_INS[group], **({"id": place["id"]} if "id" in place else {})})
    try:
        # Names that contradict one another are only looked for in a file that has all it should have.
        found = [*faults, *config.examine(copy)[1], *config.examine(_mended(copy))[1]]
    except OutriderError as error:
        return [*faults, str(error)]
    return [*dict.fromkeys(found)]


def _mended(table: Table) -> Table:
    """Return the file with something sound in place of all but plug-ins and names."""
    link = table.get("link")
    mended: Table = {
        "device": SOUND,
        "trust": _sound(table.get("trust", {}), config.Trust, {"allow_unsigned": True}),
        "sources": _tables(table.get("sources")),
        "pipelines": [
            {
                "id": _sound({"id": written.get("id")}, _Named, {"id": f"pipeline-{at}"})["id"],
                "bundle": "any",
                "source": _or(written.get("source"), (dict, str), SOURCES),
                "policy": _or(written.get("policy"), (dict,), POLICIES),
                "actions": [_or(one, (dict,), ACTIONS) for one in _listed(written.get("actions"))],
            }
            for at, written in enumerate(_tables(table.get("pipelines")))
        ],
    }
    return mended if link is None else {**mended, "link": {"url": "mqtt://localhost"}}


class _Named(Struct, frozen=True, kw_only=True):
    id: Identifier


def _sound(written: object, kind: type[Struct], other: Table) -> Table:
    good = isinstance(written, dict) and not settings.convert(written, kind, "")[1]
    return dict(written) if good and isinstance(written, dict) else other


def _or(written: object, kinds: tuple[type, ...], group: str) -> object:
    return written if isinstance(written, kinds) else STAND_INS[group]


def branches(table: Table) -> list[Branch]:
    """Return all pipelines as far as they can be read."""
    shared = {str(one.get("id")): (at, one) for at, one in enumerate(_tables(table.get("sources")))}
    found: list[Branch] = []
    for at, written in enumerate(_tables(table.get("pipelines"))):
        where = f"pipelines[{at}]"
        wanted = [(SOURCES, *_source(written.get("source"), where, shared))]
        wanted.append((POLICIES, written.get("policy"), f"{where}.policy"))
        actions = enumerate(_listed(written.get("actions")))
        wanted += [(ACTIONS, one, f"{where}.actions[{number}]") for number, one in actions]
        placed = (_placed(group, one, place) for group, one, place in wanted)
        plug_ins = tuple(one for one in placed if one is not None)
        found.append(Branch(where=where, table=written, plug_ins=plug_ins))
    return found


def _source(written: object, where: str, shared: Mapping[str, tuple[int, Table]]) -> tuple[object, str]:
    """Return the table of a source, which may be a shared one, and where it stands."""
    if isinstance(written, str) and written in shared:
        at, table = shared[written]
        return {key: value for key, value in table.items() if key != "id"}, f"sources[{at}]"
    return written, f"{where}.source"


def _placed(group: str, table: object, where: str) -> Placed | None:
    try:
        part, _ = parts.find(group, table, where)
    except OutriderError:
        return None
    return Placed(part=part, where=where, group=group) if part else None


def _places(table: Table) -> Iterator[tuple[str, Table, str, Callable[[Table], None]]]:
    """Yield each plug-in's table with its group, where it stands, and what puts another in its place."""

    def setter(holder: Any, key: str | int) -> Callable[[Table], None]:  # noqa: ANN401 - a table or a list
        def put(value: Table) -> None:
            holder[key] = value

        return put

    for group, holder, key, where in _holders(table):
        if isinstance(holder[key], dict):
            yield group, holder[key], where, setter(holder, key)


def _holders(table: Table) -> Iterator[tuple[str, Any, Any, str]]:
    sources = _listed(table.get("sources"))
    for at in range(len(sources)):
        yield SOURCES, sources, at, f"sources[{at}]"
    for number, written in enumerate(_tables(table.get("pipelines"))):
        where = f"pipelines[{number}]"
        for group, key in ((SOURCES, "source"), (POLICIES, "policy")):
            if key in written:
                yield group, written, key, f"{where}.{key}"
        actions = _listed(written.get("actions"))
        for at in range(len(actions)):
            yield ACTIONS, actions, at, f"{where}.actions[{at}]"


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _tables(value: object) -> list[Table]:
    return [one for one in _listed(value) if isinstance(one, dict)]
