"""The engine child: `python -m outrider_runtime.child FD PARENT MANNER`. The agent starts it, not people.

FD is its end of a socket, PARENT the agent's pid, MANNER `polite` (load at idle priority) or `plain`.
"""

import os
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from outrider_runtime.child import polite, process

if TYPE_CHECKING:
    from outrider_runtime.child.serve import Server

MAX_LOAD = 1 << 20
"""More than a socket takes in one message."""


def main(arguments: Sequence[str]) -> None:
    """Load what the socket says, and run it until the socket ends."""
    fd, parent, manner = arguments
    process.settle(int(parent))
    with socket.socket(fileno=int(fd)) as link:
        message, fds, _, _ = socket.recv_fds(link, MAX_LOAD, 2)
        if not message:  # the agent has ended meanwhile
            return
        loaded = _idly(message, fds) if manner == "polite" else _load(message, fds)
        if isinstance(loaded, bytes):
            link.send(loaded)
            return
        link.send(loaded.ready)
        loaded.serve(link)


def _load(message: bytes, fds: Sequence[int]) -> "Server | bytes":
    from outrider_runtime.child import serve  # noqa: PLC0415 - its imports belong to loading

    return serve.load(message, fds)


def _idly(message: bytes, fds: Sequence[int]) -> "Server | bytes":
    loaded, stuck = polite.idly(lambda: _load(message, fds))
    if isinstance(loaded, bytes) or not stuck:
        return loaded
    from outrider_runtime.child import serve  # noqa: PLC0415 - it is there by now

    return serve.starved(stuck)


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(0)  # the model is freed; libraries taking themselves apart could only hang or crash
