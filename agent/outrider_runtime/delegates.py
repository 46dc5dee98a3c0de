"""External delegates of TFLite: a library of the device that takes nodes of a model, as libedgetpu does.

Such a library is native code in our process: one that was built for another TFLite may crash it at any
point of loading or running, which an engine in a process of its own survives.
"""

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path

from outrider_bundle.errors import EngineError

ENTRY_POINTS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")
"""See tensorflow/lite/delegates/external/external_delegate_interface.h."""

Loader = Callable[[str, Mapping[str, str]], object]
"""`load_delegate` of the library in use."""


def load(library: str, settings: Mapping[str, str], loader: Loader, model: Path) -> object:
    """Load a delegate.

    Args:
        library: its soname, or an absolute path.
        settings: its own options.
        loader: makes it.
        model: what it is for. A library beside the model is refused: native code comes with the device,
            where someone installed it, and never in a bundle.

    Raises:
        EngineError: there is no such library, it is no delegate, or it finds no device.
    """
    _demand_installed(library, model)
    _demand_entry_points(library)
    try:
        return loader(library, settings)
    except Exception as error:
        said = _said(error, library)
        if not said:  # as libedgetpu answers
            what = f"The delegate {name(library)} finds no device"
            raise EngineError(what, "Plug it in, and see that this user may open it") from error
        what = f"The delegate {name(library)} does not start: {said}"
        raise EngineError(what, "Set 'delegate_options' as its maker documents them") from error


def name(library: str) -> str:
    """Return how placements name a library: `libedgetpu.so.1` is `edgetpu`."""
    return Path(library).name.partition(".so")[0].removeprefix("lib") or library


def parse(text: str) -> dict[str, str]:
    """Return the options of a delegate from `key=value;key=value`.

    Raises:
        EngineError: a part is not of this form, or a key comes twice.
    """
    settings: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not key or not equals or key in settings:
            what = f"Option 'delegate_options' of the runtime tflite has the part '{part}'"
            raise EngineError(what, "Give key=value;key=value, each key once")
        settings[key] = value
    return settings


def _demand_installed(library: str, model: Path) -> None:
    if "/" not in library:
        return
    path = Path(library)
    if not path.is_absolute():
        what = f"Option 'delegate' of the runtime tflite is the relative path '{library}'"
        raise EngineError(what, "Give an absolute path, or the soname of an installed library")
    if path.resolve().parent == model.resolve().parent:
        what = f"The delegate {path.name} lies beside the model"
        raise EngineError(what, "Install it on the device: native code is not taken from a bundle")


def _demand_entry_points(library: str) -> None:
    # Ahead of the loader, which leaves a half-made object behind whose destructor complains on stderr.
    try:
        opened = ctypes.CDLL(library)
    except OSError as error:
        what = f"The delegate library {library} cannot be loaded: {error}"
        raise EngineError(what, "Install it, or set delegate = '' to run on the CPU") from error
    if not all(hasattr(opened, entry) for entry in ENTRY_POINTS):
        what = f"The library {library} is not a TFLite delegate: it lacks {ENTRY_POINTS[0]}"
        raise EngineError(what, "Give the one that the maker of the device documents for TFLite")


def _said(error: Exception, library: str) -> str:
    lines = str(error).strip().removeprefix(f"Failed to load delegate from {library}").split("\n")
    return next(filter(None, map(str.strip, lines)), "")
