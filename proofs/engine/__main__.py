"""Measure every bar of the engine and write `build/proof/engine.json`.

    python -m proofs.engine               all, on a machine that does nothing else
    python -m proofs.engine swaps safe    these only; nothing is written

One claim after the other, each in a process of its own: what the machine does beside is measured with it.
"""

import sys
import time
from collections.abc import Sequence

import msgspec

from outrider_bundle import bars
from outrider_bundle.bars import Row
from proofs.agent.runs import apart, say

CLAIMS = ("swaps", "lost", "faults", "camera", "safe")


def main(names: Sequence[str]) -> int:
    """Measure the claims `names`, or all; return 1 if a bar is missed."""
    unknown = set(names) - set(CLAIMS)
    if unknown:
        sys.stderr.write(f"There is no claim {', '.join(sorted(unknown))}; there are {', '.join(CLAIMS)}\n")
        return 2
    parts = [measure(name) for name in names or CLAIMS]
    rows = [row for part in parts for row in part]
    if not names:
        bars.write("engine", rows)
    for row in rows:
        verdict = "ok  " if row.ok else "MISS"
        sys.stdout.write(f"{verdict} {row.id} {row.value:.4g} {row.sense} {row.limit:g}  {row.how}\n")
    return 0 if rows and all(row.ok for row in rows) and all(parts) else 1


def measure(name: str) -> tuple[Row, ...]:
    """Run one claim in a process of its own and return its rows; none if it failed."""
    say(f"{name}: begins")
    start_s = time.monotonic()
    try:
        found = msgspec.convert(apart(f"proofs.engine.{name}", "rows"), tuple[Row, ...])
    except RuntimeError as error:
        say(f"{name}: FAILED: {error}")
        return ()
    say(f"{name}: ended after {time.monotonic() - start_s:.0f} s")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
