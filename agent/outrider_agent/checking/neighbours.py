"""Plug-ins that need another part of the configuration beside them."""

from collections.abc import Iterator
from typing import Any

from outrider_agent.checking.reading import Branch, Placed
from outrider_agent.parts import ACTIONS

GYM = "gym"


def faults(branch: Branch, table: dict[str, Any]) -> Iterator[str]:
    """Yield what is lacking around the plug-ins of a pipeline of the configuration `table`."""
    written = table.get("sources")
    sources = [one for one in written if isinstance(one, dict)] if isinstance(written, list) else []
    for placed in branch.plug_ins:
        if (placed.group, placed.part.kind) == (ACTIONS, GYM):
            yield from _plant(placed, branch.table.get("source"), sources)


def _plant(placed: Placed, own: object, sources: list[dict[str, Any]]) -> Iterator[str]:
    """Yield why the action `gym` drives nothing: its plant is the pipeline's source, or a shared one."""
    plant = str(getattr(placed.part.options, "plant", ""))
    plants = [str(one.get("id")) for one in sources if one.get("kind") == GYM]
    if plant and plant not in plants:
        there = ", ".join(plants) or "none"
        yield f"{placed.where}.plant: no gym among [[sources]] is called '{plant}'; there is: {there}"
    elif not plant and not (isinstance(own, dict) and own.get("kind") == GYM):
        yield f"{placed.where}.plant: the pipeline's own source is no gym; name one of [[sources]]"
