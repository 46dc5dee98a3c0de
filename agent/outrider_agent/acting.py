"""The actions of a pipeline, built from its configuration."""

import contextlib
from collections import Counter
from collections.abc import Sequence

from outrider_agent import parts
from outrider_agent.parts import Part
from outrider_agent.seams import Action, Context


def actions(wanted: Sequence[Part], context: Context, built: contextlib.ExitStack) -> dict[str, Action]:
    """Build all actions; each is closed with `built`. The second of a kind is called `kind-2`."""
    made: dict[str, Action] = {}
    kinds: Counter[str] = Counter()
    for part in wanted:
        kinds[part.kind] += 1
        number = kinds[part.kind]
        action = parts.action(part, context)
        built.callback(action.close)
        made[part.kind if number == 1 else f"{part.kind}-{number}"] = action
    return made
