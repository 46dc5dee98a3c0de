"""Claims of a proof: one after the other, each in a process of its own."""

import sys
import time
from collections.abc import Sequence

import msgspec

from outrider_bundle import bars
from outrider_bundle.bars import Row
from proofs.agent.runs import apart, say


def prove(proof: str, claims: Sequence[str], names: Sequence[str]) -> int:
    """Measure the claims `names` of `proof`, or all; return 1 if a bar is missed, 2 for a wrong name.

    `build/proof/PROOF.json` is written if all were measured. A claim is a module `proofs.PROOF.CLAIM` with a
    function `rows() -> tuple[Row, ...]`.
    """
    unknown = set(names) - set(claims)
    if unknown:
        sys.stderr.write(f"There is no claim {', '.join(sorted(unknown))}; there are {', '.join(claims)}\n")
        return 2
    parts = [measure(f"proofs.{proof}.{name}") for name in names or claims]
    rows = [row for part in parts for row in part]
    if not names:
        bars.write(proof, rows)
    for row in rows:
        verdict = "ok  " if row.ok else "MISS"
        sys.stdout.write(f"{verdict} {row.id} {row.shown} {row.sense} {row.limit:g}  {row.how}\n")
    return 0 if rows and all(row.ok for row in rows) and all(parts) else 1


def measure(claim: str) -> tuple[Row, ...]:
    """Return the rows of one claim; none if it failed."""
    say(f"{claim}: begins")
    start_s = time.monotonic()
    try:
        found = msgspec.convert(apart(claim, "rows"), tuple[Row, ...])
    except RuntimeError as error:
        say(f"{claim}: FAILED: {error}")
        return ()
    say(f"{claim}: ended after {time.monotonic() - start_s:.0f} s")
    return found
