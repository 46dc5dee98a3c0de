"""What a receiver knows of events from their numbers alone: how many are missing, how many came again."""

from collections.abc import Iterable, Mapping
from typing import Self

import msgspec
from msgspec import Struct

from outrider_bundle.messages.event import Event


class Ledger(Struct, frozen=True, kw_only=True):
    """The books.

    Args:
        received: how many events came, with repetitions.
        seen: of each run, its numbers.
        doubled: events that are still double after one of each `(run, seq)` was kept.
    """

    received: int
    seen: Mapping[str, frozenset[int]]
    doubled: int

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """Enter `events`, in any order."""
        received, first, conflicts = 0, dict[tuple[str, int], bytes](), 0
        for event in events:
            received += 1
            key, content = (event.run, event.seq), _content(event)
            conflicts += first.setdefault(key, content) != content
        seen: dict[str, set[int]] = {}
        for run, seq in first:
            seen.setdefault(run, set()).add(seq)
        twins = len(first) - len(set(first.values()))
        numbers = {run: frozenset(seqs) for run, seqs in seen.items()}
        return cls(received=received, seen=numbers, doubled=conflicts + twins)

    @property
    def unique(self) -> int:
        """How many different events came."""
        return sum(map(len, self.seen.values()))

    def missing(self, run: str, least: int) -> int:
        """Return how many events of `run` are missing: gaps, and whatever lacks of its first `least`."""
        seen = self.seen.get(run, frozenset())
        return len(set(range(max(least, max(seen, default=-1) + 1))) - seen)


def _content(event: Event) -> bytes:
    """Return what an event says, without its number: no two are alike, since each has a time."""
    fields = msgspec.structs.asdict(event)
    return msgspec.msgpack.encode({key: fields[key] for key in fields if key not in ("run", "seq")})
