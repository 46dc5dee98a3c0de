"""How long after a SIGKILL of the supervisor its output is safe, read back from a Modbus server.

Nobody is left then to make it safe but the unit's ExecStopPost. It is run by a real systemd in a container
where that can be had, and by a stand-in everywhere: see `container` and `unit`.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from msgspec import Struct

from outrider_bundle.bars import Row
from outrider_fleet import lifeline
from proofs.agent.runs import one_thread, say
from proofs.agent.video import ROOT
from proofs.loop import container, outputs
from proofs.loop.agents import document, scaled, write
from proofs.loop.registers import ACTIVE, POLL_S, SAFE, Registers
from proofs.loop.unit import running, searched

KILLS = 5
NEVER_SAFE = {"crashes": 0}
"""Of `[safe_mode]`: so many kills in a row would otherwise end in an agent without its loop."""

FPS = 10.0
START_S, PATIENCE_S = 60.0, 20.0
SEED = 6
STATE, FILES = "/var/lib/outrider", Path("/opt/outrider/proof")


class Found(Struct, frozen=True, kw_only=True):
    """Seconds until safe, and under what."""

    under: str
    times_s: list[float]


def rows() -> tuple[Row, ...]:
    """Kill under both; the worst under systemd is the value, or under the stand-in if there is no systemd."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = outputs.write_images(folder / "images")
        why = container.missing()
        found = []
        if not why:
            try:
                found.append(_systemd(folder / "systemd", images))
            except RuntimeError as error:
                why = str(error)
        found.append(_stand_in(folder / "stand-in", images))
    missing = f"no systemd here: {why}; " if why else ""
    each = "; ".join(
        f"under {one.under}: worst {max(one.times_s):.2f}, median {median(one.times_s):.2f} s of "
        f"{len(one.times_s)} kills"
        for one in found
    )
    how = (
        f"kill -9 of the supervisor to the safe value read back over TCP every {1000 * POLL_S:g} ms from a "
        f"pymodbus server; {missing}{each}"
    )
    return (Row(id="safe.sigkill", value=max(found[0].times_s), sense="<=", limit=3.0, unit="s", how=how),)


def _systemd(folder: Path, images: Path) -> Found:
    """Kill in the container.

    Raises:
        RuntimeError: the unit does not come up there.
    """
    folder.mkdir()
    with Registers(folder / "server.log") as registers:
        pipeline = outputs.pipeline(FILES / "proof.orb", FILES / "images", registers.port, FPS)
        written = document(folder, [pipeline], safe_mode=NEVER_SAFE)
        written["device"]["state_dir"] = STATE
        text = write(folder / "agent.toml", written).read_text(encoding="utf-8")
        files = {str(FILES / "images" / path.name): path for path in images.iterdir()}
        files[str(FILES / "proof.orb")] = outputs.bundle()
        with container.Container(folder, text, files) as machine:
            try:
                times_s = _kills(machine.agent, registers)
            except RuntimeError as error:
                raise RuntimeError(f"{error}; {machine.words()}") from error
    relaxed = f"but {', '.join(machine.relaxed)}" if machine.relaxed else "unchanged"
    return Found(
        under=f"{container.version()} in a systemd-nspawn container, the unit {relaxed}", times_s=times_s
    )


def _stand_in(folder: Path, images: Path) -> Found:
    """Kill under the stand-in."""
    folder.mkdir()
    with Registers(folder / "server.log") as registers:
        pipeline = outputs.pipeline(outputs.bundle(), images, registers.port, FPS)
        config = write(folder / "agent.toml", document(folder, [pipeline], safe_mode=NEVER_SAFE))
        command = [sys.executable, "-m", "proofs.loop.unit", str(config)]
        with (folder / "log").open("wb") as log:
            process = lifeline.spawn(
                command, stderr=log, stdout=log, env={**one_thread(), "PYTHONPATH": searched(ROOT)}
            )
        try:
            run = ["agent", "run", "--config", str(config)]
            times_s = _kills(lambda: running(process.pid, run), registers)
        finally:
            process.kill()  # the agent and its engine die with it
            process.wait()
    return Found(
        under="a STAND-IN for systemd that runs the unit's ExecStart and ExecStopPost", times_s=times_s
    )


def _kills(agent: Callable[[], int | None], registers: Registers) -> list[float]:
    """Kill whatever `agent` finds, once its output is active; return the seconds until it is safe."""
    moment, found = random.Random(SEED), []  # noqa: S311 - no secret
    for _ in range(scaled(KILLS)):
        registers.wait(ACTIVE, START_S)
        time.sleep(moment.uniform(0.3, 0.5))
        pid = agent()
        if pid is None or registers.read() != ACTIVE:
            raise RuntimeError("no agent is at work that could be killed")
        begun_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        found.append(registers.wait(SAFE, PATIENCE_S) - begun_s)
        say(f"sigkill: safe {found[-1]:.3f} s after the supervisor was killed")
    return found
