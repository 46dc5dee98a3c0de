"""The agent's systemd unit: what it says, and a stand-in that does of systemd what a killed agent needs."""

import os
import shlex
import sys
import time
from collections import defaultdict
from pathlib import Path

from outrider_fleet import lifeline
from proofs.agent.runs import OUTRIDER, family
from proofs.agent.video import ROOT

UNIT = ROOT / "systemd" / "outrider-agent.service"
SYSUSERS = UNIT.with_name("outrider.sysusers.conf")
TMPFILES = UNIT.with_name("outrider.tmpfiles.conf")
CONFIG = "/etc/outrider/agent.toml"
PROGRAM = "/opt/outrider/bin/outrider"


def directives(text: str) -> dict[str, list[str]]:
    """Return a unit's settings; one may come more than once."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in text.splitlines():
        if "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found[key].append(value)
    return found


def command(line: str, config: Path) -> list[str]:
    """Return what a line of the unit starts, with this checkout's program and another configuration."""
    places = {PROGRAM: str(OUTRIDER), CONFIG: str(config)}
    return [places.get(word, word) for word in shlex.split(line.lstrip("@-:+!"))]


def searched(*folders: str | Path) -> str:
    """Return a PYTHONPATH of `folders` and, after them, of what this process was told."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])


def running(ancestor: int, wanted: list[str]) -> int | None:
    """Return the process below `ancestor` whose command line ends with `wanted`; None if there is none."""
    while True:
        try:
            pids = family(ancestor)
        except OSError:  # one of them has just ended
            continue
        return next((pid for pid in pids[1:] if _words(pid)[-len(wanted) :] == wanted), None)


def stand_in(config: Path) -> None:
    """Run the unit's ExecStart, its ExecStopPost whenever that has ended, and both again, until killed."""
    found = directives(UNIT.read_text(encoding="utf-8"))
    while True:
        for line in (found["ExecStart"][0], *found["ExecStopPost"]):
            lifeline.spawn(command(line, config)).wait()
        time.sleep(float(found["RestartSec"][0]))


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


if __name__ == "__main__":
    stand_in(Path(sys.argv[1]))
