"""Plug-in discovery by entry points, one name at a time and never by importing them all."""

from importlib.metadata import EntryPoint, entry_points

from outrider_bundle.errors import MissingExtraError, OutriderError, UsageError


def names(group: str) -> tuple[str, ...]:
    """Return the sorted names registered in `group`; imports none of them."""
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def find(group: str, name: str) -> EntryPoint:
    """Return the entry point `name` of `group`.

    Raises:
        UsageError: no such plug-in; the message lists what there is.
    """
    for point in entry_points(group=group, name=name):
        return point
    kind = group.rpartition(".")[2]
    installed = ", ".join(names(group)) or "none"
    raise UsageError(f"There is no '{name}' among the {kind}", f"Installed: {installed}")


def load(group: str, name: str) -> object:
    """Import and return the plug-in `name` of `group`; an extra is called like its plug-in.

    Raises:
        UsageError: no such plug-in.
        MissingExtraError: a library it needs is not installed.
        OutriderError: the plug-in itself cannot be imported.
    """
    point = find(group, name)
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"'{name}' needs {error.name}, which is not installed", name) from error
    except (ImportError, AttributeError) as error:
        raise OutriderError(f"The plug-in '{name}' ({point.value}) does not load: {error}") from error
