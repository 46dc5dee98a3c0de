"""How long after its engine was killed the agent's output is safe, read back from a Modbus server.

All of it is real: the agent and its engine are processes, the server is a third one, and the register is read
by this one. A decision writes to the register ten times a second until the engine is killed.
"""

import os
import random
import signal
import tempfile
import time
from pathlib import Path
from statistics import median

from outrider_bundle.bars import Row
from proofs.agent.runs import say
from proofs.loop import outputs
from proofs.loop.agents import Agent, document, scaled
from proofs.loop.registers import ACTIVE, POLL_S, SAFE, Registers

KILLS, FPS = 15, 10.0
PATIENCE_S = 30.0
SEED = 5
"""Of the moments of the kills: any place between two frames."""


def rows() -> tuple[Row, ...]:
    """Kill the engine again and again; the worst is the value."""
    with tempfile.TemporaryDirectory() as name, Registers(Path(name) / "server.log") as registers:
        folder, found = Path(name), []
        images, bundle = outputs.write_images(folder / "images"), outputs.bundle()
        written = document(folder, [outputs.pipeline(bundle, images, registers.port, FPS)])
        with Agent(folder, written) as agent:
            moment = random.Random(SEED)  # noqa: S311 - no secret
            for _ in range(scaled(KILLS)):
                found.append(_killed_s(agent, registers, moment.uniform(0.3, 0.5)))
                say(f"modbus: safe {found[-1]:.3f} s after the engine was killed")
            restarts = agent.until(lambda status: status["state"] == "RUNNING")["restarts"]
    how = (
        f"kill -9 of the engine to the safe value read back over TCP every {1000 * POLL_S:g} ms from a "
        f"pymodbus server in a process of its own, {FPS:g} frames and writes a second; worst of {len(found)} "
        f"kills, median {median(found):.3f} s; the engine was replaced {restarts} times"
    )
    value = max(found) if restarts >= len(found) else float("nan")
    return (Row(id="modbus.safe", value=value, sense="<=", limit=0.2, unit="s", how=how),)


def _killed_s(agent: Agent, registers: Registers, settle_s: float) -> float:
    """Kill the engine once the output is active; return the seconds until it is safe."""
    before = agent.until(lambda status: status.get("pid") and registers.read() == ACTIVE)
    time.sleep(settle_s)
    assert registers.read() == ACTIVE
    assert before["pid"] != agent.pid
    begun_s = time.monotonic()
    os.kill(before["pid"], signal.SIGKILL)
    took_s = registers.wait(SAFE, PATIENCE_S) - begun_s
    agent.until(lambda status: status["restarts"] > before["restarts"], timeout_s=PATIENCE_S)
    return took_s
