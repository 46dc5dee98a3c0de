"""Swap after swap at 100 frames a second: is a frame lost that was submitted, and does memory grow.

The bundles go round: other weights, then other input shape, labels and runtime, then the first again.
"""

import os
import time
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

from outrider_agent.config import Engine
from outrider_bundle.bars import Row
from proofs.agent.runs import apart, say
from proofs.agent.video import frames
from proofs.engine.plug_ins import Camera, Watch, part
from proofs.engine.running import Agent, Setting, bundles, play

SWAPS, FIRST = 200, 5
"""The same bundle is at work after both: they are a multiple of three apart."""

FPS = 100.0
IMAGES = 8
SETTLE_S = 0.5
ORDER = ("third", "second", "first")
LIBRARY = "onnxruntime_pybind11_state"
NAN = float("nan")


def rows() -> tuple[Row, ...]:
    """Measure both in one run."""
    found = apart(__name__, "measured", {name: str(path) for name, path in bundles().items()}, SWAPS)
    first, last = found["mb"]["first"], found["mb"]["last"]
    load = f"MobileNetV2 on one thread, {FPS:g} frames a second, {SWAPS} overlap swaps round three bundles"
    spoiled = f"; {found['others']} other processes mapped ONNX Runtime: spoiled" if found["others"] else ""
    return (
        Row(
            id="swap.inflight",
            value=found["taken"] - found["decided"],
            sense="==",
            limit=0,
            unit="frames",
            how=(
                f"{load}; {found['taken']} taken, {found['decided']} decided on, {found['late']} late, "
                f"{found['errors']} errors; here {found['gap_ms']:.0f} ms at most between decisions, "
                f"a swap {found['swap_s']:.2f} s"
            ),
        ),
        Row(
            id="swap.rss",
            value=NAN if found["others"] else last / first,
            sense="<=",
            limit=1.05,
            unit="ratio",
            how=(
                f"PSS of supervisor and child after {SWAPS} swaps over after {FIRST}; {load}; here "
                f"{last:.1f} over {first:.1f} MB ({last / first:.4f}){spoiled}"
            ),
        ),
    )


def measured(paths: dict[str, str], swaps: int) -> dict[str, Any]:
    """Swap; return counts, memory in 10^6 bytes and times."""
    camera, watch = Camera([*frames(IMAGES)], FPS), Watch()
    setting = Setting(
        bundle=Path(paths["first"]),
        source=part("camera", camera),
        watches=(watch,),
        engine=Engine(isolation="child", threads=1),
    )

    def scenario(agent: Agent) -> dict[str, Any]:
        mb, others, took_s = {}, 0, []
        for number, name in enumerate(islice(cycle(ORDER), swaps), 1):
            begun_s = time.monotonic()
            agent.swap(Path(paths[name]))
            took_s.append(time.monotonic() - begun_s)
            if number in {FIRST, swaps}:
                time.sleep(SETTLE_S)
                pids = [os.getpid(), int(agent.status()["pid"])]
                mb["first" if number == FIRST else "last"] = sum(map(_pss_mb, pids))
                others = max(others, _strangers(pids))
                say(f"swaps: {number} of {swaps}, {mb}")
        camera.paused = True
        time.sleep(SETTLE_S)
        status = agent.status()
        times_s = watch.decided_s
        gap_s = max(later - at for at, later in pairwise(times_s))
        return {
            "taken": status["frames"],
            "decided": watch.count,
            "late": status["late"],
            "errors": status["errors"],
            "gap_ms": 1000 * gap_s,
            "swap_s": sum(took_s) / len(took_s),
            "mb": mb,
            "others": others,
        }

    return play(setting, scenario)


def _pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"the kernel does not tell the PSS of {pid}")


def _strangers(pids: list[int]) -> int:
    """Return how many other processes map the library, and so share its pages."""
    found = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) not in pids:
            try:
                found += LIBRARY in (folder / "maps").read_text(encoding="utf-8", errors="replace")
            except OSError:  # it has ended, or is not ours to read
                continue
    return found
