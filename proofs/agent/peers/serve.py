"""The process of one side: orders come as lines on standard input, answers go as lines to standard output.

    python -m proofs.agent.peers.serve NAME TASK

NAME is a module of `proofs.agent.peers.sides`, TASK a JSON object.
"""

import os
import sys
from importlib import import_module

import msgspec

from proofs.agent.peers.seam import Order, Side, Spent, Task


def main(name: str, task: str) -> None:
    """Start the side and obey until the input ends."""
    with os.fdopen(os.dup(1), "wb", 0) as answers:
        os.dup2(2, 1)  # what libraries print is no answer
        given = msgspec.json.decode(task, type=Task)
        side: Side = import_module(f"proofs.agent.peers.sides.{name}").start(given)
        try:
            answers.write(msgspec.json.encode(side.about) + b"\n")
            for line in sys.stdin.buffer:
                spent = _obey(side, msgspec.json.decode(line, type=Order))
                answers.write(msgspec.json.encode(spent) + b"\n")
        finally:
            side.close()


def _obey(side: Side, order: Order) -> Spent:
    frame_s = side.bare(order.frames) if order.bare else side.loop(order.frames)
    return Spent(frame_s=frame_s, objects=side.objects)


if __name__ == "__main__":
    main(*sys.argv[1:])
