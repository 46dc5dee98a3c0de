"""A validator of JSON Schema, for those keywords that msgspec writes; it refuses to read any other."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Node = dict[str, Any]

IDLE = frozenset({"$schema", "$id", "$defs", "title", "description", "default"})
NUMBER = (int, float)
TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": NUMBER,
    "null": (type(None),),
}
LIMITS: Mapping[str, tuple[tuple[type, ...], Callable[[Any, Any], bool]]] = {
    "minItems": ((list,), lambda value, limit: len(value) >= limit),
    "maxItems": ((list,), lambda value, limit: len(value) <= limit),
    "minLength": ((str,), lambda value, limit: len(value) >= limit),
    "maxLength": ((str,), lambda value, limit: len(value) <= limit),
    "pattern": ((str,), lambda value, limit: re.search(limit, value) is not None),
    "minimum": (NUMBER, lambda value, limit: value >= limit),
    "maximum": (NUMBER, lambda value, limit: value <= limit),
    "exclusiveMinimum": (NUMBER, lambda value, limit: value > limit),
}
PARTS = frozenset({"properties", "additionalProperties", "propertyNames", "items", "prefixItems", "required"})


def faults(value: object, node: Node, root: Node, where: str = "file") -> Iterator[str]:
    """Yield where and how `value` is not what `node` of the schema `root` says."""
    for keyword, wanted in node.items():
        if keyword == "$ref":
            yield from faults(value, root["$defs"][wanted.removeprefix("#/$defs/")], root, where)
        elif keyword in {"oneOf", "anyOf"}:
            fitting = sum(not list(faults(value, one, root, where)) for one in wanted)
            if not fitting or (keyword == "oneOf" and fitting > 1):
                yield f"{where}: fits {fitting} of those it may be"
        elif keyword in LIMITS:
            kinds, holds = LIMITS[keyword]
            if isinstance(value, kinds) and not holds(value, wanted):
                yield f"{where}: {keyword} is {wanted}"
        elif keyword in {"type", "const", "enum"}:
            yield from _single(value, keyword, wanted, where)
        elif keyword not in {*PARTS, *IDLE}:
            raise NotImplementedError(keyword)
    yield from _within(value, node, root, where)


def _single(value: object, keyword: str, wanted: Any, where: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    if keyword == "type":
        truth = isinstance(value, bool) and wanted != "boolean"
        good = isinstance(value, TYPES[wanted]) and not truth
    else:
        good = value == wanted if keyword == "const" else value in wanted
    if not good:
        yield f"{where}: {keyword} is {wanted}"


def _within(value: object, node: Node, root: Node, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        known, others = node.get("properties", {}), node.get("additionalProperties", True)
        yield from (f"{where}.{name}: missing" for name in node.get("required", ()) if name not in value)
        for name, one in value.items():
            yield from faults(name, node.get("propertyNames", {}), root, f"{where}.{name}")
            if name not in known and others is False:
                yield f"{where}.{name}: unknown"
            meant = known.get(name, others)
            yield from faults(one, meant if isinstance(meant, dict) else {}, root, f"{where}.{name}")
    elif isinstance(value, list):
        first, others = node.get("prefixItems", ()), node.get("items", {})
        for at, one in enumerate(value):
            meant = first[at] if at < len(first) else others
            yield from faults(one, meant if isinstance(meant, dict) else {}, root, f"{where}[{at}]")
