"""Plug-ins, loaded: a library whose driver is broken ends or hangs this process, so it is a child's."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from outrider_agent.doctor.row import Row
from outrider_bundle import plugins
from outrider_bundle.errors import MissingExtraError, OutriderError, UsageError

RUNTIMES = "outrider.runtimes"

PARTS = {
    RUNTIMES: "runtime",
    "outrider.sources": "source",
    "outrider.policies": "policy",
    "outrider.actions": "action",
}
"""What a plug-in of each group is called."""

CHECKED = ("load", "exclusive")
"""What makes a plug-in a runtime."""


def plug_in(group: str, name: str) -> Row:
    """Load the plug-in `name` of `group` and say what it brings."""
    part = PARTS[group]
    try:
        loaded = plugins.load(group, name)
        brings = _brings(group, name, loaded)
    except MissingExtraError as error:
        return Row(part=part, name=name, state="missing", detail=error.what, cure=error.cure)
    except UsageError as error:
        cure = f"Install the package that brings it. {error.cure}"
        return Row(part=part, name=name, state="missing", detail=error.what, cure=cure)
    except OutriderError as error:
        return Row(part=part, name=name, state="problem", detail=error.what, cure=error.cure)
    except Exception as error:  # noqa: BLE001 - whatever a library or its driver raises is the finding
        cure = "Install its library again, and the driver that it is for"
        return Row(part=part, name=name, state="problem", detail=f"it fails: {error!r}", cure=cure)
    return Row(part=part, name=name, state="ok", detail=brings)


def _brings(group: str, name: str, loaded: object) -> str:
    if group == RUNTIMES:
        lacks = [attribute for attribute in CHECKED if not hasattr(loaded, attribute)]
        if lacks:
            raise OutriderError(f"It is no runtime: it lacks {' and '.join(lacks)}", "Ask its author")
        if name in KNOWN:
            return KNOWN[name]()
    point = plugins.find(group, name)
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _onnx() -> str:
    library = _imported("onnxruntime")
    return f"onnxruntime {library.__version__}; {', '.join(library.get_available_providers())}"


def _tflite() -> str:
    """Say which of the two packages is there; delegates are libraries of the system, see `accelerators`."""
    for module, package in (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime")):
        if find_spec(module) is not None:
            return f"{package} {_version(package)}; XNNPACK"
    return "built in"


def _openvino() -> str:
    library = _imported("outrider_runtime.untracked").openvino
    return f"openvino {_version('openvino')}; {', '.join(library.Core().available_devices)}"


KNOWN: Mapping[str, Callable[[], str]] = {"onnx": _onnx, "openvino": _openvino, "tflite": _tflite}


def _imported(module: str) -> Any:  # noqa: ANN401 - untyped libraries
    return import_module(module)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"
