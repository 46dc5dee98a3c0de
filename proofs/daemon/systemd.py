"""What a real systemd does with the agent's unit: its watchdog, and its ExecStopPost behind a SIGKILL.

The unit runs in a container, see `proofs.loop.container`; what it decides is read back from a Modbus server.
Only the watchdog's period is shorter there, so that nobody waits for half a minute. A camera goes dark and a
policy hangs when a file tells them to, see `plug_ins`. Without root or systemd-nspawn nothing is measured:
the rows say so and fail.
"""

import os
import re
import signal
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from outrider_bundle.bars import Row
from proofs.agent.daemons import until
from proofs.agent.runs import say
from proofs.agent.video import ROOT
from proofs.daemon import plug_ins
from proofs.loop import container, outputs
from proofs.loop.agents import document, write
from proofs.loop.container import Container
from proofs.loop.registers import ACTIVE, SAFE, Registers
from proofs.loop.unit import CONFIG, PROGRAM

WATCHDOG_S = 5.0
PERIODS = 3
"""So long a dark camera must not restart the agent, and a hanging loop must have."""

FPS, STALE_S, IDLE_S = 10.0, 1.0, 0.5
START_S, PATIENCE_S = 90.0, 20.0
LOOK_S = 0.1
STATE, FILES = Path("/var/lib/outrider"), Path("/opt/outrider/proof")
DARK, HANG = STATE / "dark", STATE / "hang"
SAFE_MODE = {"crashes": 3, "stable_s": 600.0}
"""The usual number of crashes; the watchdog makes one of them, and none is forgotten however slow this is."""
LINES = (f"WatchdogSec={WATCHDOG_S:g}",)
MADE_SAFE = re.compile(r"proof/modbus: safe\b")
"""What ExecStopPost says of the output."""
TIMED_OUT = re.compile(r"outrider-agent\.service: Watchdog timeout")


class Found(Struct, frozen=True, kw_only=True):
    """What came of a claim: what was seen, in words, and what was not as it should be."""

    seen: str
    faults: tuple[str, ...]

    def row(self, name: str, how: str) -> Row:
        """Return the row: 1 if there is no fault."""
        told = f"; NOT SO: {'; '.join(self.faults)}" if self.faults else ""
        value = 0.0 if self.faults else 1.0
        return Row(id=name, value=value, sense="==", limit=1.0, unit="", how=f"{how}: {self.seen}{told}")


class Unit:
    """The unit in the container, and the output that it drives."""

    def __init__(self, machine: Container, registers: Registers) -> None:
        """Look at both."""
        self.machine, self.registers = machine, registers

    def ready(self, other_than: int = 0) -> int:
        """Wait until an agent has said READY=1 and decides; return its process id.

        Args:
            other_than: the agent that was there before.

        Raises:
            RuntimeError: there is none in time.
        """
        until(lambda: self.agent not in {0, other_than}, "another agent", START_S)
        until(self._active, "an agent that has said READY=1", START_S)
        self.registers.wait(ACTIVE, PATIENCE_S)
        return self.agent

    @property
    def agent(self) -> int:
        """The agent's process id on this system; 0 if there is none."""
        return self.machine.agent() or 0

    @property
    def restarts(self) -> int:
        """How often systemd has started it again."""
        return int(self.machine.show("NRestarts").get("NRestarts", "-1"))

    @property
    def status(self) -> str:
        """What the agent has said last by STATUS=."""
        time.sleep(LOOK_S)
        return self.machine.show("StatusText").get("StatusText", "")

    def _active(self) -> bool:
        """Return whether a unit of Type=notify is active, which it is by READY=1 only."""
        time.sleep(LOOK_S)
        told = self.machine.show("Type", "ActiveState", "SubState")
        return (told.get("Type"), told.get("ActiveState"), told.get("SubState")) == (
            "notify",
            "active",
            "running",
        )


def rows() -> tuple[Row, ...]:
    """Boot the container once, and let both happen in it."""
    with tempfile.TemporaryDirectory() as name:
        why = container.missing()
        if why:
            return _unseen(f"NOT MEASURED, there can be no container here: {why}")
        try:
            return _measured(Path(name))
        except RuntimeError as error:
            return _unseen(str(error))


