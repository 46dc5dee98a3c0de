"""The published schema of the configuration: current, and true of what is sound and what is not."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from outrider_agent import schema
from outrider_agent.examples import texts
from outrider_agent.parts import ACTIONS, POLICIES, SOURCES
from outrider_bundle import plugins
from tests.fakes import agents, json_schema

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema"


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return schema.schema()


def faults(published: dict[str, Any], written: dict[str, Any]) -> list[str]:
    return list(json_schema.faults(written, published, published))


def test_the_published_file_is_current() -> None:
    found = (PUBLISHED / f"{schema.NAME}.json").read_text(encoding="utf-8")
    assert found == schema.text(), "run: python -m outrider_agent.schema docs/schema"


def test_it_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    assert schema.write(tmp_path / "new") == tmp_path / "new" / "agent-config.json"
    assert (tmp_path / "new" / "agent-config.json").read_text() == schema.text()


@pytest.mark.parametrize("name", texts.NAMES)
def test_the_examples_validate(name: str, published: dict[str, Any]) -> None:
    assert faults(published, tomllib.loads(texts.text(name))) == []


def test_every_plug_in_of_ours_is_in_it(published: dict[str, Any]) -> None:
    for group, what in ((SOURCES, "source"), (POLICIES, "policy"), (ACTIONS, "action")):
        ours = [
            n for n in plugins.names(group) if plugins.find(group, n).module.startswith("outrider_agent.")
        ]
        for kind in ours:
            table = published["$defs"][f"{what}-{kind}"]
            assert table["properties"]["kind"] == {"const": kind}
            assert table["additionalProperties"] is False
            assert "kind" in table["required"]


def test_what_is_wrong_is_refused(tmp_path: Path, published: dict[str, Any]) -> None:
    def pipeline(**changed: object) -> dict[str, Any]:
        return agents.document(tmp_path, "mqtt://localhost", changed)

    assert faults(published, pipeline()) == []
    sound = agents.document(tmp_path, None)
    shared = {"id": "gate", "kind": "camera", "device": "rtsp://camera"}
    assert faults(published, {**sound, "sources": [shared]}) == []
    assert faults(published, pipeline(source="gate")) == []
    assert (
        faults(published, pipeline(source={"kind": "camera", "device": 0}, policy={"kind": "argmax"})) == []
    )
    assert faults(published, {**sound, "pipelines": []})
    assert faults(published, {**sound, "sources": [{"kind": "camera"}]})
    assert faults(published, {**sound, "device": {**sound["device"], "id": "a b"}})
    for wrong in (
        {"source": {"kind": "camera", "path": "x"}},
        {"source": {"kind": "moon"}},
        {"policy": {"kind": "rules", "rules": []}},
        {"policy": {"kind": "rules", "rules": [{"min_score": 2}]}},
        {"actions": [{"kind": "log", "level": "loud"}]},
        {"stale_s": 0},
        {"idle": 1},
    ):
        assert faults(published, pipeline(**wrong)), wrong
