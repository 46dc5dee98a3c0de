"""Where targets come from: the files beside this module, and a user's own."""

from functools import cache
from pathlib import Path

from outrider_bundle import settings
from outrider_bundle.errors import UsageError
from outrider_bundle.faults import near
from outrider_converter.targets.target import Target, contradictions

SUFFIX = ".toml"


@cache
def built_in() -> tuple[Target, ...]:
    """Return the targets that ship with the converter, by name."""
    return tuple(_read(path) for path in sorted(Path(__file__).parent.glob(f"*{SUFFIX}")))


def load_targets(names: tuple[str, ...], folder: Path) -> tuple[Target, ...]:
    """Return the targets that a recipe names, in its order.

    Args:
        names: of built-in targets, or paths that end in `.toml`.
        folder: what relative paths are relative to.

    Raises:
        UsageError: there is no such target or file, two have one name, or a file is wrong; the message
            lists all its faults.
    """
    known = {target.name: target for target in built_in()}
    found: dict[str, Target] = {}
    for name in names:
        target = _read(folder / name) if name.endswith(SUFFIX) else known.get(name)
        if target is None:
            raise UsageError(
                f"There is no target '{name}'; {near(name, known)}",
                "Name one of `outrider convert --list-targets`, or a TOML file of your own",
            )
        if target.name in found:
            raise UsageError(f"Two targets are called '{target.name}'", "Leave one out or rename it")
        found[target.name] = target
    return tuple(found.values())


def _read(path: Path) -> Target:
    target = settings.read(path, Target, UsageError)
    faults = contradictions(target)
    if faults:
        raise UsageError(settings.summary(str(path), faults), settings.CURE)
    return target
