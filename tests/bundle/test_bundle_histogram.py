"""Histograms: never more than 3.2 % off, and merging is adding."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_bundle.histogram import SIZE, TOP, Histogram, middle, span

VALUES = st.lists(st.integers(0, TOP), min_size=1, max_size=200)
ERROR = 0.032


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(VALUES, st.floats(0.0, 1.0))
def test_a_quantile_is_close_to_the_exact_one(values: list[int], share: float) -> None:
    rank = max(1, -int(-share * len(values) // 1))
    exact = sorted(values)[rank - 1]
    (found,) = filled(values).quantiles(share)
    assert abs(found - exact) <= ERROR * exact


@given(st.integers(0, 63))
def test_small_values_are_exact(value: int) -> None:
    assert filled([value]).quantiles(0.0, 0.5, 1.0) == (value, value, value)


@given(VALUES, VALUES)
def test_merging_is_recording_both(one: list[int], other: list[int]) -> None:
    merged = filled(one).merged(filled(other))
    assert merged.counts == filled(one + other).counts
    assert merged.count == len(one) + len(other)


@given(VALUES, VALUES)
def test_what_came_since_a_copy_is_what_was_recorded_after_it(before: list[int], after: list[int]) -> None:
    histogram = filled(before)
    earlier = histogram.copy()
    for value in after:
        histogram.record(value)
    assert histogram.since(earlier).counts == filled(after).counts
    assert earlier.counts == filled(before).counts


@pytest.mark.parametrize(("value", "bucket"), [(-5, 0), (0, 0), (TOP, SIZE - 1), (TOP + 1, SIZE - 1)])
def test_values_beyond_the_ends_count_at_the_ends(value: int, bucket: int) -> None:
    assert filled([value]).counts[bucket] == 1


def test_several_quantiles_come_in_one_walk() -> None:
    values = [*range(1, 1001, 2), *range(1000, 0, -2)]
    p50, p99, most = filled(values).quantiles(0.5, 0.99, 1.0)
    assert (p50, p99, most) == pytest.approx((500, 990, 1000), rel=ERROR)


def test_an_empty_one_has_no_quantiles() -> None:
    assert Histogram().quantiles(0.5, 0.99) == (0, 0)
    assert Histogram().count == 0


def test_buckets_grow_without_a_gap() -> None:
    middles = [middle(bucket) for bucket in range(SIZE)]
    assert middles == sorted(set(middles))


@given(VALUES)
def test_the_buckets_of_a_message_are_the_histogram(values: list[int]) -> None:
    histogram = filled(values)
    assert Histogram.of(histogram.buckets).counts == histogram.counts
    assert sum(count for _, count in histogram.buckets) == len(values)
    assert len(histogram.buckets) <= len(values)


@given(VALUES, VALUES, st.floats(0.0, 1.0))
def test_what_several_messages_hold_can_be_added_up(one: list[int], other: list[int], share: float) -> None:
    merged = Histogram.of([*filled(one).buckets, *filled(other).buckets])
    assert merged.quantiles(share) == filled(one + other).quantiles(share)


@given(st.integers(0, TOP))
def test_a_value_lies_in_its_bucket_which_is_narrow(value: int) -> None:
    ((bucket, _),) = filled([value]).buckets
    low, high = span(bucket)
    assert low <= value <= high
    assert high - low <= ERROR * low


def test_spans_meet() -> None:
    spans = [span(bucket) for bucket in range(SIZE)]
    assert all(low == high + 1 for (_, high), (low, _) in itertools.pairwise(spans))
    assert (spans[0][0], spans[-1][1]) == (0, TOP)


def test_an_unknown_bucket_is_refused() -> None:
    with pytest.raises(IndexError):
        Histogram.of([(SIZE, 1)])
