"""What every source promises, whoever wrote it."""

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from outrider_agent import parts
from outrider_agent.feeder import Feeder
from outrider_agent.mailbox import Mailbox
from outrider_agent.seams import Context, Frame, NullPublisher, Source
from outrider_bundle import plugins
from outrider_bundle.topics import Topics
from outrider_runtime.session import Array
from tests.fakes import examples

WAIT_S = 0.2
PATIENCE = 200
"""Turns within which a source has to give a frame."""


@pytest.fixture(params=plugins.names(parts.SOURCES))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    context = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher())
    built = parts.source(examples.part(parts.SOURCES, request.param, tmp_path), context)
    yield built
    built.close()


def some(source: Source, count: int) -> list[Frame]:
    """Return the first `count` frames, each released before the next."""
    frames: list[Frame] = []
    for frame in itertools.islice(source.frames(WAIT_S), PATIENCE):
        if frame is not None:
            frames.append(frame)
            frame.release()
        if len(frames) == count:
            break
    assert len(frames) == count
    return frames


def is_picture(array: Array) -> bool:
    return array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2:] == (3,))


def is_sample(array: Array) -> bool:
    """Numbers in the machine's byte order, of any shape but none."""
    return array.dtype.kind in "biuf" and array.dtype.isnative and array.ndim > 0 and array.size > 0


def test_frames_are_named_numbered_stamped_and_of_the_promised_form(source: Source) -> None:
    begun = time.monotonic()
    frames = some(source, 3)
    assert [frame.seq for frame in frames] == [0, 1, 2]
    assert all(0 < len(frame.id) <= 4096 for frame in frames)
    assert [f.time_s for f in frames] == sorted(f.time_s for f in frames)
    assert begun <= frames[0].time_s
    assert frames[-1].time_s <= time.monotonic()
    for frame in frames:
        assert is_picture(frame.array) or is_sample(frame.array)
        assert frame.array.flags.c_contiguous


def test_a_frame_that_is_not_released_keeps_its_pixels(source: Source) -> None:
    held: list[tuple[Frame, bytes]] = []
    for frame in itertools.islice(source.frames(WAIT_S), 20):
        if frame is not None:
            held.append((frame, frame.array.tobytes()))
        if len(held) == 3:
            break
    assert held
    assert all(frame.array.tobytes() == pixels for frame, pixels in held)


def test_every_turn_is_bounded(source: Source) -> None:
    turns = source.frames(WAIT_S)
    for _ in range(8):
        begun = time.monotonic()
        if next(turns, "the end") == "the end":
            break
        assert time.monotonic() - begun < WAIT_S + 2.0


def test_closing_ends_it_from_another_thread_and_twice(source: Source) -> None:
    threading.Timer(0.1, source.close).start()
    begun = time.monotonic()
    for frame in source.frames(WAIT_S):
        if frame is not None:
            frame.release()
    assert time.monotonic() - begun < 10.0
    source.close()


def test_closing_before_the_first_frame_is_allowed(source: Source) -> None:
    source.close()
    for _ in itertools.islice(source.frames(WAIT_S), 3):
        pass


def test_it_feeds_a_mailbox_and_its_thread_ends(source: Source) -> None:
    mailbox = Mailbox()
    feeder = Feeder(source, mailbox, "belt")
    feeder.start()
    end_s = time.monotonic() + 20
    while (frame := mailbox.take(WAIT_S)) is None:
        assert time.monotonic() < end_s
    frame.release()
    feeder.stop()
    assert feeder.error is None
    assert not feeder._thread.is_alive()
