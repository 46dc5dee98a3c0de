"""Processes of engine children: how they are started and ended, and why they died.

All are started by one thread that lives as long as this process, whoever asks: Linux kills a child
when the *thread* that started it ends (prctl(2), PR_SET_PDEATHSIG).
"""

import contextlib
import os
import pwd
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future

from msgspec import Struct

from outrider_agent.engine import memory
from outrider_bundle.errors import EngineError

MODULE = "outrider_runtime.child"
CLOSE_S = 0.5
"""So long may a child take to end by itself."""

KILL_S = 2.0
"""So long may the kernel take to end a killed one; a driver that never returns holds it for good."""

DIED_S = 1.0
WORDS_BYTES = 65536
MAX_WORDS = 300

_jobs: "queue.SimpleQueue[tuple[Future[subprocess.Popen[bytes]], Callable[[], subprocess.Popen[bytes]]]]"
_jobs = queue.SimpleQueue()
_lock = threading.Lock()
_thread: threading.Thread | None = None
_abandoned: "list[subprocess.Popen[bytes]]" = []


class _Identity(Struct, frozen=True):
    """Whom a child runs as; None leaves it as it is here."""

    user: int | None = None
    group: int | None = None
    groups: list[int] | None = None
    env: dict[str, str] | None = None


class Process:
    """A child that runs or has run."""

    def __init__(self, popen: "subprocess.Popen[bytes]", words: int) -> None:
        """Watch `popen`, whose stderr is the file `words`."""
        self._popen, self._words = popen, words
        self._lock = threading.Lock()
        self.pid = popen.pid
        self.abandoned = False

    def kill(self) -> None:
        """Send SIGKILL and do not wait."""
        self._popen.kill()

    def end(self) -> None:
        """Wait until it has ended, by force if it must be; what cannot be killed is abandoned. Idempotent."""
        if not self.abandoned and not self._ends(CLOSE_S):
            self.kill()
            if not self._ends(KILL_S):
                self.abandoned = True
                _abandoned.append(self._popen)
        with self._lock:
            if self._words >= 0:
                os.close(self._words)
            self._words = -1

    def why(self) -> str:
        """Return how it ended, as the end of a sentence, with its last words if it had any."""
        if not self._ends(DIED_S):
            return "closed its socket"
        code = self._popen.returncode
        how = f"exited with code {code}" if code >= 0 else f"was killed by {_signal(-code)}"
        words = self._last_words()
        return f"{how}: {words}" if words else how

    def _ends(self, within_s: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(within_s)
        return self._popen.returncode is not None

    def _last_words(self) -> str:
        with self._lock:
            if self._words < 0:
                return ""
            # The file is the child's too, and so is its position: what it said lies before it.
            end = os.lseek(self._words, 0, os.SEEK_CUR)
            said = os.pread(self._words, WORDS_BYTES, max(0, end - WORDS_BYTES))[: min(end, WORDS_BYTES)]
        lines = said.decode(errors="replace").replace("\0", "").split("\n")
        return next((line.strip()[:MAX_WORDS] for line in reversed(lines) if line.strip()), "")


def start(arguments: list[str], fd: int, python: str = "", user: str = "") -> Process:
    """Start an engine child; from any thread.

    Args:
        arguments: of the child's module.
        fd: passed on to it, under the same number.
        python: interpreter; empty for this one.
        user: whom it runs as; empty for this one.

    Raises:
        EngineError: there is no such interpreter or user, or this process may not become it.
    """
    command = [python or sys.executable, "-P", "-m", MODULE, *arguments]
    identity = _identity(user)
    words = memory.words()

    def popen() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command,
            pass_fds=[fd],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            user=identity.user,
            group=identity.group,
            extra_groups=identity.groups,
            env=identity.env,
        )

    try:
        return Process(_by_the_thread(popen), words)
    except OSError as error:
        os.close(words)
        raise _refused(error, command[0], user) from error


def abandoned() -> tuple[int, ...]:
    """Return the pids of children that could not be killed and are still there."""
    _abandoned[:] = [popen for popen in _abandoned if popen.poll() is None]
    return tuple(popen.pid for popen in _abandoned)


def _by_the_thread(popen: "Callable[[], subprocess.Popen[bytes]]") -> "subprocess.Popen[bytes]":
    global _thread  # noqa: PLW0603 - one for the process is the point
    with _lock:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_work, name="engine-spawn", daemon=True)
            _thread.start()
    future: Future[subprocess.Popen[bytes]] = Future()
    _jobs.put((future, popen))
    return future.result()


def _work() -> None:
    while True:
        future, popen = _jobs.get()
        try:
            future.set_result(popen())
        except BaseException as error:  # noqa: BLE001 - it goes on in the thread that waits
            future.set_exception(error)


def _identity(user: str) -> _Identity:
    if not user:
        return _Identity()
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise EngineError(f"There is no user '{user}'", "Create it, or change engine.user") from error
    if entry.pw_uid == os.geteuid():
        return _Identity()
    return _Identity(
        user=entry.pw_uid,
        group=entry.pw_gid,
        groups=os.getgrouplist(user, entry.pw_gid),
        env={**os.environ, "HOME": entry.pw_dir, "USER": user, "LOGNAME": user},
    )


def _refused(error: OSError, python: str, user: str) -> EngineError:
    if user and isinstance(error, PermissionError):
        cure = f"Start the agent as root, leave engine.user out, or let '{user}' execute {python}"
        return EngineError(f"The engine cannot be started as the user '{user}'", cure)
    return EngineError(f"The engine cannot be started with {python}: {error.strerror}", "Mend engine.python")


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (out of memory?)" if number == signal.SIGKILL else name
