"""What is written as TOML is read back as the same."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_converter.tomltext import dumps

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
TABLES = st.recursive(
    st.dictionaries(KEYS, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=4),
    lambda inner: st.dictionaries(KEYS, st.one_of(SCALARS, inner), max_size=3),
    max_leaves=6,
)


@given(TABLES)
def test_any_table_survives(table: dict[str, Any]) -> None:
    assert tomllib.loads(dumps(table)) == table


def test_tables_come_after_plain_values() -> None:
    text = dumps({"a": {"b": {"c": 1}}, "d": (1.0, 2.0)})
    assert text == "d = [1.0, 2.0]\n\n[a]\n\n[a.b]\nc = 1\n"


def test_what_toml_has_no_word_for_is_an_error() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        dumps({"a": None})
