"""The source `video`: what can be decoded counts, not what the file declares."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from outrider_agent.seams import Context, Frame, NullPublisher
from outrider_agent.sources.video import VideoOptions, VideoSource
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.topics import Topics

CONTEXT = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher())


def film(path: Path, frames: int, fps: float = 20.0) -> Path:
    """Write a film whose frames get brighter by 10."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (32, 16))
    for number in range(frames):
        writer.write(np.full((16, 32, 3), 10 * number % 256, np.uint8))
    writer.release()
    return path


def source(path: Path, fps: float | None = 0.0, *, loop: bool = False) -> VideoSource:
    return VideoSource(VideoOptions(path=str(path), fps=fps, loop=loop), CONTEXT)


def read(made: VideoSource, count: int = 1000, *, release: bool = True) -> list[Frame]:
    frames: list[Frame] = []
    for frame in made.frames(0.2):
        if frame is not None:
            frames.append(frame)
            if release:
                frame.release()
        if len(frames) == count:
            break
    return frames


def test_all_frames_come_in_order(tmp_path: Path) -> None:
    frames: list[tuple[str, int, int]] = []
    for frame in source(film(tmp_path / "film.avi", 6)).frames(0.2):
        assert frame is not None
        frames.append((frame.id, frame.seq, round(float(frame.array.mean()) / 10)))
        frame.release()
    assert frames == [(f"film-{n}", n, n) for n in range(6)]


def test_a_file_that_declares_more_frames_than_it_has_just_ends(tmp_path: Path) -> None:
    path = film(tmp_path / "film.avi", 10)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 500)  # dwTotalFrames
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 500)  # dwLength
    path.write_bytes(data)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 500
    assert [f.seq for f in read(source(path))] == list(range(10))


def test_released_frames_give_their_memory_to_later_ones(tmp_path: Path) -> None:
    frames = read(source(film(tmp_path / "film.avi", 8)))
    assert len({f.array.ctypes.data for f in frames}) <= 2


def test_memory_that_is_still_held_is_not_overwritten(tmp_path: Path) -> None:
    frames = read(source(film(tmp_path / "film.avi", 5), 1000.0), release=False)
    assert [round(float(f.array.mean()) / 10) for f in frames] == [0, 1, 2, 3, 4]


def test_looping_opens_the_file_again(tmp_path: Path) -> None:
    frames = read(source(film(tmp_path / "film.avi", 3), loop=True), 7)
    assert [f.id for f in frames[:4]] == ["film-0", "film-1", "film-2", "film-0"]
    assert [f.seq for f in frames] == list(range(7))


def test_its_own_rate_is_kept_unless_it_is_incredible(tmp_path: Path) -> None:
    frames = read(source(film(tmp_path / "film.avi", 5, 20.0), None))
    gaps = np.diff([f.time_s for f in frames])
    assert np.median(gaps) == pytest.approx(0.05, abs=0.02)
    frames = read(source(film(tmp_path / "fast.avi", 4, 1000.0), None))
    assert np.median(np.diff([f.time_s for f in frames])) == pytest.approx(0.04, abs=0.02)


def test_what_is_no_video_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"belt.*finds no video"):
        source(tmp_path / "nothing.avi")
    (tmp_path / "text.avi").write_text("no video")
    with pytest.raises(UsageError, match="finds no video"):
        source(tmp_path / "text.avi")


def test_a_video_without_a_frame_ends_with_a_fault(tmp_path: Path) -> None:
    path = film(tmp_path / "film.avi", 2)
    made = source(path, loop=True)
    made._capture.set(cv2.CAP_PROP_POS_FRAMES, 2)
    while made._capture.grab():
        pass
    with pytest.raises(OutriderError, match="Not one frame"):
        read(made)


@pytest.mark.parametrize("share", [0.33, 0.55, 0.8, 0.96])
@pytest.mark.parametrize("loop", [False, True])
def test_a_truncated_file_gives_what_is_left_of_it_and_ends(
    tmp_path: Path, share: float, *, loop: bool
) -> None:
    path = film(tmp_path / "film.avi", 40)
    whole = path.read_bytes()
    begin, end = whole.index(b"movi"), whole.index(b"idx1")
    path.write_bytes(
        whole[: begin + int(share * (end - begin))]
    )  # in the middle of a frame, and without an index
    frames = read(source(path, loop=loop), 60)
    number = 60 if loop else len(frames)
    assert 3 < number <= 60
    assert [f.seq for f in frames] == list(range(number))
    left = len({f.id for f in frames})
    assert 3 < left < 40
    assert [f.id for f in frames] == [f"film-{n % left}" for n in range(number)]


def test_a_file_that_declares_no_frames_gives_those_it_has(tmp_path: Path) -> None:
    path = film(tmp_path / "film.avi", 10)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 0)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 0)
    path.write_bytes(data)
    assert [f.seq for f in read(source(path))] == list(range(10))
