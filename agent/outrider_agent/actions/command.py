"""Decisions as runs of a program.

The program and its arguments stand in the device's own configuration and nowhere else: there is no shell,
and nothing of a decision becomes an argument. It reads the decision as flat JSON from its standard input
(`run`, `seq`, `time`, `pipeline` and `frame` of the event, and all that the policy put into it) and gets no
other variables of the environment than PATH, LANG and those of `env`. One runs at a time. An exit code other
than 0 is a fault, told by the last line that it wrote to standard error.

The safe state throws away what waits. With `safe` it also kills the program that runs, with all of its
process group, and runs `safe` instead, again until it has succeeded or a later decision has.
"""

import os
import select
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Annotated

from msgspec import Meta, Struct

from outrider_agent.outputs import flat
from outrider_agent.seams import Context
from outrider_agent.worker import Worker
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.messages.event import Event

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TURN_S = 0.1
MAX_TAIL = 4096
MAX_LINE = 200

Argument = Annotated[str, Meta(pattern=r"\A[^\x00]{0,4096}\Z")]
Argv = Annotated[tuple[Argument, ...], Meta(min_length=1, max_length=256)]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,127}\Z")]


class CommandOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[[pipelines.actions]]` may hold.

    Args:
        argv: the program, by its absolute path, and its arguments.
        safe: the same, run when outputs have to be safe; its standard input is empty.
        cwd: the folder it runs in.
        env: variables of its environment besides PATH and LANG.
        timeout_s: then it is killed, with all of its process group.
        queue: how many decisions may wait; then the oldest one is lost.
    """

    argv: Argv
    safe: Argv | None = None
    cwd: Path = Path("/")
    env: dict[Name, Argument] = {}
    timeout_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 10.0
    queue: Annotated[int, Meta(ge=1, le=1000)] = 8

    def __post_init__(self) -> None:
        """Refuse a program that would be looked for, and a folder that depends on where we are."""
        for name, argv in (("argv", self.argv), ("safe", self.safe)):
            if argv and not Path(argv[0]).is_absolute():
                raise ValueError(f"{name} must begin with the absolute path of a program")
        if not self.cwd.is_absolute():
            raise ValueError("cwd must be an absolute path")


class CommandAction:
    """Runs the program from a thread of its own."""

    Options = CommandOptions

    def __init__(self, options: CommandOptions, context: Context) -> None:
        """Look for the programs; nothing is run yet.

        Raises:
            UsageError: one is not there or cannot be run, or the folder is not there.
        """
        for argv in (options.argv, options.safe or options.argv):
            _check(Path(argv[0]))
        if not options.cwd.is_dir():
            raise UsageError(f"There is no folder {options.cwd}", "Give another cwd")
        self._options = options
        self._env = {"PATH": PATH, "LANG": "C.UTF-8", **options.env}
        self._process: subprocess.Popen[bytes] | None = None
        self._worker = Worker(f"command.{context.pipeline}", options.queue, interrupt=self._interrupt)

    def apply(self, decision: Event) -> None:
        """Queue a run."""
        self._worker.put(lambda hurry: self._run(self._options.argv, flat(decision), hurry))

    def safe_state(self) -> None:
        """Run the program for this case, before and instead of all that waits."""
        if (safe := self._options.safe) is None:
            self._worker.clear()
        else:
            self._worker.safe(lambda _: self._run(safe, b"", threading.Event()))

    def settle(self, wait_s: float) -> None:
        """Wait until what was ordered is done; see `Worker.settle`."""
        self._worker.settle(wait_s)

    def close(self) -> None:
        """Wait a moment for what runs; a safe program that needs longer is left to finish."""
        self._worker.close()

    def _run(self, argv: Argv, stdin: bytes, hurry: threading.Event) -> None:
        """Run a program to its end; `hurry` kills it."""
        with self._started(argv, stdin) as process:
            self._process = process
            try:
                last = _follow(process, argv[0], self._options.timeout_s, hurry)
            finally:
                self._process = None
        if (code := process.returncode) != 0:
            how = f"ended with code {code}" if code > 0 else f"was killed by {_signal(-code)}"
            raise OutriderError(f"{argv[0]} {how}: {last or 'it did not say why'}", "Run it by hand")

    def _started(self, argv: Argv, stdin: bytes) -> subprocess.Popen[bytes]:
        handle = os.memfd_create("decision")  # not a pipe: a program that does not read cannot hold us up
        try:
            os.write(handle, stdin)
            os.lseek(handle, 0, os.SEEK_SET)
            return subprocess.Popen(
                argv,
                stdin=handle,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=self._options.cwd,
                env=self._env,
                start_new_session=True,
            )
        except OSError as error:
            raise OutriderError(f"{argv[0]} does not start: {error}", "Run it by hand") from error
        finally:
            os.close(handle)

    def _interrupt(self) -> None:
        """Kill what runs; the thread sees its end at once."""
        if (process := self._process) is not None and process.poll() is None:
            _kill(process)


def _follow(process: subprocess.Popen[bytes], program: str, timeout_s: float, hurry: threading.Event) -> str:
    """Wait for the end and return the last line of standard error.

    The end of standard error is not the program's: it may close it before, or leave it to another program.
    """
    until_s = monotonic() + timeout_s
    pipe = process.stderr.fileno() if process.stderr else -1
    os.set_blocking(pipe, False)
    tail, more = b"", True
    while process.poll() is None:
        if hurry.is_set() or monotonic() >= until_s:
            _kill(process)
            process.wait()
            raise OutriderError(
                f"{program} took longer than {timeout_s:g} s and was killed",
                "Make it faster, or timeout_s longer",
            )
        if not more:
            with suppress(subprocess.TimeoutExpired):
                process.wait(TURN_S)
        elif select.select([pipe], [], [], TURN_S)[0]:
            chunk = _read(pipe)
            tail, more = (tail + chunk)[-MAX_TAIL:], bool(chunk)
    lines = (tail + _read(pipe))[-MAX_TAIL:].decode(errors="replace").strip().splitlines()
    return lines[-1][:MAX_LINE] if lines else ""


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 1 << 16)
    except BlockingIOError:
        return b""


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _check(program: Path) -> None:
    if not program.is_file():
        raise UsageError(f"There is no program {program}", "Install it, or give another path")
    if not os.access(program, os.X_OK):
        raise UsageError(f"{program} cannot be run", "Let the agent's user execute it: chmod a+rx")
