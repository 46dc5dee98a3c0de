"""Probes in processes of their own, several at a time, each with its time limit."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from msgspec import Struct

from outrider_agent.doctor.row import Row

MODULE = "outrider_agent.doctor.probe"
AT_ONCE = 4
REAP_S = 1.0
MAX_WORDS = 300
CURE = "Try it by itself; a driver or a library may not fit this machine"


class Probe(Struct, frozen=True, kw_only=True):
    """What to ask a child.

    Args:
        part: of the row, where the child gives none.
        name: the same.
        request: see `probe`.
        timeout_s: after it the child is killed.
        python: its interpreter; empty for this one.
    """

    part: str
    name: str
    request: dict[str, Any]
    timeout_s: float = 30.0
    python: str = ""


def run(probes: Sequence[Probe], module: str = MODULE) -> list[list[Row]]:
    """Return the rows of each probe, in order; a child that fails is a row too."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda one: _run(one, module), probes))


def _run(probe: Probe, module: str) -> list[Row]:
    pipe = subprocess.PIPE
    command = [probe.python or sys.executable, "-P", "-m", module]
    try:
        child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        return [_row(probe, f"{command[0]} does not start: {error.strerror}", "Correct engine.python")]
    try:
        out, said = child.communicate(msgspec.json.encode(probe.request), probe.timeout_s)
    except subprocess.TimeoutExpired:
        _end(child)
        return [_row(probe, f"it hangs: no answer in {probe.timeout_s:g} s", CURE)]
    if child.returncode < 0:
        return [_row(probe, f"it crashes: {_signal(-child.returncode)}", CURE)]
    try:
        return msgspec.json.decode(out, type=list[Row])
    except msgspec.DecodeError:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        words = lines[-1][-MAX_WORDS:] if lines else f"it ends with {child.returncode}"
        return [_row(probe, words, CURE)]


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill a child; one that a driver keeps in the kernel is left behind."""
    child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(REAP_S)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _row(probe: Probe, detail: str, cure: str) -> Row:
    return Row(part=probe.part, name=probe.name, state="problem", detail=detail, cure=cure)
