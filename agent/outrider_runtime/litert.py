"""LiteRT's Python library, or its predecessor `tflite_runtime` where only that is installed.

Both have one interface. `ai_edge_litert` is preferred: its kernels are newer. `tflite_runtime` is a
fifth of the size and runs delegates that were built for TFLite of its time; it was compiled for
numpy 1, and with numpy 2 it imports and then fails at the first call.
"""

from importlib import import_module
from typing import Any

import numpy as np

from outrider_bundle.errors import EngineError


def find() -> Any:  # noqa: ANN401 - untyped library
    """Return the module that has `Interpreter`, `OpResolverType` and `load_delegate`.

    Raises:
        ModuleNotFoundError: neither library is installed; it names the preferred one.
        EngineError: the library cannot work with this numpy.
    """
    try:
        return import_module("ai_edge_litert.interpreter")
    except ModuleNotFoundError as missing:
        try:
            older = import_module("tflite_runtime.interpreter")
        except ModuleNotFoundError:
            raise missing from None
    if not np.__version__.startswith("1."):
        what = f"tflite_runtime does not work with numpy {np.__version__}"
        raise EngineError(what, "Install 'numpy<2', or use LiteRT instead: pip install 'outrider[tflite]'")
    return older
