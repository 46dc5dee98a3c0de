"""The source `replay`: arrays from files, by their own times, and files that hold none."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outrider_agent.pacing import Recording
from outrider_agent.seams import Context, Frame, NullPublisher
from outrider_agent.sources.replay import ReplayOptions, ReplaySource
from outrider_bundle import settings
from outrider_bundle.errors import UsageError
from outrider_bundle.topics import Topics

CONTEXT = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher())
FRAMES = np.arange(24, dtype=np.float32).reshape(4, 3, 2)


def source(path: Path, **options: Any) -> ReplaySource:  # noqa: ANN401
    return ReplaySource(ReplayOptions(path=str(path), **options), CONTEXT)


def saved(path: Path, **arrays: Any) -> Path:  # noqa: ANN401
    np.savez(path, **arrays)
    return path


def read(made: ReplaySource, count: int = 1000) -> list[Frame]:
    frames: list[Frame] = []
    for frame in made.frames(0.2):
        if frame is not None:
            frame.release()
            frames.append(frame)
        if len(frames) == count:
            break
    return frames


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint8", "int64", ">f4", ">i2"])
def test_frames_come_in_order_as_they_were_recorded(tmp_path: Path, dtype: str) -> None:
    frames = read(source(saved(tmp_path / "r.npz", frames=FRAMES.astype(dtype))))
    assert [(f.id, f.seq, f.array.shape) for f in frames] == [(str(n), n, (3, 2)) for n in range(4)]
    for frame, expected in zip(frames, FRAMES, strict=True):
        np.testing.assert_array_equal(frame.array, expected)
        assert frame.array.dtype == np.dtype(dtype).newbyteorder("=")
        assert frame.array.flags.c_contiguous


def test_a_npy_file_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "r.npy", FRAMES)
    made = source(tmp_path / "r.npy")
    assert isinstance(made._recording.frames, np.memmap)
    np.testing.assert_array_equal([f.array for f in read(made)], FRAMES)


def test_an_array_in_columns_gives_frames_in_one_piece(tmp_path: Path) -> None:
    np.save(tmp_path / "r.npy", np.asfortranarray(FRAMES))
    frames = read(source(tmp_path / "r.npy"))
    np.testing.assert_array_equal([f.array for f in frames], FRAMES)
    assert all(f.array.flags.c_contiguous for f in frames)


def test_the_only_other_array_is_taken_and_ids_name_the_frames(tmp_path: Path) -> None:
    path = saved(tmp_path / "r.npz", x=FRAMES, ids=np.array(["a", "b", "c", "d"]), t=np.zeros(4))
    assert [f.id for f in read(source(path, times="t"))] == ["a", "b", "c", "d"]
    path = saved(tmp_path / "s.npz", x=FRAMES, ids=np.arange(10, 14))
    assert [f.id for f in read(source(path))] == ["10", "11", "12", "13"]


def test_a_key_chooses_the_array(tmp_path: Path) -> None:
    path = saved(tmp_path / "r.npz", x=FRAMES, y=FRAMES + 1, frames=FRAMES + 2)
    assert read(source(path, key="y"))[0].array[0, 0] == 1
    assert read(source(path))[0].array[0, 0] == 2


def test_looping_starts_again_with_numbers_that_go_on(tmp_path: Path) -> None:
    frames = read(source(saved(tmp_path / "r.npz", frames=FRAMES), loop=True), 6)
    assert [(f.id, f.seq) for f in frames] == [("0", 0), ("1", 1), ("2", 2), ("3", 3), ("0", 4), ("1", 5)]


def test_without_a_pace_the_next_comes_when_the_last_was_released(tmp_path: Path) -> None:
    frames = source(saved(tmp_path / "r.npz", frames=FRAMES)).frames(0.02)
    first = next(frames)
    assert first is not None
    assert next(frames) is None
    first.release()
    assert next(frames) is not None


def test_recorded_times_are_kept(tmp_path: Path) -> None:
    path = saved(tmp_path / "r.npz", frames=FRAMES, t=np.array([1000.0, 1000.05, 1000.05, 1000.25]))
    made = source(path, times="t")
    begun = time.monotonic()
    frames = [frame for frame in made.frames(5.0) if frame is not None]
    taken = np.array([f.time_s - frames[0].time_s for f in frames])
    assert (taken >= np.array([0.0, 0.05, 0.05, 0.25]) - 0.01).all()
    assert time.monotonic() - begun < 10.0


def test_a_recording_played_again_goes_on_one_period_later() -> None:
    recording, due = Recording([5.0, 6.0, 8.0], 100.0), []
    for _ in range(7):
        due.append(recording.due_s())
        recording.sent(0.0)
    assert due == [100.0, 101.0, 103.0, 104.5, 105.5, 107.5, 109.0]


def test_closing_ends_it_while_it_waits(tmp_path: Path) -> None:
    made = source(saved(tmp_path / "r.npz", frames=FRAMES, t=np.arange(4) * 1000.0), times="t")
    frames = made.frames(0.02)
    assert next(frames) is not None
    assert next(frames) is None
    made.close()
    made.close()
    assert list(frames) == []


@pytest.mark.parametrize(
    ("arrays", "options", "fault"),
    [
        ({"a": FRAMES, "b": FRAMES}, {}, "does not say which.*Set 'key' of the source to one of a, b"),
        ({}, {}, "does not say which"),
        ({"a": FRAMES}, {"key": "b"}, "no array 'b'. It has a"),
        ({"a": FRAMES}, {"times": "t"}, "no array 't'"),
        ({"a": FRAMES, "t": np.zeros(3)}, {"times": "t"}, "times 't'.*do not fit its 4 frames"),
        ({"a": FRAMES, "t": np.array([0, 1, 0, 2])}, {"times": "t"}, "do not fall"),
        ({"a": FRAMES, "t": np.array([0, 1, np.nan, 2])}, {"times": "t"}, "do not fit"),
        ({"a": FRAMES, "ids": np.array(["a"])}, {}, "'ids'.*does not name its 4 frames"),
        ({"a": FRAMES, "ids": np.array(["a", "b", "", "d"])}, {}, "does not name"),
        ({"a": np.array(["x", "y"])}, {}, "holds no frames: it is <U1"),
        ({"a": FRAMES.astype(complex)}, {}, "holds no frames"),
        ({"a": np.arange(4.0)}, {}, "holds no frames"),
        ({"a": np.zeros((0, 3))}, {}, "holds no frames"),
        ({"a": np.array([{}], dtype=object)}, {}, "cannot be read.*without objects"),
    ],
)
def test_what_is_no_recording_is_refused_at_once(
    tmp_path: Path, arrays: dict[str, Any], options: dict[str, str], fault: str
) -> None:
    with pytest.raises(UsageError, match=rf"'belt' cannot replay.*{fault}"):
        source(saved(tmp_path / "r.npz", **arrays), **options)


@pytest.mark.parametrize("content", [b"", b"no array", b"PK\x03\x04broken", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_broken_files_are_refused_at_once(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"r.{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read"):
        source(path)
    with pytest.raises(UsageError, match="no recording at"):
        source(tmp_path / "nothing.npz")
    with pytest.raises(UsageError, match="cannot be read"):
        source(tmp_path)


def test_a_truncated_file_is_refused_at_once(tmp_path: Path) -> None:
    np.save(tmp_path / "r.npy", FRAMES)
    path = tmp_path / "r.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UsageError, match="cannot be read"):
        source(path)


def test_two_paces_at_once_are_a_fault() -> None:
    table = {"path": "r.npz", "times": "t", "fps": 10.0}
    assert "not both" in settings.convert(table, ReplayOptions, "source")[1][0]
