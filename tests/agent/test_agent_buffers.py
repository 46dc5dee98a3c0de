"""Frames go round in a few arrays."""

import numpy as np

from outrider_agent.buffers import SPARE, Buffers


def test_an_array_comes_back_when_it_is_released() -> None:
    buffers = Buffers()
    assert buffers.take() is None
    array = np.zeros((4, 4), np.uint8)
    release = buffers.lease(array)
    assert buffers.take() is None
    release()
    assert buffers.take() is array
    assert buffers.take() is None


def test_another_shape_replaces_the_free_ones() -> None:
    buffers = Buffers()
    old, new = np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8)
    buffers.lease(old)()
    buffers.lease(new)()
    assert buffers.take() is new
    assert buffers.take() is None


def test_few_are_kept_and_no_views() -> None:
    buffers, whole = Buffers(), np.zeros((8, 4), np.uint8)
    buffers.lease(whole[:4])()
    assert buffers.take() is None
    for _ in range(SPARE + 3):
        buffers.lease(np.zeros((4, 4), np.uint8))()
    taken = 0
    while buffers.take() is not None:
        taken += 1
    assert taken == SPARE