def _unseen(why: str) -> tuple[Row, ...]:
    say(f"systemd: {why}")
    none = Found(seen="nothing", faults=(why,))
    return tuple(none.row(name, "a systemd container") for name in ("systemd.watchdog", "systemd.safe"))


def _measured(folder: Path) -> tuple[Row, ...]:
    files = {str(FILES / "proof.orb"): outputs.bundle()}
    images = outputs.write_images(folder / "images")
    files |= {str(FILES / "images" / path.name): path for path in images.iterdir()}
    for name, text in plug_ins.POINTS.items():
        (folder / name).write_text(text, encoding="utf-8")
        files[str(FILES / plug_ins.FOLDER / name)] = folder / name
    with Registers(folder / "server.log") as registers:
        written = document(folder, [_pipeline(registers.port), _sleeper()], safe_mode=SAFE_MODE)
        written["device"]["state_dir"] = STATE
        config = write(folder / "agent.toml", written).read_text(encoding="utf-8")
        with Container(folder, config, files, [FILES, ROOT], LINES) as machine:
            unit = Unit(machine, registers)
            try:
                watchdog = _watchdog(unit)
                safe, rests = _safe(unit), _rests(unit)
            except RuntimeError as error:
                raise RuntimeError(f"{error}; {machine.words()}") from error
    relaxed = ", ".join([*LINES, *machine.relaxed])
    how = f"{container.version()} in a systemd-nspawn container, the unit but {relaxed}, proof plug-ins"
    both = Found(seen=f"{safe.seen}; {rests.seen}", faults=(*safe.faults, *rests.faults))
    return watchdog.row("systemd.watchdog", how), both.row("systemd.safe", how)


def _pipeline(port: int) -> dict[str, object]:
    """Return a pipeline whose camera and policy do as files tell them."""
    usual = outputs.pipeline(FILES / "proof.orb", FILES / "images", port, FPS)
    return {
        **usual,
        "source": {"kind": "proof-camera", "path": FILES / "images", "fps": FPS, "dark": DARK},
        "policy": {"kind": "proof-policy", "key": "level", "value": ACTIVE, "hang": HANG},
        "stale_s": STALE_S,
        "idle_s": IDLE_S,
    }


def _sleeper() -> dict[str, object]:
    """Return a second pipeline, whose camera is always dark and which waits longer than the watchdog does."""
    camera = {"kind": "proof-camera", "path": FILES / "images", "fps": FPS, "dark": FILES / "proof.orb"}
    engine = {"isolation": "child", "threads": 1}
    bundle, idle_s = FILES / "proof.orb", PERIODS * WATCHDOG_S
    return {"id": "sleeper", "bundle": bundle, "source": camera, "engine": engine, "idle_s": idle_s}


def _watchdog(unit: Unit) -> Found:
    """Let the camera go dark, and nothing happens; let the loop hang, and systemd starts another agent."""
    begun_s = time.monotonic()
    pid = unit.ready()
    say(f"systemd: READY=1 and decisions after {time.monotonic() - begun_s:.1f} s")
    idle = _dark(unit, pid)
    hung, words = _hang(unit, unit.ready())
    seen = (
        f"READY=1 seen and decided; camera dark for {PERIODS * WATCHDOG_S:g} s, outputs safe, the same agent "
        f"after it and decisions again, beside a pipeline that waits as long for a frame and gets none; then "
        f"the loop of the first one hung: {words}"
    )
    return Found(seen=seen, faults=(*idle, *hung))


