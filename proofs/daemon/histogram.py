"""What it costs to count a time: our histogram beside `hdrhistogram`, the port that others use.

Both count the same values, latencies of a loop that mostly takes milliseconds, in turns within one process.
hdrhistogram is set up for the same range with two significant digits, which is coarser than ours at worst.
"""

import gc
import importlib.metadata
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence

from hdrh.histogram import HdrHistogram

from outrider_bundle.bars import Row
from outrider_bundle.histogram import TOP, Histogram
from proofs.agent.runs import say

VALUES, ROUNDS = 20_000, 41
DIGITS = 2
SCALE = float(os.environ.get("PROOF_SCALE", "1"))


def rows() -> tuple[Row, ...]:
    """Measure `histogram.cost`."""
    values = latencies(VALUES)
    own, peer = Histogram(), HdrHistogram(1, TOP, DIGITS)
    records: tuple[Callable[[int], object], ...] = (own.record, peer.record_value)
    rounds = max(5, round(SCALE * ROUNDS))
    spent = [[cost_ns(record, values) for record in records] for _ in range(rounds)]
    ratios = sorted(mine / other for mine, other in spent)
    mine, other = (statistics.median(side) for side in zip(*spent, strict=True))
    say(f"histogram.cost: {mine:.0f} over {other:.0f} ns")
    (p99_ns,), peer_ns = own.quantiles(0.99), peer.get_value_at_percentile(99.0)
    version = importlib.metadata.version("hdrhistogram")
    low, high = ratios[rounds // 4], ratios[3 * rounds // 4]
    how = (
        f"CPU time of a record over that of hdrhistogram {version}, in Python, median of {rounds} "
        f"interleaved rounds of {VALUES:,} values; half of them {low:.3f} to {high:.3f}; here {mine:.0f} "
        f"over {other:.0f} ns; their p99: {p99_ns / 1e6:.2f} and {peer_ns / 1e6:.2f} ms"
    )
    same = abs(p99_ns - peer_ns) <= 0.05 * peer_ns
    value = statistics.median(ratios) if same else float("nan")
    return (Row(id="histogram.cost", value=value, sense="<=", limit=0.25, unit="ratio", how=how),)


def latencies(count: int) -> list[int]:
    """Return nanoseconds as a loop takes them: mostly about 7 ms, with a tail."""
    chance = random.Random(0)  # noqa: S311 - the same values in every run
    return [round(chance.lognormvariate(15.76, 0.25)) for _ in range(count)]


def cost_ns(record: Callable[[int], object], values: Sequence[int]) -> float:
    """Return CPU nanoseconds of one call, the loop around it taken off."""
    gc.collect()
    begun_ns = time.process_time_ns()
    for value in values:
        record(value)
    middle_ns = time.process_time_ns()
    for _value in values:
        pass
    return (2 * middle_ns - begun_ns - time.process_time_ns()) / len(values)
