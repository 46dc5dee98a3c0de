"""What a target would refuse of a file, told before anybody has it compiled.

All of it follows from documented rules and the file alone, so every line says that it is a prediction.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from outrider_bundle.errors import DataError
from outrider_converter.targets.target import Operators, Target

PREDICTED = "predicted, not compiled"
MB = 1e6


def check_memory(target: Target, files: Iterable[Path]) -> tuple[str, ...]:
    """Return a fault if the files of one variant are larger than the target's memory."""
    size_mb = sum(path.stat().st_size for path in files) / MB
    if not target.memory_mb or size_mb <= target.memory_mb:
        return ()
    return (
        f"{target.name}: the files take {size_mb:.1f} MB and its memory is {target.memory_mb} ({PREDICTED})",
    )


def check_operators(target: Target, path: Path) -> tuple[str, ...]:
    """Return what the target's compiler would not take of a TFLite file, in the file's order.

    Args:
        target: one without operator constraints takes everything.
        path: `.tflite`, of one subgraph or more.

    Raises:
        DataError: the file is no TFLite.
    """
    if target.operators is None:
        return ()
    model = _model(path)
    found = [fault for graph in model.subgraphs for fault in _faults(model, graph, target.operators)]
    return tuple(f"{target.name}: {fault} ({PREDICTED})" for fault in found)


def _model(path: Path) -> Any:  # noqa: ANN401 - the generated types are wrong
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise DataError(f"{path.name} is not a TFLite file", "Give a .tflite file")
    try:
        return schema.ModelT.InitFromPackedBuf(bytearray(data))
    except Exception as error:
        raise DataError(f"{path.name} is a broken TFLite file", "Convert it again") from error


def _faults(model: Any, graph: Any, rules: Operators) -> Iterator[str]:  # noqa: ANN401 - see above
    yield from _operator_faults(model, graph, rules)
    kinds = _names(schema.TensorType)
    types = Counter(kinds[t.type] for t in graph.tensors if kinds[t.type] not in rules.types)
    for name, count in types.items():
        yield f"{count} tensors are {name}, allowed are {', '.join(rules.types)}"
    if any(-1 in _sizes(tensor.shapeSignature) for tensor in graph.tensors):
        yield "shapes are dynamic and must be static"
    for index in graph.inputs:
        shape = _sizes(graph.tensors[index].shape)
        if shape[:1] != [rules.batch]:
            yield f"an input has the shape {tuple(shape)} and must have the batch {rules.batch}"
    if any(_too_deep(model, tensor, rules.rank) for tensor in graph.tensors):
        yield f"an activation has more than its {rules.rank} innermost dimensions above 1"


def _operator_faults(model: Any, graph: Any, rules: Operators) -> Iterator[str]:  # noqa: ANN401 - see above
    """Name each operator that is not allowed once, and where the part ends that an accelerator could take."""
    names = [_operator(model.operatorCodes[op.opcodeIndex]) for op in graph.operators]
    refused = [at for at, name in enumerate(names) if name not in rules.allowed]
    for name, count in Counter(names[at] for at in refused).items():
        yield f"operator {name} ({count} of {len(names)}) is not one that it runs"
    if refused:
        yield f"operators {refused[0] + 1} to {len(names)} of {len(names)} would run on the CPU"


def _operator(code: Any) -> str:  # noqa: ANN401 - see above
    # Files of before and after the schema's third revision have the number in one place or the other.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return bytes(code.customCode or b"custom").decode(errors="replace")
    return _names(schema.BuiltinOperator).get(number, str(number))


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if name.isupper()}


def _sizes(shape: Any) -> list[int]:  # noqa: ANN401 - see above
    return [] if shape is None else [int(size) for size in shape]


def _too_deep(model: Any, tensor: Any, rank: int) -> bool:  # noqa: ANN401 - see above
    """Whether an activation has a dimension above 1 outside its innermost `rank` ones."""
    constant = model.buffers[tensor.buffer].data is not None
    return not constant and any(size > 1 for size in _sizes(tensor.shape)[:-rank])
