"""The sorting line: images on a belt, the agent that looks at them, and what it says on the way."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from outrider_fleet import lifeline
from outrider_fleet.demo.agent_config import Line, text
from outrider_fleet.demo.commands import StepError, last_line, show
from outrider_fleet.demo.ledger import Ledger, filled
from outrider_fleet.demo.receiver import Receiver
from outrider_fleet.demo.records import AgentReport, Truth, read

POLL_S = 0.1
SETTLE_S = 5.0
STOP_S = 10.0
START_S = 120.0
SLACK = 3.0
"""How many times as long as the belt runs the agent may take before it counts as hung."""


def export(script: Path, folder: Path, frames: int, *, quiet: bool) -> Truth:
    """Let the example write its test images into `folder` and return what they really are.

    Raises:
        StepError: the script failed.
        DataError: it did not write labels.
    """
    shutil.rmtree(folder, ignore_errors=True)
    show(
        "export the images",
        [sys.executable, script, folder, "--count", str(frames)],
        mute_stdout=quiet,
    )
    return read(folder / "labels.json", Truth)


class Watch:
    """Follows the run: what arrives goes into the ledger and onto the screen, a bar for each bin."""

    def __init__(self, ledger: Ledger, receiver: Receiver, progress: Progress, total: int) -> None:
        """Draw on `progress`; `total` frames are expected."""
        self._ledger, self._receiver, self._progress, self._total = ledger, receiver, progress, total
        self._line = progress.add_task("sorting line", total=total)
        self._bins: dict[str, TaskID] = {}

    def look(self) -> bool:
        """Take down what came within the next moment; return whether anything did."""
        came = False
        for topic, payload in self._receiver.arrived(POLL_S):
            self._ledger.take(topic, payload)
            came = True
        if came:
            self._draw()
        return came

    def _draw(self) -> None:
        self._progress.update(self._line, completed=len(self._ledger.acts))
        for name, count in filled(self._ledger).items():
            if name not in self._bins:
                self._bins[name] = self._progress.add_task(f"  {name}", total=self._total)
            self._progress.update(self._bins[name], completed=count)


def run(
    line: Line, outrider: Path, folder: Path, link: tuple[Ledger, Receiver], console: Console, frames: int
) -> AgentReport:
    """Start the agent, follow it to its end and return its own account.

    Args:
        line: its configuration.
        outrider: the command of the environment it runs in.
        folder: for configuration, log and account.
        link: where messages go and where they come from.
        console: to show progress on.
        frames: how many will come.

    Raises:
        StepError: it failed or hung.
        DataError: it left no account.
        MessageError: a message is not of its form.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config, account, log = folder / "agent.toml", folder / "summary.json", folder / "agent.log"
    config.write_text(text(line), encoding="utf-8")
    argv: list[str | Path] = [outrider, "agent", "run", "--config", config, "--summary", account]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress, log.open("wb") as said:
        watch = Watch(*link, progress, frames)
        agent = lifeline.spawn(argv, stdout=said, stderr=said)
        try:
            follow(agent, watch, START_S + SLACK * frames / line.fps, log)
        finally:
            end(agent)
        settle(watch)
    return read(account, AgentReport)


def follow(agent: subprocess.Popen[bytes], watch: Watch, limit_s: float, log: Path) -> None:
    """Watch until the agent ends by itself.

    Raises:
        StepError: with another code than 0, or not within `limit_s`.
    """
    deadline_s = time.monotonic() + limit_s
    while agent.poll() is None:
        watch.look()
        if time.monotonic() > deadline_s:
            raise StepError(f"The agent did not finish within {limit_s:.0f} s{last_line(log)}", f"See {log}")
    if agent.returncode:
        what = f"The agent ended with exit code {agent.returncode}{last_line(log)}"
        raise StepError(what, f"See {log}")


def settle(watch: Watch) -> None:
    """Take down what is still on its way: until nothing comes for a moment, a few seconds at most."""
    deadline_s = time.monotonic() + SETTLE_S
    while (watch.look() or watch.look()) and time.monotonic() < deadline_s:
        pass


def end(agent: subprocess.Popen[bytes]) -> None:
    """Stop the agent if it still runs: politely first."""
    if agent.poll() is None:
        agent.terminate()
        try:
            agent.wait(STOP_S)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()
