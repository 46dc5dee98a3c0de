"""From a variant of a manifest to a session whose tensors are those that the manifest states."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from outrider_bundle import plugins
from outrider_bundle.errors import EngineError, OutriderError
from outrider_bundle.manifest import Scalar, Tensor, Variant
from outrider_runtime.session import Runtime, Session

GROUP = "outrider.runtimes"


def runtime(name: str) -> Runtime:
    """Return the runtime plug-in `name`.

    Raises:
        UsageError: there is none of this name.
        MissingExtraError: its library is not installed.
        EngineError: what is registered is not a runtime.
    """
    plugin = plugins.load(GROUP, name)
    made = plugin() if isinstance(plugin, type) else plugin
    if not isinstance(made, Runtime):
        raise EngineError(f"The plug-in '{name}' is not a runtime: it lacks 'load' or 'exclusive'")
    return made


def exclusive(variant: Variant, options: Mapping[str, Scalar]) -> bool:
    """Return whether `variant` with these options of the device would hold its device alone.

    A runtime for which that depends on the options says so by an optional method `holds(options) -> bool`.

    Raises:
        UsageError: there is no such runtime.
        MissingExtraError: the runtime's library is not installed.
    """
    loader = runtime(variant.runtime)
    holds: Callable[[Mapping[str, Scalar]], bool] | None = getattr(loader, "holds", None)
    return loader.exclusive if holds is None else holds({**variant.options, **options})


def load_variant(
    variant: Variant, files: Mapping[str, Path], options: Mapping[str, Scalar] | None = None
) -> Session:
    """Load a variant and compare the session's tensors with the manifest's.

    Args:
        variant: its own options come first.
        files: role to path.
        options: of the device; they override.

    Raises:
        UsageError: there is no such runtime.
        EngineError: it cannot be loaded, or its files are not what the manifest says.
        MissingExtraError: the runtime's library is not installed.
    """
    loader = runtime(variant.runtime)
    try:
        session = loader.load(files, {**variant.options, **(options or {})})
    except OutriderError:
        raise
    except Exception as error:
        raise EngineError(f"The runtime {variant.runtime} failed to load: {error!r}") from error
    try:
        _compare("input", variant.inputs, session.inputs)
        _compare("output", variant.outputs, session.outputs)
    except EngineError:
        session.close()
        raise
    return session


def _compare(what: str, stated: Sequence[Tensor], found: Sequence[Tensor]) -> None:
    if len(stated) != len(found):
        raise EngineError(f"The file has {len(found)} {what}s and the manifest {len(stated)}")
    for one, other in zip(stated, found, strict=True):
        same = (one.name, one.shape, one.dtype) == (other.name, other.shape, other.dtype)
        if not same or not _same_steps(one, other):
            raise EngineError(
                f"The {what} of the file is {_described(other)}, the manifest's is {_described(one)}",
                "Convert again: files and manifest are not of one conversion",
            )


def _described(tensor: Tensor) -> str:
    steps = tensor.quantization
    scale = f", scale {steps.scale:g}, zero point {steps.zero_point}" if steps else ""
    return f"'{tensor.name}' {tensor.dtype} {tensor.shape}{scale}"


def _same_steps(stated: Tensor, found: Tensor) -> bool:
    if found.quantization is None:  # formats that do not state it, ONNX for one
        return True
    if stated.quantization is None:
        return False
    same_zero = stated.quantization.zero_point == found.quantization.zero_point
    return same_zero and math.isclose(stated.quantization.scale, found.quantization.scale, rel_tol=1e-6)
