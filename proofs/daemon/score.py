"""How exposed the units are: the worst score of systemd-analyze for one, alone or with its drop-ins."""

import math
import re
import shutil
import subprocess

from outrider_bundle.bars import Row
from proofs.agent.video import ROOT

CHECK = ROOT / "systemd" / "check.sh"
SCORED = re.compile(r"^(.+): verified, score ([\d.]+)$", re.MULTILINE)
MOST = 2.0


def rows() -> tuple[Row, ...]:
    """Return the row; without systemd-analyze, or where it refuses a unit, there is no value."""
    if shutil.which("systemd-analyze") is None:
        return (_row(math.nan, "NOT MEASURED: systemd-analyze is not installed"),)
    done = subprocess.run(["sh", CHECK], capture_output=True, text=True, check=False)
    scores = {said: float(score) for said, score in SCORED.findall(done.stdout)}
    if not scores or (done.returncode and max(scores.values()) <= MOST):
        return (_row(math.nan, f"NOT MEASURED: {(done.stderr or done.stdout).strip()[-300:]}"),)
    worst = max(scores, key=lambda said: scores[said])
    units = ", ".join(f"{said} {score:g}" for said, score in scores.items() if " with " not in said)
    told = f"systemd-analyze security --offline of both units, alone and with their drop-ins; {units}; worst"
    return (_row(scores[worst], f"{told}: {worst}"),)


def _row(value: float, how: str) -> Row:
    return Row(id="unit.score", value=value, sense="<=", limit=MOST, unit="", how=how)
