"""What the engine child does to itself before anything else. Standard library only: it runs at once.

Linux sends a signal of the child's choice when the *thread* that started it ends (prctl(2),
PR_SET_PDEATHSIG), also after SIGKILL. Without it a child that hangs would outlive its agent: it never
sees the end of file on its socket.
"""

import contextlib
import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
NAME = b"outrider-engine"
"""15 bytes are what the kernel keeps."""

ORPHAN = 3
OOM_SCORE = 300
"""So much sooner than its agent is it chosen when memory runs out."""


def settle(parent: int) -> None:
    """Die with `parent`, leave Ctrl-C to it, be known by a name, and stand before it when memory is short."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the wish was stated
        os._exit(ORPHAN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc.prctl(PR_SET_NAME, NAME, 0, 0, 0)
    # A pool of one's own beside the runtime's threads would be idle memory, and at idle priority stay there.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    score = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):
        score.write_text(str(min(1000, int(score.read_text()) + OOM_SCORE)))
