"""Measure every bar of the engine and write `build/proof/engine.json`.

    python -m proofs.engine               all, on a machine that does nothing else
    python -m proofs.engine swaps safe    these only; nothing is written

One claim after the other, each in a process of its own: what the machine does beside is measured with it.
"""

import sys

from proofs.claims import prove

CLAIMS = ("swaps", "lost", "faults", "camera", "safe")

if __name__ == "__main__":
    sys.exit(prove("engine", CLAIMS, sys.argv[1:]))
