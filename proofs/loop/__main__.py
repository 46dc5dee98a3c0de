"""Measure every bar of senses, policies and actions and write `build/proof/loop.json`.

    python -m proofs.loop                 all, on a machine that does nothing else: about four minutes
    python -m proofs.loop modbus sigkill  these only; nothing is written

One claim after the other, each in a process of its own. `PROOF_SCALE=0.1` makes all of them that much
shorter, to try them out; nothing is written then either.
"""

import os
import sys

from proofs.claims import prove

CLAIMS = ("gym", "sensor", "modbus", "http", "pipelines", "sigkill")

if __name__ == "__main__":
    tried = CLAIMS if "PROOF_SCALE" in os.environ else ()
    sys.exit(prove("loop", CLAIMS, sys.argv[1:] or tried))
