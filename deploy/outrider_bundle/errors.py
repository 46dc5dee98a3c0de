"""Errors of the whole project, by who is at fault.

    OutriderError                    1  anything else that went wrong
    ├── UsageError                   2  the command line, a config or a recipe
    ├── MissingExtraError            3  an optional part is not installed
    ├── BundleError                 10  the bundle is broken or not of this format
    │   ├── SignatureError          11  not signed, or not by a trusted key
    │   └── IncompatibleError       12  sound, but not for this device
    ├── MessageError                10  a message or topic is broken or not of this format
    ├── EngineError                 20  a model could not be loaded or run
    │   └── ProofError              21  no variant reproduces its golden vectors here
    ├── BudgetError                 30  no variant keeps the accuracy budget
    ├── DataError                   31  teacher, student or data do not fit the recipe
    └── LinkError                   40  the broker cannot be reached or refuses us

The number is the exit code. A message is one sentence and its cure; it never needs a traceback.
"""

from typing import ClassVar


class OutriderError(Exception):
    """Say what is wrong and what to do about it.

    Args:
        what: one sentence without the final full stop.
        cure: what the user can do; a sentence of its own.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, cure: str = "") -> None:
        """Join both sentences into the message."""
        self.what = what
        self.cure = cure
        sentence = f"{what}. {cure}".rstrip(". ") if cure else what
        super().__init__(sentence + "." if cure and not sentence.endswith(("?", "!")) else sentence)


class UsageError(OutriderError):
    """The command line, a config or a recipe is wrong."""

    exit_code = 2


class MissingExtraError(OutriderError):
    """An optional part is not installed; the cure is its pip line."""

    exit_code = 3

    def __init__(self, what: str, extra: str) -> None:
        """Name the extra whose installation is the cure."""
        super().__init__(what, f"Install it: pip install 'outrider[{extra}]'")


class BundleError(OutriderError):
    """The bundle is broken or not of this format."""

    exit_code = 10


class SignatureError(BundleError):
    """The bundle is not signed, or not by a trusted key."""

    exit_code = 11


class IncompatibleError(BundleError):
    """The bundle is sound, but not for this device."""

    exit_code = 12


class MessageError(OutriderError):
    """A message or topic is broken or not of this format."""

    exit_code = 10


class EngineError(OutriderError):
    """A model could not be loaded or run."""

    exit_code = 20


class ProofError(EngineError):
    """No variant reproduces its golden vectors on this machine."""

    exit_code = 21


class BudgetError(OutriderError):
    """No variant keeps the accuracy budget."""

    exit_code = 30


class DataError(OutriderError):
    """Teacher, student or data do not fit the recipe."""

    exit_code = 31


class LinkError(OutriderError):
    """The broker cannot be reached or refuses us."""

    exit_code = 40
