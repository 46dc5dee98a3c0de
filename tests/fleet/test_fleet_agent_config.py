import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_fleet.demo import agent_config

LINE = agent_config.Line(
    bundle=Path("/a b/model.orb"),
    key=Path('/keys/"odd".pub'),
    images=Path("/belt"),
    state=Path("/state"),
    url="mqtt://127.0.0.1:20001",
    app="sorting",
    hardware="any",
    fps=100.0,
    bins={"t-shirt": "tops", "bag": "bags"},
    deadline_ms=100.0,
)


def test_the_text_reads_back_as_it_was_meant() -> None:
    config = tomllib.loads(agent_config.text(LINE))
    assert config["device"]["app"] == "sorting"
    assert config["trust"]["keys"] == ['/keys/"odd".pub']
    assert config["link"]["url"] == LINE.url
    (pipeline,) = config["pipelines"]
    assert pipeline["id"] == "sorter"
    assert pipeline["bundle"] == "/a b/model.orb"
    assert pipeline["source"] == {"kind": "images", "path": "/belt", "fps": 100.0, "loop": False}
    assert pipeline["engine"]["isolation"] == "inline"
    assert [(rule["label"], rule["data"]) for rule in pipeline["policy"]["rules"]] == [
        ("t-shirt", {"bin": "tops"}),
        ("bag", {"bin": "bags"}),
    ]
    assert pipeline["actions"] == [{"kind": "mqtt"}]


# TOML is UTF-8 and has no surrogates; \r\n inside quotes is escaped like any control character.
@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_any_text_survives(item: str) -> None:
    assert tomllib.loads(f"x = {agent_config.value(item)}")["x"] == item


@given(
    st.recursive(
        st.one_of(st.booleans(), st.integers(-(1 << 62), 1 << 62), st.floats(allow_nan=False)),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text("abc -"), inner)),
    )
)
def test_any_value_survives(item: object) -> None:
    assert tomllib.loads(f"x = {agent_config.value(item)}")["x"] == item


def test_what_has_no_place_in_toml_is_refused() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        agent_config.value(None)


def test_a_line_is_frozen() -> None:
    assert msgspec.structs.replace(LINE, fps=5.0).fps == 5.0
    with pytest.raises(AttributeError):
        LINE.fps = 5.0  # type: ignore[misc]
