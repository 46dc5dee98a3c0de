"""All faults of a value against a type, where msgspec stops at the first.

Tables and lists are walked here; msgspec judges the single values. A fault is a line
`path: what is wrong`, for example `pipelines[0].source.fps: expected float, got str`.
"""

import difflib
import math
import re
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

_LISTS = (list, tuple, set, frozenset)


def find(value: object, kind: Any, where: str) -> list[str]:  # noqa: ANN401 - an annotation has no type
    """Return what is wrong with `value`, found at `where`, as a `kind`; empty if nothing is."""
    kind, fault = _member(value, kind)
    if fault:
        return [_line(where, fault)]
    bare, metas = _parts(kind)
    shape = _shape(kind)
    if isinstance(shape, type) and issubclass(shape, Struct):
        return _in_struct(value, shape, where)
    if shape in _LISTS and isinstance(value, list):
        return _in_list(value, bare, where) + _judge(value, _around(bare, metas), where)
    if shape is dict and isinstance(value, Mapping):
        return _in_dict(value, bare, where) + _judge(value, _around(bare, metas), where)
    return _judge(value, kind, where)


def make(value: object, kind: Any) -> Any:  # noqa: ANN401 - returns a `kind`
    """Return `value` as a `kind`; a text becomes a `Path` where one is wanted.

    Raises:
        msgspec.ValidationError: the first fault.
    """
    return msgspec.convert(value, kind, dec_hook=_path)


def near(name: str, known: Iterable[str]) -> str:
    """Return a cure for the unknown `name`: its nearest neighbour, or all there are."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names) or 'none'}"


def join(where: str, key: object) -> str:
    """Return the path of `key` below `where`, quoted as TOML would."""
    plain = str(key)[:80]
    text = plain if re.fullmatch(r"[A-Za-z0-9_-]+", plain) else f'"{plain}"'
    return f"{where}.{text}" if where else text


def _in_struct(value: object, kind: type[Struct], where: str) -> list[str]:
    if not isinstance(value, Mapping):
        return [_line(where, f"expected a table, got {type(value).__name__}")]
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    names = {*fields, *_tag_field(kind)}
    unknown = [str(key) for key in value if key not in names]
    faults = [_line(join(where, key), f"unknown key; {near(key, names)}") for key in unknown]
    for name, field in fields.items():
        if name in value:
            faults += find(value[name], field.type, join(where, name))
        elif field.required and not difflib.get_close_matches(name, unknown, n=1):
            faults.append(_line(join(where, name), "is missing"))
    return faults or _judge(value, kind, where)


def _in_list(value: list[object], kind: Any, where: str) -> list[str]:  # noqa: ANN401 - an annotation
    items = [item for item in get_args(kind) if item is not Ellipsis]
    if len(items) == 1:
        items *= len(value)
    pairs = zip(value, items, strict=False)
    return [fault for at, (one, item) in enumerate(pairs) for fault in find(one, item, f"{where}[{at}]")]


def _in_dict(value: Mapping[object, object], kind: Any, where: str) -> list[str]:  # noqa: ANN401 - an annotation
    key_kind, item_kind = get_args(kind) or (Any, Any)
    faults: list[str] = []
    for key, item in value.items():
        faults += _judge(key, key_kind, join(where, key)) or find(item, item_kind, join(where, key))
    return faults


def _judge(value: object, kind: Any, where: str) -> list[str]:  # noqa: ANN401 - an annotation
    """Let msgspec judge one value."""
    if isinstance(value, float) and not math.isfinite(value):
        return [_line(where, f"expected a finite number, got {value}")]
    try:
        make(value, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        return [_line(where, _said(value, kind, str(error)))]
    return []


def _said(value: object, kind: Any, message: str) -> str:  # noqa: ANN401 - an annotation
    """Put msgspec's message in the words of this project."""
    bare, metas = _parts(kind)
    if get_origin(bare) is Literal:
        choices = [str(choice) for choice in get_args(bare)]
        return f"{_shown(value)} is none of these: {', '.join(choices)}"
    wanted = [meta.description for meta in metas if meta.description]
    if wanted and isinstance(bare, type) and isinstance(value, bare):
        return f"expected {wanted[0]}, got {_shown(value)}"
    text = re.sub(r" - at `[^`]*`$", "", message).replace("`", "")
    text = re.sub(r"\barray\b", "list", re.sub(r"\bobject\b", "table", text))
    return text[:1].lower() + text[1:] + ("" if ", got " in text else f", got {_shown(value)}")


def _member(value: object, kind: Any) -> tuple[Any, str]:  # noqa: ANN401 - an annotation
    """Choose the member of a union that `value` is meant to be, or leave the union whole."""
    union = _parts(kind)[0]
    if get_origin(union) not in {Union, types.UnionType}:
        return kind, ""
    members = [member for member in get_args(union) if member is not type(None)]
    if len(members) == 1 and value is not None:
        return members[0], ""
    structs = [member for member in members if isinstance(member, type) and issubclass(member, Struct)]
    if isinstance(value, list):
        fitting = [m for m in members if _shape(m) in _LISTS]
    elif isinstance(value, Mapping):
        if len(structs) > 1:
            return _tagged(value, structs)
        fitting = structs or [m for m in members if _shape(m) is dict]
    else:
        fitting = [m for m in members if _shape(m) is Literal and isinstance(value, str)]
    return (fitting[0] if len(fitting) == 1 else kind), ""


def _tagged(value: Mapping[object, object], structs: list[type[Struct]]) -> tuple[Any, str]:
    """Choose among tagged structs by the tag that `value` has."""
    field = structs[0].__struct_config__.tag_field or ""
    by_tag = {str(one.__struct_config__.tag): one for one in structs}
    if field not in value:
        return structs[0], f"needs a '{field}'; known: {', '.join(sorted(by_tag))}"
    tag = str(value[field])
    if tag in by_tag:
        return by_tag[tag], ""
    return structs[0], f"there is no {field} {_shown(tag)}; {near(tag, by_tag)}"


def _tag_field(kind: type[Struct]) -> tuple[str, ...]:
    field = kind.__struct_config__.tag_field
    return (field,) if field else ()


def _around(kind: Any, metas: tuple[Meta, ...]) -> Any:  # noqa: ANN401 - annotations
    """Return a container's type with its own constraints and without those of its items."""
    shape = _shape(kind)
    items = tuple(item if item is Ellipsis else Any for item in get_args(kind))
    whole = shape[items] if items else shape
    return Annotated[(whole, *metas)] if metas else whole


def _parts(kind: Any) -> tuple[Any, tuple[Meta, ...]]:  # noqa: ANN401 - an annotation
    if get_origin(kind) is not Annotated:
        return kind, ()
    bare, *metas = get_args(kind)
    return bare, tuple(meta for meta in metas if isinstance(meta, Meta))


def _shape(kind: Any) -> Any:  # noqa: ANN401 - an annotation
    bare = _parts(kind)[0]
    return get_origin(bare) or bare


def _path(kind: type, value: object) -> object:
    if issubclass(kind, Path) and isinstance(value, str):
        return kind(value)
    raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def _line(where: str, what: str) -> str:
    return f"{where}: {what}" if where else what


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004 - a line stays readable
