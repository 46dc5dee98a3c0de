"""Results appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from outrider_bundle.errors import OutriderError, UsageError
from outrider_converter.publish import publish, scratch


def make(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_a_new_folder_appears_and_the_scratch_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with scratch(out) as folder:
        assert folder.parent == out.parent
        publish(make(folder / "results", a="1"), out)
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    assert (out / "a").read_text() == "1"


def test_old_results_are_replaced_and_other_files_stay(tmp_path: Path) -> None:
    out = make(tmp_path / "out", report="old", notes="mine")
    with scratch(out) as folder:
        publish(make(folder / "results", report="new", bundle="b"), out)
    assert {p.name: p.read_text() for p in out.iterdir()} == {"report": "new", "notes": "mine", "bundle": "b"}


def test_nothing_remains_of_a_failure(tmp_path: Path) -> None:
    def fail() -> None:
        with scratch(tmp_path / "out") as folder:
            make(folder / "results", a="1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="is a file"), scratch(tmp_path / "out"):
        pass
    with pytest.raises(UsageError, match="Nothing can be written"), scratch(tmp_path / "out" / "below"):
        pass


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with scratch(tmp_path / "out") as folder:
            make(folder / "results", a="1")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutriderError, match=r"No space left on device\. Free space"):
        fill()
    assert list(tmp_path.iterdir()) == []
