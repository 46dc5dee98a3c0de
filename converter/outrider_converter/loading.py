"""What a recipe names as `module:name`, found beside the recipe first."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from outrider_bundle.errors import DataError


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Let modules in `folder` be imported, before installed ones of the same name."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _forget_others(folder: Path) -> None:
    """Drop imported top-level modules that hide one of the same name in `folder`."""
    for path in folder.iterdir():
        name = path.stem if path.suffix == ".py" else path.name
        module = sys.modules.get(name)
        source = getattr(module, "__file__", None)
        if module is not None and source and folder.resolve() not in Path(source).resolve().parents:
            del sys.modules[name]


def load_object(reference: str, folder: Path, cure: str = "") -> object:
    """Import and return what `module:name` names.

    Args:
        reference: as the recipe has it.
        folder: the recipe's; its modules come first.
        cure: what the recipe offers as a cure.

    Raises:
        DataError: the module cannot be imported or has no such name.
    """
    module_name, _, name = reference.partition(":")
    if (folder / f"{module_name.partition('.')[0]}.py").exists():
        _forget_others(folder)
    with beside(folder):
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:  # some scripts end themselves
            raise DataError(
                f"'{reference}' cannot be imported: {describe(error)}",
                cure or f"Put {module_name}.py beside the recipe, or install the package",
            ) from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        known = ", ".join(sorted(n for n in vars(module) if not n.startswith("_"))[:12])
        raise DataError(f"{module_name} has no '{name}'", f"It has: {known}") from error


def call(reference: str, folder: Path, cure: str = "") -> object:
    """Load what `reference` names, call it without arguments and return its result.

    Raises:
        DataError: it cannot be loaded, is not callable, or failed.
    """
    function = load_object(reference, folder, cure)
    if not callable(function):
        raise DataError(f"'{reference}' is not callable", "Name a function that takes no arguments")
    try:
        with beside(folder):
            return function()
    except (Exception, SystemExit) as error:
        raise DataError(
            f"'{reference}' failed: {describe(error)}", cure or "Run it by itself to see where"
        ) from error


def describe(error: BaseException) -> str:
    """Return an exception as part of a sentence, one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
