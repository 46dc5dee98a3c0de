"""The actions of a pipeline, built from its configuration."""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from outrider_agent import parts
from outrider_agent.parts import Part
from outrider_agent.seams import Action, Context
from outrider_bundle.errors import OutriderError

log = logging.getLogger(__name__)


class Outputs:
    """Actions by name, and which of them are closed here; the second of a kind is called `kind-2`.

    Args:
        pipeline: they belong to, for the log.
    """

    def __init__(self, pipeline: str) -> None:
        """Start with none."""
        self._pipeline = pipeline
        self._parts: dict[str, Part] = {}
        self._mine: list[str] = []
        self.actions: dict[str, Action] = {}

    def build(self, wanted: Sequence[Part], context: Context, given: Mapping[str, Action]) -> None:
        """Build all actions but those that are `given`, which stay another's until `own` is called.

        Raises:
            OutriderError: one cannot be built.
        """
        for name, part in named(wanted):
            self._parts[name] = part
            if name in given:
                self.actions[name] = given[name]
            else:
                self.actions[name] = parts.action(part, context)
                self._mine.append(name)

    def like(self, wanted: Sequence[Part]) -> dict[str, Action]:
        """Return those that are as they are `wanted`, to be given to a successor."""
        return {name: self.actions[name] for name, part in named(wanted) if self._parts.get(name) == part}

    def own(self) -> None:
        """Close those that were given, too, from now on."""
        self._mine = list(self.actions)

    def leave(self, names: Collection[str]) -> None:
        """Close those of these names no more: a successor has them."""
        self._mine = [name for name in self._mine if name not in names]

    def close(self) -> None:
        """Close all that are closed here, the last one first; idempotent."""
        while self._mine:
            name = self._mine.pop()
            _close(f"{self._pipeline}/{name}", self.actions[name])


def named(wanted: Sequence[Part]) -> Iterator[tuple[str, Part]]:
    """Yield actions with their names."""
    kinds: Counter[str] = Counter()
    for part in wanted:
        kinds[part.kind] += 1
        number = kinds[part.kind]
        yield part.kind if number == 1 else f"{part.kind}-{number}", part


def _close(name: str, action: Action) -> None:
    """Close `action`; one that fails in that keeps no other from its end."""
    try:
        action.close()
    except OutriderError as error:
        log.error("The action %s does not end well: %s", name, error)  # noqa: TRY400 - it says all itself
    except Exception:
        log.exception("The action %s does not end well", name)
