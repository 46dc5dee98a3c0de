"""How long one inference takes: all models interleaved on one thread, so that disturbances hit all alike."""

import statistics
import time
from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from outrider_converter.progress import Task
from outrider_runtime.session import Array, Session, empty

ROUNDS = 60
CALLS = 20
"""Per round and model; one more before them warms the caches and is not counted."""


class Latency(Struct, frozen=True, kw_only=True):
    """Time of one call of a session, preprocessing and decoding excluded."""

    min_ms: float
    p50_ms: float


def measure(
    sessions: Mapping[str, Session], task: Task, rounds: int = ROUNDS, calls: int = CALLS
) -> dict[str, Latency]:
    """Time every session on inputs of zeros, turn and turn about."""
    feeds = {name: _buffers(session) for name, session in sessions.items()}
    times: dict[str, list[int]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            inputs, outputs = feeds[name]
            session.run(inputs, outputs)
            for _ in range(calls):
                start = time.perf_counter_ns()
                session.run(inputs, outputs)
                times[name].append(time.perf_counter_ns() - start)
        task.advance()
    return {n: Latency(min_ms=min(t) / 1e6, p50_ms=statistics.median(t) / 1e6) for n, t in times.items()}


def speedup(reference: Latency, this: Latency) -> float:
    """Return how many times as fast `this` is: the lower of the ratios of minima and of medians."""
    return min(reference.min_ms / this.min_ms, reference.p50_ms / this.p50_ms)


def _buffers(session: Session) -> tuple[list[Array], list[Array]]:
    inputs = [np.zeros(t.shape, np.dtype(t.dtype)) for t in session.inputs]
    return inputs, [empty(t) for t in session.outputs]
