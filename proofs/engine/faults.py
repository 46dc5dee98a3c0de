"""How long a fault of the engine keeps the loop from deciding: hang, segfault, abort, out of memory.

The model is a real one behind `faulty_onnx`, which strikes once in a run; what a replacement costs is ending
the process, starting another, loading and proving. A hang counts from the deadline of the run that hangs, a
crash from the moment when it strikes.
"""

import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from outrider_agent.config import Engine
from outrider_bundle.bars import Row
from proofs.agent.runs import apart, say
from proofs.agent.video import frames
from proofs.engine import faulty_onnx, memory_limit
from proofs.engine.plug_ins import Camera, Watch, part
from proofs.engine.running import Agent, Setting, bundles, play

ROUNDS = 7
FPS = 25.0
IMAGES = 8
SETTLED_S = 0.5
DEADLINE_S = Engine().deadline_ms / 1000.0
MANY = 1000
"""Failures in a row: after the usual three the only variant would rest, and each fault here stands alone."""

CRASHES = ("segfault", "abort", "memory")


def rows() -> tuple[Row, ...]:
    """Measure all of them; the worst is the value."""
    found: dict[str, list[float]] = apart(__name__, "measured", str(bundles()["faulty"]), ROUNDS)
    crashes = [s for name in CRASHES for s in found[name]]
    load = f"MobileNetV2 on one thread, {FPS:g} frames a second, failures = {MANY}, else defaults; "
    each = ", ".join(f"{name} {_spread(found[name])}" for name in CRASHES)
    return (
        Row(
            id="fault.hang",
            value=max(found["hang"]),
            sense="<=",
            limit=2.0,
            unit="s",
            how=f"{load}deadline of the hanging run to the next decision: {_spread(found['hang'])}",
        ),
        Row(
            id="fault.crash",
            value=max(crashes),
            sense="<=",
            limit=2.0,
            unit="s",
            how=f"{load}from the fault to the next decision: {each}; memory: {memory_limit.how()}",
        ),
    )


def measured(bundle: str, rounds: int) -> dict[str, list[float]]:
    """Return the seconds without a decision, by fault."""
    with tempfile.TemporaryDirectory() as name:
        trigger = Path(name) / "fault"
        faulty_onnx.use(Path(name) / "plug-ins")
        watch = Watch()
        options: Mapping[str, Any] = {faulty_onnx.NAME: {faulty_onnx.TRIGGER: str(trigger)}}
        setting = Setting(
            bundle=Path(bundle),
            source=part("camera", Camera([*frames(IMAGES)], FPS)),
            watches=(watch,),
            engine=Engine(isolation="child", threads=1, failures=MANY, options=dict(options)),
        )

        def scenario(agent: Agent) -> dict[str, list[float]]:
            found: dict[str, list[float]] = {}
            for _ in range(rounds):
                for fault in ("hang", *CRASHES):
                    found.setdefault(fault, []).append(_strike(agent, watch, trigger, fault))
            return found

        return play(setting, scenario)


def _strike(agent: Agent, watch: Watch, trigger: Path, fault: str) -> float:
    """Let the engine fail once; return the seconds that count until the next decision."""
    before = agent.until(lambda status: status["state"] == "RUNNING" and status["pid"])
    time.sleep(SETTLED_S)
    limited: AbstractContextManager[None] = nullcontext()
    if fault == "memory":
        fault = "allocate" if memory_limit.there() else "kill"
        limited = memory_limit.limited(before["pid"]) if memory_limit.there() else limited
    with limited:
        faulty_onnx.tell(trigger, fault)
        while trigger.exists():
            time.sleep(0.0005)
        begun_s = time.monotonic()
        agent.until(lambda status: status["restarts"] > before["restarts"])
    agent.until(lambda _: watch.last_s > begun_s)
    decided_s = watch.first_after(begun_s)
    took_s = decided_s - begun_s - (DEADLINE_S if fault == "hang" else 0.0)
    say(f"faults: {fault} {took_s:.3f} s")
    return took_s


def _spread(found: list[float]) -> str:
    return f"median {median(found):.2f}, worst {max(found):.2f} s of {len(found)}"
