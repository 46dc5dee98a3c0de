"""Start a program that dies with the process that started it.

Linux sends a signal of the child's choice when its parent ends (prctl(2), PR_SET_PDEATHSIG), also
after SIGKILL, where no clean-up of ours runs. The wish survives execve(2), so this file is run as a
script that states it and then becomes the program: no code runs between fork and exec, which would
be unsafe beside threads. The signal follows the *thread* that started the program: call `spawn`
from one that lives as long as the program should.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
NOT_FOUND = 127


def spawn(
    argv: Sequence[str | Path],
    *,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `argv` without standard input; its pid is the program's own.

    Elsewhere than on Linux the program is started plainly and must be stopped by its owner.
    """
    launcher = [sys.executable, "-I", "-S", __file__, str(os.getpid())]
    command = [*launcher, *map(str, argv)] if sys.platform == "linux" else list(map(str, argv))
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env)


def become(parent: int, argv: Sequence[str]) -> int:
    """Tie this process to `parent` and turn it into `argv`; returns only if that fails."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the wish was stated
        return 1
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606 - becoming the program is the point
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
    return NOT_FOUND


if __name__ == "__main__":
    raise SystemExit(become(int(sys.argv[1]), sys.argv[2:]))
