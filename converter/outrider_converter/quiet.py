"""Third-party tools talk about themselves on every channel; none of it is for the user.

Warnings and log lines are filtered; what native code prints bypasses `sys.stderr` and goes to a scratch file.
"""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

CATEGORIES = (DeprecationWarning, FutureWarning, ResourceWarning, RuntimeWarning, SyntaxWarning, UserWarning)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the block; exceptions pass."""
    loggers = [logging.getLogger(name) for name in ("", "torch", "torch.onnx", "absl", "jax")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), _redirected():
        for category in CATEGORIES:
            warnings.filterwarnings("ignore", category=category)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _redirected() -> Iterator[None]:
    """Send both standard streams, Python's and the process's, to a scratch file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile("w+") as sink:
        try:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
                yield
        finally:
            for target, source in enumerate(kept, 1):
                os.dup2(source, target)
                os.close(source)
