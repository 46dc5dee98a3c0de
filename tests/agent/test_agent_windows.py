"""Sliding windows: against a reference that sees the whole recording, and each fault by itself."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_agent.windows import Shape, Window, Windows
from outrider_runtime.session import Array
from tests.fakes.reference_windows import reference_windows


def row(place: int, channels: int = 2, salt: int = 0) -> Array:
    return np.random.default_rng([place + 1000, salt]).normal(size=channels)


def walk(windows: Windows, places: list[int], salt: int = 0) -> list[Window]:
    return [made for place in places for made in windows.add(place, row(place, salt=salt))]


def lasts(made: list[Window]) -> list[int]:
    return [window.last for window in made]


def same(made: list[Window], expected: dict[int, Array]) -> None:
    assert lasts(made) == list(expected)
    for window in made:
        assert window.values.dtype == np.float32
        assert window.values.flags.c_contiguous
        np.testing.assert_allclose(window.values, expected[window.last], rtol=1e-6, atol=1e-6)


def disturbed(places: list[int], late: int, chance: random.Random) -> list[int]:
    """Return `places` in an order in which none comes more than `late` behind a newer one, some twice."""
    order = sorted(places, key=lambda place: (place + chance.randint(0, late), chance.random()))
    twice = [place for place in order for _ in range(1 + (chance.random() < 0.1))]
    for at in range(len(twice) - 1, 0, -1):  # and a few much later
        if chance.random() < 0.02:
            twice.insert(min(len(twice), at + chance.randrange(30)), twice[at])
    return twice


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    window=st.integers(1, 12),
    hop=st.integers(1, 15),
    late=st.integers(0, 9),
    gap=st.integers(0, 4),
    start=st.integers(-5, 10**9),
)
def test_gaps_reordering_and_duplicates_give_the_windows_of_the_sorted_recording(
    seed: int, window: int, hop: int, late: int, gap: int, start: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    kept = [
        start + n
        for n in range(300)
        if chance.random() > 0.05 and not 120 <= n < 120 + gap + chance.randrange(3)
    ]
    windows = Windows(Shape(window=window, hop=hop, late=late, gap=gap), channels=2)
    made = walk(windows, disturbed(kept, late, chance)) + windows.flush()
    same(made, reference_windows({place: row(place) for place in kept}, window, hop, gap))
    assert windows.counts.late == 0
    assert windows.counts.restarts == 0


def test_a_window_comes_with_its_last_sample() -> None:
    windows = Windows(Shape(window=3, hop=2), channels=2)
    assert [lasts(walk(windows, [place])) for place in range(7)] == [[], [], [2], [], [4], [], [6]]


def test_a_missing_sample_is_waited_for_until_its_place_is_closed() -> None:
    windows = Windows(Shape(window=2, late=2, gap=1), channels=2)
    walk(windows, [0, 1, 2])
    assert walk(windows, [4, 5]) == []
    assert lasts(walk(windows, [3])) == [3, 4, 5]
    assert walk(windows, [7, 8]) == []
    assert lasts(walk(windows, [9])) == [6, 7, 8, 9]
    assert windows.counts.filled == 1
    assert walk(windows, [6]) == []
    assert windows.counts.late == 1


def test_a_filled_row_lies_on_the_line_between_its_neighbours() -> None:
    windows = Windows(Shape(window=4, gap=2), channels=1)
    windows.add(0, np.array([1.0]))
    made = windows.add(3, np.array([4.0]))
    assert made[0].values.tolist() == [[1.0], [2.0], [3.0], [4.0]]


def test_no_window_reaches_over_a_long_gap() -> None:
    windows = Windows(Shape(window=3, gap=1), channels=2)
    made = walk(windows, [0, 1, 2, 5, 6, 7, 10**12, 10**12 + 1, 10**12 + 2])
    assert lasts(made) == [2, 7, 10**12 + 2]
    assert windows.counts.gaps == 2


def test_a_recording_may_begin_out_of_order() -> None:
    windows = Windows(Shape(window=2, late=2), channels=2)
    assert lasts(walk(windows, [2, 0, 1, 3, 4])) == [1, 2, 3, 4]


@pytest.mark.parametrize("again", [0, 500])
def test_a_number_far_behind_begins_anew(again: int) -> None:
    windows = Windows(Shape(window=3, late=2, restart=1000), channels=2)
    walk(windows, list(range(1500, 1600)))
    made = walk(windows, list(range(again, again + 10)), salt=1)
    same(made + windows.flush(), reference_windows({n: row(n, salt=1) for n in range(again, again + 10)}, 3))
    assert windows.counts.restarts == 1


def test_a_sender_that_starts_again_early_is_told_by_what_it_sends() -> None:
    windows = Windows(Shape(window=3, late=2, restart=1000), channels=2)
    walk(windows, list(range(50)))
    made = walk(windows, list(range(10)), salt=1) + windows.flush()
    same(made, reference_windows({n: row(n, salt=1) for n in range(10)}, 3))
    assert windows.counts.restarts == 1


def test_what_waited_before_a_restart_is_not_lost() -> None:
    windows = Windows(Shape(window=2, late=5, gap=1), channels=2)
    walk(windows, [5000, 5001, 5003])
    assert lasts(walk(windows, [0])) == [5001, 5002, 5003]


def test_what_is_delivered_again_is_no_restart() -> None:
    windows = Windows(Shape(window=3, late=2, restart=100), channels=2)
    walk(windows, list(range(90)))
    assert walk(windows, list(range(20, 90))) == []
    assert lasts(walk(windows, [90])) == [90]
    assert windows.counts.twice == 70
    assert windows.counts.restarts == 0


def test_two_times_that_meet_at_one_place_are_no_restart() -> None:
    windows = Windows(Shape(window=2, numbered=False), channels=2)
    walk(windows, [0, 1])
    assert windows.add(1, row(1, salt=1)) == []
    assert windows.counts.twice == 1


def test_memory_is_bounded_whatever_comes() -> None:
    chance = random.Random(1)  # noqa: S311 - nothing secret
    windows = Windows(Shape(window=4, late=8, gap=2, restart=50), channels=2)
    place = 0
    for _ in range(5000):
        place += chance.choice([1, 1, 1, 2, 3, -3, 40])
        windows.add(place, row(place))
        assert len(windows._past) <= 50
        assert len(windows._waiting) <= 9
    assert windows.counts.samples == 5000


def test_windows_are_their_own_memory() -> None:
    windows = Windows(Shape(window=2), channels=2)
    first = walk(windows, [0, 1])[0]
    before = first.values.copy()
    walk(windows, list(range(2, 20)))
    np.testing.assert_array_equal(first.values, before)
