"""Plug-ins as a configuration names them: found, their options checked, not yet built."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from msgspec import Struct

from outrider_agent.seams import Action, Context, Policy, Source
from outrider_bundle import plugins, settings
from outrider_bundle.errors import OutriderError, UsageError

SOURCES = "outrider.sources"
POLICIES = "outrider.policies"
ACTIONS = "outrider.actions"


class Part(Struct, frozen=True, kw_only=True):
    """A plug-in and its options. `kind` is its name."""

    kind: str
    plugin: Callable[..., object]
    options: Struct

    @property
    def needs_link(self) -> bool:
        """Whether it is of no use without a broker."""
        needs = getattr(self.plugin, "needs_link", False)
        return bool(needs(self.options) if callable(needs) else needs)


def find(group: str, table: object, where: str) -> tuple[Part | None, list[str]]:
    """Return the plug-in of `group` that `table` names, or None and all that is wrong with it.

    Raises:
        MissingExtraError: a library it needs is not installed.
        OutriderError: it is installed but no plug-in of this project.
    """
    if not isinstance(table, Mapping):
        return None, []  # the table's own reader says so
    rest: dict[str, Any] = dict(table)
    kind = rest.pop("kind", None)
    if not isinstance(kind, str):
        return None, [f"{where}.kind: choose one of {', '.join(plugins.names(group))}"]
    try:
        plugins.find(group, kind)
    except UsageError as error:
        return None, [f"{where}.kind: {error}"]
    plugin = plugins.load(group, kind)
    options, faults = settings.convert(rest, _options(kind, plugin), where)
    if options is None:
        return None, faults
    return Part(kind=kind, plugin=cast("Callable[..., object]", plugin), options=options), faults


def source(part: Part, context: Context) -> Source:
    """Build a source.

    Raises:
        OutriderError: it cannot be built.
    """
    built = _built(part, part.options, context)
    if isinstance(built, Source):
        return built
    raise _other(part, "source")


def policy(part: Part) -> Policy:
    """Build a policy.

    Raises:
        OutriderError: it cannot be built.
    """
    built = _built(part, part.options)
    if isinstance(built, Policy):
        return built
    raise _other(part, "policy")


def action(part: Part, context: Context) -> Action:
    """Build an action.

    Raises:
        OutriderError: it cannot be built.
    """
    built = _built(part, part.options, context)
    if isinstance(built, Action):
        return built
    raise _other(part, "action")


def _options(kind: str, plugin: object) -> type[Struct]:
    options = getattr(plugin, "Options", None)
    if callable(plugin) and isinstance(options, type) and issubclass(options, Struct):
        return options
    raise OutriderError(f"The plug-in '{kind}' has no Options struct", "Ask its author for another version")


def _built(part: Part, *arguments: object) -> object:
    try:
        return part.plugin(*arguments)
    except OutriderError:
        raise
    except Exception as error:
        raise OutriderError(f"The plug-in '{part.kind}' does not start: {error!r}") from error


def _other(part: Part, seam: str) -> OutriderError:
    return OutriderError(f"The plug-in '{part.kind}' is no {seam}", "Ask its author for another version")
