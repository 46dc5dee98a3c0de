"""The actions of a pipeline, built from its configuration."""

import contextlib
import logging
from collections import Counter
from collections.abc import Sequence

from outrider_agent import parts
from outrider_agent.parts import Part
from outrider_agent.seams import Action, Context
from outrider_bundle.errors import OutriderError

log = logging.getLogger(__name__)


def actions(wanted: Sequence[Part], context: Context, built: contextlib.ExitStack) -> dict[str, Action]:
    """Build all actions; each is closed with `built`. The second of a kind is called `kind-2`."""
    made: dict[str, Action] = {}
    kinds: Counter[str] = Counter()
    for part in wanted:
        kinds[part.kind] += 1
        number = kinds[part.kind]
        action = parts.action(part, context)
        name = part.kind if number == 1 else f"{part.kind}-{number}"
        built.callback(_close, f"{context.pipeline}/{name}", action)
        made[name] = action
    return made


def _close(name: str, action: Action) -> None:
    """Close `action`; one that fails in that keeps no other from its end."""
    try:
        action.close()
    except OutriderError as error:
        log.error("The action %s does not end well: %s", name, error)  # noqa: TRY400 - it says all itself
    except Exception:
        log.exception("The action %s does not end well", name)
