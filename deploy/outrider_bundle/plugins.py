"""Plug-in discovery by entry points, one name at a time and never by importing them all."""

import sys
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points, metadata
from typing import cast

from outrider_bundle.errors import MissingExtraError, OutriderError, UsageError

EXTRAS = {
    "runtimes": "runtime",
    "sources": "agent",
    "policies": "agent",
    "actions": "agent",
    "steps": "converter",
}
"""What brings the libraries of a kind of plug-in where it has no extra of its own."""


def names(group: str) -> tuple[str, ...]:
    """Return the sorted names registered in `group`; imports none of them."""
    return tuple(sorted({point.name for point in _points(tuple(sys.path)).select(group=group)}))


def find(group: str, name: str) -> EntryPoint:
    """Return the entry point `name` of `group`.

    Raises:
        UsageError: no such plug-in; the message lists what there is.
    """
    for point in _points(tuple(sys.path)).select(group=group, name=name):
        return point
    kind = group.rpartition(".")[2]
    installed = ", ".join(names(group)) or "none"
    raise UsageError(f"There is no '{name}' among the {kind}", f"Installed: {installed}")


def load(group: str, name: str) -> object:
    """Import and return the plug-in `name` of `group`.

    Raises:
        UsageError: no such plug-in.
        MissingExtraError: a library it needs is not installed.
        OutriderError: the plug-in itself cannot be imported.
    """
    point = find(group, name)
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        lacking = error.name if isinstance(error, ModuleNotFoundError) else None
        ours = {
            "outrider_agent",
            "outrider_bundle",
            "outrider_converter",
            "outrider_fleet",
            "outrider_runtime",
        }
        if lacking and lacking.partition(".")[0] not in {*ours, point.module.partition(".")[0]}:
            what = f"'{name}' needs {lacking}, which is not installed"
            raise MissingExtraError(what, _extra(group, name)) from error
        raise OutriderError(f"The plug-in '{name}' ({point.value}) does not load: {error}") from error


@cache
def _points(path: tuple[str, ...]) -> EntryPoints:
    """Return every entry point on `path`; to read them all takes 4 ms, and a start asks ten times."""
    del path
    return cast("EntryPoints", entry_points())  # in 3.11 another type with the same `select`


def _extra(group: str, name: str) -> str:
    """Return the extra of a plug-in: the one called like it if there is one, else that of its kind."""
    own = metadata("outrider").get_all("Provides-Extra") or []
    return name if name in own else EXTRAS.get(group.rpartition(".")[2], name)
