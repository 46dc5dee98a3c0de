"""Measure the bars of the peers and print them; nothing is written.

python -m proofs.agent.peers
"""

import sys

from proofs.agent.peers.overhead import rows

for row in rows():
    sys.stdout.write(f"{row.id} {row.shown} {row.sense} {row.limit:g}\n{row.how}\n")