def _dark(unit: Unit, pid: int) -> list[str]:
    """Return what was wrong while the camera gave nothing for three periods, and after it."""
    faults, restarts = [], unit.restarts
    dark = unit.machine.inside(DARK)
    dark.touch()
    end_s = time.monotonic() + PERIODS * WATCHDOG_S
    unit.registers.wait(SAFE, PATIENCE_S)
    while time.monotonic() < end_s:
        if unit.agent != pid:
            faults.append("a dark camera restarted the agent")
            break
        time.sleep(LOOK_S)
    dark.unlink()
    unit.registers.wait(ACTIVE, PATIENCE_S)
    if (unit.agent, unit.restarts) != (pid, restarts) and not faults:
        faults.append("another agent decides once the camera gives frames again")
    say(f"systemd: camera dark for {PERIODS * WATCHDOG_S:g} s, {len(faults)} restarts")
    return faults


def _hang(unit: Unit, pid: int) -> tuple[list[str], str]:
    """Return what was wrong about a loop that hung, and what was seen of it."""
    restarts, told = unit.restarts, len(unit.machine.said())
    hang = unit.machine.inside(HANG)
    hang.touch()
    until(lambda: not hang.exists(), "a policy that hangs", PATIENCE_S)
    begun_s = time.monotonic()
    safe_s = unit.registers.wait(SAFE, PATIENCE_S) - begun_s
    faults = [] if unit.agent == pid else ["the agent has ended before its outputs were safe"]
    until(lambda: unit.agent != pid, "an end of the agent whose loop hangs", START_S)
    ended_s = time.monotonic() - begun_s
    until(lambda: unit.agent != 0, "an agent in its place", START_S)
    new_s = time.monotonic() - begun_s
    unit.ready(pid)
    decided_s = time.monotonic() - begun_s
    if new_s > PERIODS * WATCHDOG_S:
        faults.append(f"it took more than {PERIODS} periods")
    if unit.restarts != restarts + 1:
        faults.append(f"{unit.restarts - restarts} restarts instead of one")
    if not TIMED_OUT.search(unit.machine.said()[told:]):
        faults.append("systemd does not say that its watchdog did it")
    words = (
        f"outputs safe after {safe_s:.1f} s, ended by the watchdog after {ended_s:.1f} s, another agent "
        f"after {new_s:.1f} s, its READY=1 and decisions after {decided_s:.1f} s"
    )
    say(f"systemd: hung; {words}")
    return faults, words


def _safe(unit: Unit) -> Found:
    """Kill the agent; what stands behind it is ExecStopPost only, until another one starts."""
    pid, told = unit.ready(), len(unit.machine.said())
    begun_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    safe_s = unit.registers.wait(SAFE, PATIENCE_S) - begun_s
    faults = ["another agent was there before the output was safe"] if unit.agent else []
    until(
        lambda: MADE_SAFE.search(unit.machine.said()[told:]), "an ExecStopPost that says 'safe'", PATIENCE_S
    )
    unit.ready(pid)
    again_s = time.monotonic() - begun_s
    words = (
        f"kill -9 of the agent; with no agent there, ExecStopPost said 'safe' and the register held its safe "
        f"value after {safe_s:.2f} s; READY=1 and decisions again after {again_s:.1f} s"
    )
    say(f"systemd: {words}")
    return Found(seen=words, faults=tuple(faults))


def _rests(unit: Unit) -> Found:
    """Kill the agent again, its third crash: the next one runs no loop until it is told to."""
    os.kill(unit.ready(), signal.SIGKILL)
    unit.registers.wait(SAFE, PATIENCE_S)
    until(lambda: unit.status.startswith("safe mode"), "an agent in safe mode", START_S)
    faults: list[str] = []
    pid = unit.agent
    end_s = time.monotonic() + PERIODS * WATCHDOG_S
    while time.monotonic() < end_s and not faults:
        if unit.registers.read() != SAFE or unit.agent != pid:
            faults.append("safe mode does not last")
        time.sleep(LOOK_S)
    told = unit.machine.call(PROGRAM, "agent", "resume", "--config", CONFIG)
    if told.returncode:
        raise RuntimeError(f"`agent resume` ended with {told.returncode}: {told.stderr}")
    unit.ready()
    words = (
        f"killed once more, its third crash, the next agent was in safe mode and its output safe for "
        f"{PERIODS * WATCHDOG_S:g} s, until `agent resume`"
    )
    say(f"systemd: {words}")
    return Found(seen=words, faults=tuple(faults))
