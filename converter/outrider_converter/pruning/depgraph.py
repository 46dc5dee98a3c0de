"""torch-pruning, imported late and without what it says to its own developers."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def library() -> Iterator[Any]:
    """Yield the module and silence all warnings within the block: they are not for users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_pruning  # noqa: PLC0415 - slow to import, and only pruning needs it

        yield torch_pruning
