"""JSON Schema of the agent's configuration, as published under `docs/schema/`.

python -m outrider_agent.schema docs/schema

It describes a TOML file read as JSON, with the options of the plug-ins of this project; those of others are
not in it. What no schema can say (keys that need each other, names that must lead somewhere) is what
`outrider agent check` is for.
"""

import copy
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from outrider_agent.config import Document
from outrider_agent.parts import ACTIONS, POLICIES, SOURCES
from outrider_bundle import plugins
from outrider_bundle.schema import DIALECT

NAME = "agent-config"
GROUPS: Mapping[str, str] = {SOURCES: "source", POLICIES: "policy", ACTIONS: "action"}
"""What a plug-in of each group is called in the definitions, as in `source-images`."""

Node = dict[str, Any]


def schema() -> Node:
    """Return the JSON Schema of the whole file.

    Raises:
        MissingExtraError: a plug-in's library is not installed.
    """
    options = {
        f"{what}-{kind}": (kind, _options(group, kind))
        for group, what in GROUPS.items()
        for kind in _shipped(group)
    }
    shapes, definitions = msgspec.json.schema_components(
        [Document, *(struct for _, struct in options.values())],
        schema_hook=_hook,
        ref_template="#/$defs/{name}",
    )
    definitions = dict(definitions)
    for (name, (kind, _)), shape in zip(options.items(), list(shapes)[1:], strict=True):
        own = definitions[_target(shape)]
        definitions[name] = _with(own, "kind", {"const": kind})
        if name.startswith("source-"):
            definitions[f"shared-{name}"] = _with(definitions[name], "id", {"$ref": "#/$defs/Id"})
    definitions["Id"] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
    _plug_in(definitions, [*options])
    head: Node = {"$schema": DIALECT, "$id": f"urn:outrider:schema:{NAME}:1"}
    document = next(iter(shapes))
    used = _used(definitions, document)
    whole = {**head, **document, "$defs": {name: definitions[name] for name in sorted(used)}}
    described: Node = _ecma(whole)
    return described


def text() -> str:
    """Return the content of the file."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n"


def write(folder: Path) -> Path:
    """Write the schema into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.json"
    path.write_text(text(), encoding="utf-8")
    return path


def _shipped(group: str) -> list[str]:
    """Return the plug-ins of this project in `group`."""
    names = plugins.names(group)
    return [name for name in names if plugins.find(group, name).module.startswith("outrider_agent.")]


def _options(group: str, kind: str) -> type[Struct]:
    options: type[Struct] = getattr(plugins.load(group, kind), "Options")  # noqa: B009 - any class may be there
    return _plain(options)


def _plain(options: type[Struct]) -> type[Struct]:
    """Return options that can be described: msgspec writes no default that is a path."""
    fields = msgspec.structs.fields(options)
    if not any(isinstance(field.default, Path) for field in fields):
        return options
    plain = [
        (field.name, field.type)
        if field.required
        else (
            field.name,
            field.type,
            str(field.default) if isinstance(field.default, Path) else _default(field),
        )
        for field in fields
    ]
    return msgspec.defstruct(
        options.__name__,
        plain,
        namespace={"__doc__": options.__doc__},
        module=options.__module__,
        kw_only=True,
        forbid_unknown_fields=True,
    )


def _default(field: msgspec.structs.FieldInfo) -> Any:  # noqa: ANN401 - of any type
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=field.default_factory)
    return field.default


def _hook(kind: type) -> Node:
    if issubclass(kind, Path):
        return {"type": "string", "minLength": 1}
    raise NotImplementedError


def _target(shape: Mapping[str, Any]) -> str:
    return str(shape["$ref"]).removeprefix("#/$defs/")


def _with(options: Node, key: str, value: Node) -> Node:
    """Return the options of a plug-in as a table that has `key` too."""
    table = copy.deepcopy(options)
    table["properties"] = {key: value, **table.get("properties", {})}
    table["required"] = [key, *table.get("required", [])]
    return table


def _plug_in(definitions: Node, names: list[str]) -> None:
    """Put the plug-ins in the places where the document leaves their tables open."""

    def union(prefix: str) -> list[Node]:
        return [{"$ref": f"#/$defs/{name}"} for name in names_of(prefix)]

    def names_of(prefix: str) -> list[str]:
        return [
            name
            for name in definitions
            if name.startswith(prefix) and name.removeprefix("shared-") in {*names}
        ]

    pipeline = definitions["PipelineTable"]["properties"]
    pipeline["source"] = {"oneOf": [*union("source-"), {"$ref": "#/$defs/Id"}]}
    pipeline["policy"] = {"oneOf": union("policy-")}
    pipeline["actions"]["items"] = {"oneOf": union("action-")}
    definitions["Document"]["properties"]["sources"]["items"] = {"oneOf": union("shared-")}


def _used(definitions: Node, start: object) -> set[str]:
    """Return the names of all definitions that can be reached."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            name = str(node.get("$ref", "")).removeprefix("#/$defs/")
            if name and name not in found:
                found.add(name)
                waiting.append(definitions[name])
            waiting += node.values()
    return found


def _ecma(node: Any, key: str = "") -> Any:  # noqa: ANN401 - JSON
    r"""Return patterns with `^` and `$`, for ECMA knows no `\A` and `\Z`, and texts unindented."""
    if isinstance(node, list):
        return [_ecma(item) for item in node]
    if isinstance(node, dict):
        return {name: _ecma(item, name) for name, item in node.items()}
    if isinstance(node, str) and key == "pattern":
        return node.replace(r"\A", "^").replace(r"\Z", "$")
    return inspect.cleandoc(node) if isinstance(node, str) and key == "description" else node


if __name__ == "__main__":
    sys.stdout.write(f"{write(Path(sys.argv[1] if len(sys.argv) > 1 else 'docs/schema'))}\n")
