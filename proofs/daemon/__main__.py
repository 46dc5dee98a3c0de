"""Measure every bar of the daemon and write `build/proof/daemon.json`.

    python -m proofs.daemon                        all, as root, on a machine that does nothing else: about
                                                   eight minutes
    python -m proofs.daemon outbox_lost telemetry  these only; nothing is written

One claim after the other, each in a process of its own. `PROOF_SCALE=0.1` makes all of them that much
shorter, to try them out; nothing is written then either.
"""

import os
import sys

from proofs.claims import prove

CLAIMS = (
    "outbox_start",
    "outbox_lost",
    "outbox_powercut",
    "outbox_full",
    "telemetry",
    "histogram",
    "score",
    "systemd",
    "reload",
)

if __name__ == "__main__":
    tried = CLAIMS if "PROOF_SCALE" in os.environ else ()
    sys.exit(prove("daemon", CLAIMS, sys.argv[1:] or tried))
