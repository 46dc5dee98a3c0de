"""Latencies as integer log-linear buckets: cheap to record, mergeable, at most 3.2 % off.

32 buckets to an octave, after HdrHistogram (hdrhistogram.org) without its configuration: a value is
shifted until 6 bits are left, and bits and shift are the bucket. Values below 64 are exact. A message holds
the buckets that are not empty; whoever receives several adds them up and asks the sum.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Self

SUB_BITS = 5
SUB = 1 << SUB_BITS
MAX_BITS = 42
"""2^42 ns is 73 minutes; what is longer counts as that."""
TOP = (1 << MAX_BITS) - 1
SIZE = (MAX_BITS - SUB_BITS + 1) << SUB_BITS


class Histogram:
    """Counts of non-negative integers, nanoseconds by convention; what is negative counts as 0.

    One thread records; others may take a `copy` at any time, which is one step of the interpreter.
    """

    __slots__ = ("counts",)

    def __init__(self, counts: Sequence[int] | None = None) -> None:
        """Start empty, or with the counts of another one."""
        self.counts = [0] * SIZE if counts is None else list(counts)

    def record(self, value: int) -> None:
        """Count `value`."""
        shift = value.bit_length() - SUB_BITS - 1
        if value <= 0:
            self.counts[0] += 1
        elif shift <= 0:
            self.counts[value] += 1
        else:
            at = (shift << SUB_BITS) + (value >> shift)
            self.counts[at if at < SIZE else -1] += 1

    @classmethod
    def of(cls, buckets: Iterable[tuple[int, int]]) -> Self:
        """Return the counts that a message holds as pairs of bucket and count.

        Raises:
            IndexError: there is no such bucket.
        """
        histogram = cls()
        for bucket, count in buckets:
            histogram.counts[bucket] += count
        return histogram

    @property
    def buckets(self) -> tuple[tuple[int, int], ...]:
        """The buckets that are not empty, in ascending order, each with its count."""
        return tuple((bucket, count) for bucket, count in enumerate(self.counts) if count)

    @property
    def count(self) -> int:
        """How many values were recorded."""
        return sum(self.counts)

    def copy(self) -> Self:
        """Return the counts as they are now."""
        return type(self)(self.counts)

    def since(self, earlier: "Histogram") -> "Histogram":
        """Return what was recorded after `earlier`, a copy of this one."""
        return Histogram([now - then for now, then in zip(self.counts, earlier.counts, strict=True)])

    def merged(self, other: "Histogram") -> "Histogram":
        """Return the counts of both."""
        return Histogram([a + b for a, b in zip(self.counts, other.counts, strict=True)])

    def quantiles(self, *shares: float) -> tuple[int, ...]:
        """Return for each of the ascending `shares` the middle of the bucket it falls into; 0 if empty."""
        total = self.count
        found: list[int] = []
        seen, at = 0, -1
        for share in shares:
            rank = max(1, math.ceil(share * total))
            while seen < rank and at < SIZE - 1:
                at += 1
                seen += self.counts[at]
            found.append(middle(at) if total else 0)
        return tuple(found)


def span(bucket: int) -> tuple[int, int]:
    """Return the lowest and the highest value that count in `bucket`."""
    shift = max(0, (bucket >> SUB_BITS) - 1)
    low = (bucket - (shift << SUB_BITS)) << shift
    return low, low + (1 << shift) - 1


def middle(bucket: int) -> int:
    """Return the value in the middle of `bucket`."""
    low, high = span(bucket)
    return (low + high + 1) // 2
