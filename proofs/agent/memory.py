"""Resident memory of the agent over that of the shortest program that runs the same model.

From `/proc/PID/smaps_rollup`. PSS shares a page among all processes that map it, so nothing else may map
the same libraries meanwhile: that is looked for and would spoil the figure.
"""

import os
import statistics
import tempfile
from functools import partial
from pathlib import Path

from outrider_bundle.bars import Row
from outrider_bundle.messages.telemetry import Telemetry
from proofs.agent import daemons
from proofs.agent.runs import bundles, family, say
from tests.fakes.broker import Broker, Listener

ROUNDS = 3
MODEL = "mobilenet"
FPS = 20.0
FRAMES = 100
"""So many frames went through before it is looked."""

LIBRARY = "onnxruntime_pybind11_state"
KB_PER_MB = 1000 / 1.024
NAN = float("nan")


def rows() -> tuple[Row, ...]:
    """Measure both ways of isolation."""
    bundles()
    found: dict[str, list[float]] = {"bare": [], "inline": [], "child": [], "child.supervisor": []}
    others: set[int] = set()
    with tempfile.TemporaryDirectory() as name, Broker(Path(name) / "broker") as broker:
        graph = daemons.graph(MODEL, Path(name))
        for number in range(ROUNDS):
            say(f"memory: round {number + 1} of {ROUNDS}")
            with daemons.bare(graph) as pid:
                found["bare"].append(_mb(pid, "Rss"))
            for way in ("inline", "child"):
                config = daemons.write_config(Path(name), MODEL, broker.url, way, FPS)
                ears = Listener(broker.port, name=f"memory-{number}-{way}")
                with daemons.agent(config) as pid, ears:
                    daemons.until(partial(_enough, ears), f"{FRAMES} frames of {way}")
                    pids = family(pid)
                    others |= _mapping(LIBRARY) - set(pids)
                    part = "Rss" if way == "inline" else "Pss"
                    found[way].append(sum(_mb(one, part) for one in pids))
                    if way == "child":
                        found["child.supervisor"].append(_mb(pid, part))
    mb = {name: statistics.median(values) for name, values in found.items()}
    how = f"{MODEL}, link and telemetry on, after {FRAMES} frames, median of {ROUNDS} starts; here"
    alone = f"; {len(others)} other processes mapped ONNX Runtime: spoiled" if others else ""
    return (
        Row(
            id="rss.inline",
            value=mb["inline"] / mb["bare"],
            sense="<=",
            limit=1.25,
            unit="ratio",
            how=f"RSS, {how} {mb['inline']:.0f} over {mb['bare']:.0f} MB",
        ),
        Row(
            id="pss.child",
            value=NAN if others else mb["child"] / mb["bare"],
            sense="<=",
            limit=1.6,
            unit="ratio",
            how=(
                f"PSS of both processes over RSS, {how} {mb['child.supervisor']:.0f} + "
                f"{mb['child'] - mb['child.supervisor']:.0f} over {mb['bare']:.0f} MB "
                f"({mb['child'] / mb['bare']:.3f}){alone}"
            ),
        ),
    )


def _mb(pid: int, what: str) -> float:
    """Return `Rss` or `Pss` of a process in 10^6 bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / KB_PER_MB
    raise RuntimeError(f"the kernel does not tell {what} of {pid}")


def _enough(ears: Listener) -> bool:
    """Whether telemetry has told of as many frames as are wanted."""
    told = sum(p.frames for t in ears.messages("telemetry", Telemetry) for p in t.pipelines.values())
    return told >= FRAMES


def _mapping(library: str) -> set[int]:
    """Return the processes that map `library`."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                mapped = library in (folder / "maps").read_text(encoding="utf-8", errors="replace")
            except OSError:  # it has ended, or is not ours to read
                continue
            if mapped:
                found.add(int(folder.name))
    return found
