"""How long after the perception deadline every action is in its safe state, whatever keeps the loop blind.

Three cases: the camera gives nothing, the engine hangs in a process of its own, and it hangs in the agent's.
The last leaves the loop's thread behind for good: each round is a process.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from outrider_agent.config import Engine, Isolation
from outrider_bundle.bars import Row
from proofs.agent.runs import apart, say
from proofs.agent.video import frames
from proofs.engine import faulty_onnx
from proofs.engine.plug_ins import Camera, Watch, part
from proofs.engine.running import Agent, Setting, bundles, play

ROUNDS = 5
FPS = 25.0
IMAGES = 8
STALE_S, DEADLINE_S = 0.5, 3.0
"""The engine may take longer than a perception may be old: the loop waits for it when outputs must be."""

MANY = 1000
PATIENCE_S = 10.0


def rows() -> tuple[Row, ...]:
    """Measure all three; the worst is the value."""
    bundle = str(bundles()["faulty"])
    found: dict[str, list[float]] = apart(__name__, "measured", bundle, "child", ROUNDS)
    alone = [apart(__name__, "measured", bundle, "inline", 1)["hang"] for _ in range(ROUNDS)]
    cases = {
        "no frames": found["silence"],
        "hang in a child": found["hang"],
        "hang inline": [s for one in alone for s in one],
    }
    each = ", ".join(
        f"{name} median {1000 * median(s):.0f}, worst {1000 * max(s):.0f} ms of {len(s)}"
        for name, s in cases.items()
    )
    return (
        Row(
            id="fault.safe",
            value=max(max(s) for s in cases.values()),
            sense="<=",
            limit=0.2,
            unit="s",
            how=f"two actions, stale after {STALE_S:g} s, the engine's deadline {DEADLINE_S:g} s: {each}",
        ),
    )


def measured(bundle: str, isolation: Isolation, rounds: int) -> dict[str, list[float]]:
    """Return the seconds from the perception deadline to the last action's safe state."""
    camera, watches = Camera([*frames(IMAGES)], FPS), (Watch(), Watch())
    with tempfile.TemporaryDirectory() as name:
        trigger = Path(name) / "fault"
        faulty_onnx.use(Path(name) / "plug-ins")
        options: dict[str, Any] = {faulty_onnx.NAME: {faulty_onnx.TRIGGER: str(trigger)}}
        engine = Engine(
            isolation=isolation,
            deadline_ms=1000 * DEADLINE_S,
            threads=1,
            failures=MANY,
            options=options,
        )
        setting = Setting(
            bundle=Path(bundle),
            source=part("camera", camera),
            watches=watches,
            engine=engine,
            stale_s=STALE_S,
        )

        def scenario(agent: Agent) -> dict[str, list[float]]:
            found: dict[str, list[float]] = {"silence": [], "hang": []}
            agent.until(lambda _: watches[0].count)
            for _ in range(rounds):
                if isolation == "child":
                    camera.paused = True
                    found["silence"].append(_safe_s(watches))
                    camera.paused = False
                    agent.until(lambda status: status["state"] == "RUNNING")
                faulty_onnx.tell(trigger, "hang")
                found["hang"].append(_safe_s(watches))
                if isolation == "child":
                    agent.until(lambda status: status["state"] == "RUNNING")
            say(f"safe: {isolation} {found}")
            return found

        return play(setting, scenario)


def _safe_s(watches: tuple[Watch, ...]) -> float:
    """Wait until all outputs are safe; return how long after the perception deadline the last was."""
    since_s = time.monotonic()
    while time.monotonic() < since_s + PATIENCE_S:
        safe_s = [watch.safe_after(since_s) for watch in watches]
        if all(at_s is not None for at_s in safe_s):
            deadline_s = min(watch.last_taken_s for watch in watches) + STALE_S
            return max(at_s for at_s in safe_s if at_s is not None) - deadline_s
        time.sleep(0.005)
    raise RuntimeError(f"outputs were not safe within {PATIENCE_S:g} s")
