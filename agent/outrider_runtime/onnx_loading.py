"""From an ONNX file to a session of ONNX Runtime, by way of a cached optimized graph where there is one.

Optimizing is most of the work of loading. What it makes is for one processor and one version of the library,
so it is kept on the device: a small graph beside its weights, which the library maps and does not copy. The
cached file is what runs from the first load on, so golden vectors prove the very graph of later starts.
"""

import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read on import; it would report its use to a server

import onnxruntime as ort
from msgspec import Struct

from outrider_bundle.errors import EngineError
from outrider_runtime.cache import Cache
from outrider_runtime.checked import first_line
from outrider_runtime.onnx_providers import CPU, Provider

LEVELS = {
    "full": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
GRAPH, WEIGHTS = "graph", "weights"
EXTERNAL_BYTES = 1024
"""Tensors from here on are kept apart; shapes and axes must stay in the graph, and are smaller."""

LOCATION = b"\n\x08location\x12"
"""How a tensor's `external_data` begins to name a file: `StringStringEntryProto` in onnx.proto."""


class Request(Struct, frozen=True, kw_only=True):
    """What to load and how.

    Args:
        files: `graph` and, where they are apart, `weights` in the same folder.
        providers: in order of preference; all are built into the library.
        threads: intra-op threads.
        level: one of `LEVELS`.
        cache: folder of optimized graphs; empty for none.
    """

    files: Mapping[str, Path]
    providers: tuple[Provider, ...]
    threads: int
    level: str
    cache: str = ""

    @property
    def cacheable(self) -> bool:
        """Whether the graph is optimized for the CPU, and its content is that of `files` alone."""
        wanted = self.cache and self.level == "full" and [one.name for one in self.providers] == [CPU]
        if not wanted:
            return False
        weights = self.files.get("weights")
        return _locations(self.files["graph"]) <= ({weights.name.encode()} if weights else set())


def available() -> list[str]:
    """Return the names of the providers that are built into the library."""
    return list(ort.get_available_providers())


def load(request: Request) -> Any:  # noqa: ANN401 - untyped library
    """Return a session.

    Raises:
        EngineError: the library cannot load the file, or not with these providers.
    """
    session = _cached(request) if request.cacheable else None
    if session is None:
        session = _session(request, request.files["graph"], settings(request))
    names = [provider.name for provider in request.providers]
    if session.get_providers()[: len(names)] != names:
        # The library prints a warning and goes on without the provider.
        what = f"ONNX Runtime has {', '.join(session.get_providers())} and not {', '.join(names)}"
        raise EngineError(what, f"Mend its driver, or ask for providers = '{CPU}'")
    return session


def settings(request: Request) -> Any:  # noqa: ANN401 - untyped library
    """Return session options: threads that do not spin, no printing, nodes counted."""
    made = ort.SessionOptions()
    made.intra_op_num_threads = request.threads
    made.inter_op_num_threads = 1
    made.log_severity_level = 4  # its errors reach us as exceptions; they need not be printed too
    made.graph_optimization_level = LEVELS[request.level]
    entries = {
        "session.intra_op.allow_spinning": "0",
        "session.inter_op.allow_spinning": "0",
        "session.record_ep_graph_assignment_info": "1",
    }
    if CPU not in [provider.name for provider in request.providers]:
        entries["session.disable_cpu_ep_fallback"] = "1"
    for key, value in entries.items():
        made.add_session_config_entry(key, value)
    return made


def said(error: Exception) -> str:
    """Return what ONNX Runtime says, without its own codes."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first_line(error))


def _cached(request: Request) -> Any:  # noqa: ANN401 - untyped library
    """Return a session of the optimized graph, or None where none can be kept or read."""
    cache = Cache(Path(request.cache))
    facts = ("onnx", ort.__version__, ort.get_build_info(), str(request.providers[0]), request.level)
    entry = cache.entry(facts, request.files, lambda folder: _optimize(request, folder))
    if entry is None:
        return None
    done = settings(request)
    done.graph_optimization_level = LEVELS["disabled"]
    try:
        return _session(request, entry / GRAPH, done)
    except EngineError as error:
        cache.drop(entry, error)
        return None


def _optimize(request: Request, folder: Path) -> None:
    chosen = settings(request)
    chosen.optimized_model_filepath = str(folder / GRAPH)
    key = "session.optimized_model_external_initializers_"
    chosen.add_session_config_entry(key + "file_name", WEIGHTS)
    chosen.add_session_config_entry(key + "min_size_in_bytes", str(EXTERNAL_BYTES))
    _session(request, request.files["graph"], chosen)


def _session(request: Request, graph: Path, chosen: Any) -> Any:  # noqa: ANN401 - untyped library
    providers = [(one.name, one.options) if one.options else one.name for one in request.providers]
    try:
        # By its path: a graph that is given as bytes is kept in memory twice. Without its own fallback, which
        # prints to stdout and takes the CPU.
        return ort.InferenceSession(str(graph), chosen, providers=providers, enable_fallback=0)
    except Exception as error:
        raise EngineError(f"ONNX Runtime does not load {graph.name}: {said(error)}") from error


def _locations(graph: Path) -> set[bytes]:
    """Return the names of the files beside it that a graph takes tensors from."""
    try:
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _named(content)
    except (OSError, ValueError):  # missing or empty: loading says so
        return set()


def _named(content: mmap.mmap) -> set[bytes]:
    found, at = set(), content.find(LOCATION)
    while at >= 0:
        start = at + len(LOCATION) + 1
        found.add(content[start : start + content[start - 1]])
        at = content.find(LOCATION, start)
    return found
