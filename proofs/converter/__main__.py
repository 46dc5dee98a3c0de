"""Measure every bar of the converter and write `build/proof/converter.json`.

    python -m proofs.converter            all
    python -m proofs.converter full tiny  these only; nothing is written

Each claim is a process of its own. Two run at a time, on one thread each: what is timed is timed interleaved.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from outrider_bundle import bars
from outrider_bundle.bars import Row
from proofs.converter.runs import ROOT, one_thread, say

CLAIMS = ("full", "gain", "pruning", "tiny", "lite0", "resume", "saturation", "inputs")
"""The longest first."""

AT_ONCE = 2


def main(names: Sequence[str]) -> int:
    """Measure the claims `names`, or all; return 1 if a bar is missed."""
    unknown = set(names) - set(CLAIMS)
    if unknown:
        sys.stderr.write(f"There is no claim {', '.join(sorted(unknown))}; there are {', '.join(CLAIMS)}\n")
        return 2
    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = tuple(pool.map(measure, names or CLAIMS))
    rows = [row for part in parts for row in part]
    if not names:
        bars.write("converter", rows)
    for row in rows:
        sys.stdout.write(f"{'ok  ' if row.ok else 'MISS'} {row.id} {row.shown} {row.sense} {row.limit:g}\n")
    return 0 if rows and all(row.ok for row in rows) and all(parts) else 1


def measure(name: str) -> tuple[Row, ...]:
    """Run one claim in a process of its own and return its rows; none if it failed."""
    say(f"{name}: begins")
    start = time.monotonic()
    code = (
        f"import sys, msgspec; from proofs.converter import {name}; "
        f"sys.stdout.buffer.write(msgspec.json.encode({name}.rows()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=False, cwd=ROOT, env=one_thread()
    )
    say(f"{name}: {'ended' if done.returncode == 0 else 'FAILED'} after {time.monotonic() - start:.0f} s")
    return msgspec.json.decode(done.stdout, type=tuple[Row, ...]) if done.returncode == 0 else ()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
