"""Third-party talk does not reach the user; our own output does, before and after."""

import logging
import os
import sys
import warnings
from pathlib import Path

import pytest

from outrider_converter.quiet import quiet


def count_open() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def talk() -> None:
    """Do what the tools do: print, warn, log, and write past Python."""
    print("chatter")  # noqa: T201 - this is what is tested
    sys.stderr.write("more chatter\n")
    os.write(1, b"native chatter\n")
    os.write(2, b"native chatter\n")
    warnings.warn("chatter", UserWarning, stacklevel=1)
    logging.getLogger("absl").warning("chatter")


def test_nothing_gets_through(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")  # noqa: T201 - this is what is tested
    with quiet():
        talk()
    os.write(2, b"after\n")
    out, err = capfd.readouterr()
    assert out == "before\n"
    assert err == "after\n"


def test_failures_pass_and_all_is_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    levels = [logging.getLogger(name).level for name in ("", "torch")]
    filters = list(warnings.filters)
    open_files = count_open()
    with pytest.raises(ValueError, match="mine"), quiet():
        raise ValueError("mine")
    assert [logging.getLogger(name).level for name in ("", "torch")] == levels
    assert list(warnings.filters) == filters
    assert count_open() == open_files
    os.write(1, b"heard\n")
    assert capfd.readouterr().out == "heard\n"
