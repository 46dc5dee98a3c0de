"""Networks that `torch.export.save` has written: the graph as it was exported, computed by torch."""

from typing import Any

import torch
from msgspec.structs import replace
from torch import fx

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.quiet import quiet
from outrider_converter.teachers.entry import Size, Source, entry, only_input
from outrider_converter.teachers.files import digest
from outrider_converter.teachers.framed import Framed

SOFTMAX = ("aten.softmax.int", "aten._softmax.default")


def load(source: Source) -> Framed:
    """Return the network in a `.pt2` file.

    Raises:
        DataError: the file is broken, or its input does not fit.
    """
    try:
        with quiet():
            program = torch.export.load(source.path)
            module = program.module()
    except Exception as error:
        raise DataError(
            f"{source.path.name} cannot be read: {describe(error)}",
            "Write it again with torch.export.save, by the torch that is installed here",
        ) from error
    names = [str(name) for name in program.graph_signature.user_inputs]
    only_input(names, source.path)
    node = next(n for n in program.graph.nodes if n.op == "placeholder" and n.name == names[0])
    frame = entry(_sizes(node, source), source)
    most = _most(node, program)
    if frame.high is None and most is not None:
        frame = replace(frame, high=most)
    return Framed(module, frame, digest(source.path), lambda: _drop_softmax(module))


def _sizes(node: fx.Node, source: Source) -> tuple[Size, ...]:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        raise DataError(
            f"{source.path.name} takes a {type(value).__name__}, not a tensor", "Export it with one tensor"
        )
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def _most(node: fx.Node, program: torch.export.ExportedProgram) -> int | None:
    """Return the largest batch that the export allows; None if there is no limit."""
    size: Any = node.meta["val"].shape[0]
    if isinstance(size, int):
        return size
    limit: Any = program.range_constraints.get(size.node.expr)
    return int(limit.upper) if limit is not None and limit.upper.is_Integer else None


def _drop_softmax(module: fx.GraphModule) -> bool:
    """Let the graph end before its softmax, if it ends with one."""
    output = next(node for node in module.graph.nodes if node.op == "output")
    (last,) = output.all_input_nodes or (None,)
    if last is None or str(last.target) not in SOFTMAX:
        return False
    output.replace_input_with(last, last.args[0])
    if not last.users:
        module.graph.erase_node(last)
    module.recompile()
    return True
