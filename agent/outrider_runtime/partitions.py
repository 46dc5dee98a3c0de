"""Which nodes of a TFLite model went where, from the interpreter's list of nodes.

The list keeps every node of the file, and behind them one named DELEGATE for each partition that a
delegate took. A partition tells its inputs and outputs, so its nodes are those from outputs back to inputs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

DELEGATE = "DELEGATE"

Op = Mapping[str, Any]
"""`index`, `op_name`, and the tensors `inputs` and `outputs`, of which -1 is one left out."""


def count(ops: Sequence[Op], owners: Sequence[str]) -> dict[str, int]:
    """Return how many nodes of the file each backend runs.

    Args:
        ops: of the first subgraph; the bodies of loops and branches are not among them.
        owners: who took each partition, in order.

    Returns:
        those that have any; what nobody took is `CPU`, the interpreter's own kernels.
    """
    partitions = [op for op in ops if op["op_name"] == DELEGATE]
    makers = {int(made): op for op in ops if op["op_name"] != DELEGATE for made in op["outputs"]}
    nodes: Counter[str] = Counter()
    for owner, partition in zip(owners, partitions, strict=True):
        nodes[owner] += len(_members(partition, makers))
    nodes["CPU"] = len(ops) - len(partitions) - nodes.total()
    return dict(+nodes)


def total(ops: Sequence[Op]) -> int:
    """Return how many partitions delegates have taken."""
    return sum(op["op_name"] == DELEGATE for op in ops)


def _members(partition: Op, makers: Mapping[int, Op]) -> set[int]:
    given = set(map(int, partition["inputs"]))
    members: set[int] = set()
    ahead = list(map(int, partition["outputs"]))
    while ahead:
        tensor = ahead.pop()
        maker = makers.get(tensor)
        if maker is None or tensor in given or maker["index"] in members:
            continue
        members.add(maker["index"])
        ahead.extend(map(int, maker["inputs"]))
    return members
