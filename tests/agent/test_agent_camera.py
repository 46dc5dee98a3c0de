"""The source `camera`, against a capture device with a plug that can be pulled."""

import time

import numpy as np
import pytest

from outrider_agent.seams import Context, Frame, NullPublisher
from outrider_agent.sources.camera import CameraOptions, CameraSource
from outrider_bundle.topics import Topics
from tests.fakes.camera import Plug

CONTEXT = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher())


def source(plug: Plug, retry_s: float = 0.01) -> CameraSource:
    return CameraSource(CameraOptions(retry_s=retry_s), CONTEXT, plug)


def read(made: CameraSource, count: int) -> list[Frame]:
    frames: list[Frame] = []
    for frame in made.frames(0.05):
        if frame is not None:
            frame.release()
            frames.append(frame)
        if len(frames) == count:
            break
    return frames


def test_a_camera_that_goes_away_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    plug = Plug([3, 0, 0, 2])
    frames = read(source(plug), 5)
    assert [f.id for f in frames] == ["0", "1", "2", "3", "4"]
    assert len(plug.opened) == 4
    assert all(capture.released for capture in plug.opened[:3])
    said = [record.message for record in caplog.records]
    assert len(said) == 2  # once when it goes, once when it is back
    assert "gives no frames" in said[0]
    assert "is back" in said[1]


def test_while_it_is_away_there_is_an_answer_within_the_wait() -> None:
    frames = source(Plug([1]), retry_s=30.0).frames(0.05)
    assert next(frames) is not None
    for _ in range(3):
        begun = time.monotonic()
        assert next(frames) is None
        assert time.monotonic() - begun < 2.0


def test_closing_ends_it_and_frees_the_device() -> None:
    plug = Plug([1000])
    made = source(plug)
    frames = made.frames(0.05)
    next(frames)
    made.close()
    made.close()
    assert list(frames) == []
    assert plug.opened[0].released


def test_closing_cuts_the_rest_short() -> None:
    made = source(Plug([]), retry_s=60.0)
    frames = made.frames(60.0)
    made.close()
    begun = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - begun < 5.0


def test_released_memory_is_used_again() -> None:
    plug = Plug([100])
    frames = read(source(plug), 50)
    assert len(set(plug.written)) <= 2
    assert frames[0].array.dtype == np.uint8


def test_frames_are_stamped_with_the_clock_of_the_loop() -> None:
    begun = time.monotonic()
    frames = read(source(Plug([2])), 2)
    assert begun <= frames[0].time_s <= frames[1].time_s <= time.monotonic()
