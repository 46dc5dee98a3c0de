"""Run other programs as a user would, and say which step failed."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from outrider_bundle.errors import OutriderError

OUTRIDER = (sys.executable, "-c", "from outrider_bundle.dispatch import main; raise SystemExit(main())")
"""This environment's own command, as its script has it, which lies beside the interpreter or elsewhere."""

Argv = Sequence[str | Path]


class StepError(OutriderError):
    """A program that the demo ran has failed."""


def show(step: str, argv: Argv, *, mute_stdout: bool = False) -> None:
    """Run `argv` with its output and progress going straight to the terminal.

    Args:
        step: its name in the error.
        argv: program and arguments.
        mute_stdout: send its standard output to ours for errors, since ours carries JSON.

    Raises:
        StepError: it ended with another code than 0 or could not be started.
    """
    stdout = sys.stderr.fileno() if mute_stdout else None
    sys.stdout.flush()  # else what we printed so far comes after what it prints
    try:
        code = subprocess.run(
            list(map(str, argv)), stdin=subprocess.DEVNULL, stdout=stdout, check=False
        ).returncode
    except OSError as error:
        raise StepError(f"The step '{step}' could not be started: {error}") from error
    if code:
        raise StepError(f"The step '{step}' failed with exit code {code}", "Its own message is above")


def capture(step: str, argv: Argv, log: Path, *, cwd: Path | None = None) -> str:
    """Run `argv` quietly and return its standard output; its standard error goes to `log`.

    Raises:
        StepError: it ended with another code than 0 or could not be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = list(map(str, argv))
    try:
        with log.open("wb") as errors:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=cwd, check=False
            )
    except OSError as error:
        raise StepError(f"The step '{step}' could not be started: {error}") from error
    if done.returncode:
        raise StepError(
            f"The step '{step}' failed with exit code {done.returncode}{last_line(log)}", f"See {log}"
        )
    return done.stdout.decode("utf-8", "replace")


def last_line(log: Path) -> str:
    """Return the last line of `log` that says something, as the tail of a sentence."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f": {lines[-1].strip()}" if lines else ""
