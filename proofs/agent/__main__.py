"""Measure every bar of the agent's loop and write `build/proof/agent.json`.

    python -m proofs.agent                all, on a machine that does nothing else
    python -m proofs.agent loops memory   these only; nothing is written

One claim after the other, each in a process of its own: processor time is what is measured.
"""

import sys

from proofs.claims import prove

CLAIMS = ("loops", "start", "memory", "age", "preprocessing", "peers")

if __name__ == "__main__":
    sys.exit(prove("agent", CLAIMS, sys.argv[1:]))
