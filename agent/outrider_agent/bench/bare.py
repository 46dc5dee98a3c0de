"""The bare runtime: its library called as its manual says, with nothing of ours where that is possible."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from outrider_bundle.manifest import Scalar, Variant
from outrider_runtime.loading import load_variant
from outrider_runtime.session import Array

Run = Callable[[], object]
"""One inference."""

PLAIN = {"threads", "cache"}
"""Options of the runtime onnx that a session of the library's own has as well, or that change no kernel."""


def bare(
    variant: Variant, files: Mapping[str, Path], options: Mapping[str, Scalar], inputs: Sequence[Array]
) -> Run:
    """Return one inference of `variant` on `inputs`.

    Args:
        variant: its own options come first.
        files: role to path.
        options: of the device; they override.
        inputs: one array per physical input.

    Raises:
        EngineError: it cannot be loaded.
        MissingExtraError: the runtime's library is not installed.
    """
    asked = {**variant.options, **options}
    if variant.runtime == "onnx" and asked.keys() <= PLAIN:
        return _onnx(variant, files["graph"], int(asked.get("threads", 1)), inputs)
    session = load_variant(variant, files, options)
    return lambda: session.run(inputs)


def _onnx(variant: Variant, graph: Path, threads: int, inputs: Sequence[Array]) -> Run:
    """Return `InferenceSession.run` with the threads that the agent has, none of which spins."""
    library: Any = import_module("onnxruntime")
    settings = library.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = library.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
    feed = dict(zip((tensor.name for tensor in variant.inputs), inputs, strict=True))
    return lambda: session.run(None, feed)
