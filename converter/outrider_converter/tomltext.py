"""Plain data as TOML text, which `tomllib` reads back to the same."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def dumps(table: Mapping[str, Any]) -> str:
    """Return a table of texts, numbers, booleans, lists of these and tables, as TOML."""
    return "\n".join(_lines(table, ())) + "\n"


def _lines(table: Mapping[str, Any], where: tuple[str, ...]) -> list[str]:
    """Return a table's own values first: what follows the head of a table belongs to that one."""
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"{_text_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            path = (*where, _text_key(key))
            lines += ["", f"[{'.'.join(path)}]", *_lines(value, path)]
    return lines


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Sequence):
        return f"[{', '.join(_value(item) for item in value)}]"
    raise TypeError(f"a {type(value).__name__} has no place in TOML")


def _text(value: str) -> str:
    """Return a basic string; JSON's escapes are TOML's, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _text_key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "a").replace("-", "a").isalnum()
    return key if bare else _text(key)
