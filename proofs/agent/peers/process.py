"""Our end of a side's process."""

import subprocess
import sys
import tempfile
from contextlib import suppress
from select import select
from typing import Any

import msgspec

from proofs.agent.peers.install import environment
from proofs.agent.peers.seam import Order, Spent, Task
from proofs.agent.video import ROOT
from proofs.converter.runs import one_thread

START_S, BLOCK_S, END_S = 120.0, 60.0, 15.0
OURS = "outrider"


class SideError(Exception):
    """A side does not run; the message says why."""


class Process:
    """A side that runs in a process of its own.

    Args:
        name: module in `sides`.
        task: what it is given.

    Raises:
        SideError: it does not start.
    """

    def __init__(self, name: str, task: Task) -> None:
        """Start it and wait until its model is loaded."""
        self.name = name
        command = [sys.executable, "-m", "proofs.agent.peers.serve", name, msgspec.json.encode(task).decode()]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            cwd=ROOT,
            env=one_thread() if name == OURS else environment(),
        )
        self.about: str = self._answer(str, START_S)

    def run(self, frames: int, *, bare: bool) -> Spent:
        """Let it run a block.

        Raises:
            SideError: it ended, or does not answer.
        """
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(msgspec.json.encode(Order(bare=bare, frames=frames)) + b"\n")
            self._child.stdin.flush()
        except OSError as error:
            raise self._failed("it has ended") from error
        spent: Spent = self._answer(Spent, BLOCK_S)
        return spent

    def close(self) -> None:
        """End it, by force if it must be."""
        self._end(END_S)
        self._said.close()

    def _answer(self, form: Any, wait_s: float) -> Any:  # noqa: ANN401 - of the type `form`
        assert self._child.stdout is not None
        if not select([self._child.stdout], [], [], wait_s)[0]:
            raise self._failed(f"no answer within {wait_s:g} s", patience_s=0.0)
        line = self._child.stdout.readline()
        if not line:
            raise self._failed("it has ended")
        return msgspec.json.decode(line, type=form)

    def _end(self, patience_s: float) -> None:
        """Close its input, wait for it to end, and kill it if it does not."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with suppress(OSError):  # what was not read by a process that has ended
            self._child.stdin.close()
        try:
            self._child.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child.stdout.close()

    def _failed(self, what: str, patience_s: float = END_S) -> SideError:
        """End the process and return the error with its last words, which it writes after its last answer."""
        self._end(patience_s)
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        self._said.close()
        return SideError(f"{self.name}: {what}" + (f": {lines[-1][:300]}" if lines else ""))
