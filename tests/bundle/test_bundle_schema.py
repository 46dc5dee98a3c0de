"""The published JSON Schemas."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outrider_bundle.schema import DIALECT, PUBLISHED, schema, text, write

FOLDER = Path(__file__).parents[2] / "docs" / "schema"


def nodes(tree: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    if isinstance(tree, dict):
        yield tree
    for item in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from nodes(item)


def test_the_published_files_are_current() -> None:
    # The agent publishes that of its configuration itself.
    found = {one.name for one in FOLDER.iterdir()} - {"agent-config.json"}
    assert found == {f"{name}.json" for name in PUBLISHED}
    for name in PUBLISHED:
        assert (FOLDER / f"{name}.json").read_text() == text(name), (
            "run: python -m outrider_bundle.schema docs/schema"
        )


@pytest.mark.parametrize("name", PUBLISHED)
def test_patterns_are_anchored_as_ecma_has_it(name: str) -> None:
    patterns = [node["pattern"] for node in nodes(schema(name)) if isinstance(node.get("pattern"), str)]
    assert patterns
    for pattern in patterns:
        assert re.fullmatch(r"\^.*\$", pattern)
        assert not re.search(r"\\[AZzdw]|\(\?", pattern)
        assert re.compile(pattern)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_reference_leads_somewhere(name: str) -> None:
    tree: Any = schema(name)
    assert tree["$schema"] == DIALECT
    assert tree["$id"] == f"urn:outrider:schema:{name}:1"
    references = {node["$ref"] for node in nodes(tree) if "$ref" in node}
    assert references <= {f"#/$defs/{definition}" for definition in tree["$defs"]}


def test_a_manifest_is_strict_and_a_message_tolerant() -> None:
    strict: Any = schema("manifest")
    tolerant: Any = schema("event")
    assert all(one["additionalProperties"] is False for one in strict["$defs"].values())
    assert all("additionalProperties" not in one for one in tolerant["$defs"].values())


def test_the_module_writes_them(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "outrider_bundle.schema", str(tmp_path / "new")],
        check=True,
        capture_output=True,
    )
    files = sorted((tmp_path / "new").iterdir())
    assert [one.name for one in files] == sorted(f"{name}.json" for name in PUBLISHED)
    assert json.loads(files[0].read_text()) == schema("event")
    assert write(tmp_path / "new") == tuple(tmp_path / "new" / f"{name}.json" for name in PUBLISHED)
