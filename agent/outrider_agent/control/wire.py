"""What goes through the control socket: one line of JSON there, some lines of JSON back.

> {"command": "swap", "pipeline": "belt", ...}
< {"progress": "loading onnx-int8"}             as many as there are
< {"item": {...}}                               as many as there are, of a result in parts
< {"result": {...}}                             or
< {"error": "what is wrong and its cure", "exit": 20}

Bytes are text in base64 there.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from outrider_bundle.errors import MessageError

NAME = "agent.sock"

MAX_REQUEST = 64 << 10
"""Bytes of a request; those of this project have some hundred."""

MAX_NAME = 107
"""Bytes of a socket's path, `sun_path` of unix(7) without its final zero."""

CURE = "Use the command line of the agent's own version"


@contextmanager
def address(path: Path) -> Iterator[str]:
    """Yield a name of `path` that the kernel takes, however long the path is.

    Raises:
        OSError: the folder of a long path cannot be opened.
    """
    if len(os.fsencode(path)) <= MAX_NAME:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def encode(message: dict[str, Any]) -> bytes:
    """Return `message` as a line.

    Raises:
        TypeError: a value is nothing that JSON has.
    """
    return msgspec.json.encode(message) + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Return the message that `line` is.

    Raises:
        MessageError: it is no JSON object.
    """
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"What came through the control socket is no message: {error}", CURE) from error
