"""States on disk: whole or not at all, of one key, of one conversion at a time."""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from outrider_bundle import atomic
from outrider_bundle.errors import BudgetError, DataError, OutriderError, UsageError
from outrider_converter.checkpoint import (
    INTERVAL_S,
    SHARE,
    FolderCheckpoints,
    NullCheckpoints,
    open_checkpoints,
)
from outrider_converter.publish import scratch


class Clock:
    """Seconds that only a test moves."""

    def __init__(self) -> None:
        self.now, self.each = 0.0, 0.0

    def __call__(self) -> float:
        self.now += self.each
        return self.now


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "result"


def folder(out: Path) -> Path:
    return out.parent / ".result.resume"


def interrupted(out: Path, key: str, said: list[str], *purposes: str) -> None:
    """Leave states behind, as an error in a later step does."""
    with suppress(DataError), open_checkpoints(out, key, said.append) as kept:
        for number, purpose in enumerate(purposes):
            kept.save(purpose, {"step": number, "weights": torch.full((3,), float(number))})
        raise DataError("no")


def test_what_was_saved_is_there_after_an_error(out: Path, said: list[str]) -> None:
    interrupted(out, "k", said, "distill", "prune 1")
    with open_checkpoints(out, "k", said.append) as kept:
        state = kept.load("prune 1")
        assert state is not None
        assert state["step"] == 1
        assert torch.equal(state["weights"], torch.ones(3))
        assert kept.load("prune 2") is None
    assert said == []


def test_success_and_a_verdict_leave_nothing(out: Path, said: list[str]) -> None:
    with open_checkpoints(out, "k", said.append) as kept:
        kept.save("distill", {"step": 1})
    assert not folder(out).exists()
    with suppress(BudgetError), open_checkpoints(out, "k", said.append) as kept:
        kept.save("distill", {"step": 1})
        raise BudgetError("over")
    assert not folder(out).exists()


def test_an_error_before_the_first_state_leaves_nothing(out: Path, said: list[str]) -> None:
    interrupted(out, "k", said)
    assert list(out.parent.iterdir()) == []


def test_another_key_starts_anew(out: Path, said: list[str]) -> None:
    interrupted(out, "k", said, "distill")
    interrupted(out, "other", said, "prune 1")
    with open_checkpoints(out, "other", said.append) as kept:
        assert kept.load("distill") is None
        assert kept.load("prune 1") is not None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"\x80\x02}q\x00."])
def test_a_broken_file_is_set_aside_and_that_is_said(out: Path, said: list[str], content: bytes) -> None:
    interrupted(out, "k", said, "distill")
    (folder(out) / "distill.pt").write_bytes(content)
    with suppress(DataError), open_checkpoints(out, "k", said.append) as kept:
        assert kept.load("distill") is None
        assert kept.load("distill") is None
        kept.save("distill", {"step": 4})
        assert kept.load("distill") == {"step": 4}
        raise DataError("no")
    assert said == ["distill.pt is broken, set aside; 'distill' starts anew"]
    assert (folder(out) / "distill.broken").read_bytes() == content


def test_a_state_cut_in_half_counts_as_none(out: Path, said: list[str]) -> None:
    interrupted(out, "k", said, "distill")
    path = folder(out) / "distill.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_checkpoints(out, "k", said.append) as kept:
        assert kept.load("distill") is None
    assert len(said) == 1


def test_nothing_in_a_state_is_executed(out: Path, said: list[str]) -> None:
    interrupted(out, "k", said, "distill")
    torch.save({"step": Path("x")}, folder(out) / "distill.pt")
    with open_checkpoints(out, "k", said.append) as kept:
        assert kept.load("distill") is None


def test_a_full_disk_leaves_the_last_state_whole(
    out: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def convert() -> None:
        with scratch(out), open_checkpoints(out, "k", said.append) as kept:
            kept.save("distill", {"step": 1})
            monkeypatch.setattr(atomic.os, "fsync", full)
            kept.save("distill", {"step": 2})

    with pytest.raises(OutriderError, match="No space left") as caught:
        convert()
    monkeypatch.undo()
    assert caught.value.cure == "Free space or name another folder"
    assert sorted(p.name for p in folder(out).iterdir()) == ["distill.pt", "key"]
    with open_checkpoints(out, "k", said.append) as kept:
        assert kept.load("distill") == {"step": 1}


def test_what_a_killed_write_left_is_removed(out: Path, said: list[str]) -> None:
    interrupted(out, "k", said, "distill")
    (folder(out) / ".distill.pt.012345.part").write_bytes(b"half")
    with open_checkpoints(out, "k", said.append) as kept:
        assert sorted(p.name for p in folder(out).iterdir()) == ["distill.pt", "key"]
        assert kept.load("distill") is not None


def test_a_second_conversion_into_the_same_folder_is_refused(out: Path, said: list[str]) -> None:
    with open_checkpoints(out, "k", said.append) as kept:
        kept.save("distill", {"step": 1})
        with pytest.raises(UsageError, match=r"Another conversion into .*result is running"):
            open_checkpoints(out, "k", said.append).__enter__()
        assert kept.load("distill") == {"step": 1}
        with open_checkpoints(out.with_name("elsewhere"), "k", said.append):
            pass
    with open_checkpoints(out, "k", said.append):
        pass


def test_a_file_in_the_way_is_said(out: Path, said: list[str]) -> None:
    folder(out).write_text("mine")
    with pytest.raises(UsageError, match="cannot be used"):
        open_checkpoints(out, "k", said.append).__enter__()


@pytest.fixture
def timed(tmp_path: Path, said: list[str]) -> Iterator[tuple[FolderCheckpoints, Clock]]:
    clock = Clock()
    with open_checkpoints(tmp_path / "result", "k", said.append, clock) as kept:
        yield kept, clock


def test_a_state_is_due_after_the_interval(timed: tuple[FolderCheckpoints, Clock]) -> None:
    kept, clock = timed
    assert not kept.due()
    clock.now = INTERVAL_S
    assert kept.due()
    kept.save("distill", {})
    assert not kept.due()


def test_slow_writing_makes_states_rarer(timed: tuple[FolderCheckpoints, Clock]) -> None:
    kept, clock = timed
    clock.each = 2.0
    kept.save("distill", {})
    clock.each = 0.0
    clock.now += SHARE * 2.0 - 1
    assert not kept.due()
    clock.now += 1
    assert kept.due()


def test_the_null_implementation_keeps_nothing() -> None:
    kept = NullCheckpoints()
    kept.save("distill", {"step": 1})
    assert kept.load("distill") is None
    assert not kept.due()
