"""The bar of `benchmarks/preprocess.py`, run again."""

import subprocess
import sys

from outrider_bundle import bars
from outrider_bundle.bars import Row
from proofs.agent.runs import one_thread
from proofs.agent.video import ROOT


def rows() -> tuple[Row, ...]:
    """Run the benchmark and return what it has written."""
    script = ROOT / "benchmarks" / "preprocess.py"
    subprocess.run(
        [sys.executable, str(script)], check=False, cwd=ROOT, env=one_thread(), stdout=subprocess.DEVNULL
    )
    return bars.read(ROOT / bars.PROOFS / "preprocess.json").rows
