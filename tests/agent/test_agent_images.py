"""The source `images`: order, pace, end, and files that are none."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from outrider_agent.seams import Context, Frame, NullPublisher
from outrider_agent.sources.images import ImagesOptions, ImagesSource
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.topics import Topics
from outrider_runtime.session import Array

CONTEXT = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher())


def save(path: Path, image: Array) -> None:
    assert cv2.imwrite(str(path), image)


def source(folder: Path, fps: float = 0.0, *, loop: bool = False) -> ImagesSource:
    return ImagesSource(ImagesOptions(path=str(folder), fps=fps, loop=loop), CONTEXT)


def read(made: ImagesSource, count: int = 1000) -> list[Frame]:
    """Take up to `count` frames, each released at once."""
    frames: list[Frame] = []
    for frame in made.frames(0.2):
        if frame is not None:
            frame.release()
            frames.append(frame)
        if len(frames) == count:
            break
    return frames


def test_files_come_in_order_gray_stays_gray_and_the_rest_is_left_out(tmp_path: Path) -> None:
    gray = np.arange(16, dtype=np.uint8).reshape(4, 4)
    color = np.zeros((4, 4, 3), np.uint8)
    color[..., 2] = 255
    save(tmp_path / "b.png", gray)
    save(tmp_path / "a.PNG", color)
    save(tmp_path / "c.jpg", color)
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image either")
    frames = read(source(tmp_path))
    assert [(f.id, f.seq, f.array.shape) for f in frames] == [
        ("a", 0, (4, 4, 3)),
        ("b", 1, (4, 4)),
        ("c", 2, (4, 4, 3)),
    ]
    assert (frames[1].array == gray).all()
    assert (frames[0].array == color).all()
    assert all(f.array.dtype == np.uint8 for f in frames)


def test_an_image_with_alpha_or_16_bits_becomes_a_frame(tmp_path: Path) -> None:
    save(tmp_path / "alpha.png", np.full((4, 4, 4), 200, np.uint8))
    save(tmp_path / "deep.png", np.full((4, 4), 40_000, np.uint16))
    frames = read(source(tmp_path))
    assert [(f.array.shape, f.array.dtype) for f in frames] == [((4, 4, 3), np.uint8), ((4, 4), np.uint8)]


def test_looping_starts_again_with_numbers_that_go_on(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / f"{name}.png", np.zeros((2, 2), np.uint8))
    frames = read(source(tmp_path, loop=True), 5)
    assert [(f.id, f.seq) for f in frames] == [("a", 0), ("b", 1), ("a", 2), ("b", 3), ("a", 4)]


def test_frames_keep_to_the_rate(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / f"{number}.png", np.zeros((2, 2), np.uint8))
    begun = time.monotonic()
    frames = read(source(tmp_path, 50.0))
    assert len(frames) == 10
    assert 0.17 < time.monotonic() - begun < 3.0
    assert [f.time_s for f in frames] == sorted(f.time_s for f in frames)
    assert begun <= frames[0].time_s <= time.monotonic()


def test_no_frame_within_the_wait_is_an_answer(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"{number}.png", np.zeros((2, 2), np.uint8))
    frames = source(tmp_path, 0.1).frames(0.02)
    assert next(frames) is not None
    assert next(frames) is None
    assert next(frames) is None


def test_closing_ends_it(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"{number}.png", np.zeros((2, 2), np.uint8))
    made = source(tmp_path, 0.01)
    frames = made.frames(0.02)
    next(frames)
    made.close()
    made.close()
    assert list(frames) == []


def test_a_folder_without_images_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"belt.*finds no images"):
        source(tmp_path)
    with pytest.raises(UsageError):
        source(tmp_path / "nowhere")


def test_a_folder_of_broken_images_ends_with_a_fault_and_does_not_spin(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(OutriderError, match="None of the images"):
        read(source(tmp_path, loop=True))
