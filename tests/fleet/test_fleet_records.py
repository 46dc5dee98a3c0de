import ast
import json
from pathlib import Path

import pytest

from outrider_bundle.errors import DataError, UsageError
from outrider_fleet.demo import records

ROOT = Path(__file__).parents[2]
LABELS = ("shirt", "bag")


def written(folder: Path, text: str) -> Path:
    path = folder / "bins.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_bins_are_turned_round(tmp_path: Path) -> None:
    path = written(tmp_path, '[bins]\ntops = ["shirt"]\nbags = ["bag"]\n')
    assert records.read_bins(path, LABELS) == {"shirt": "tops", "bag": "bags"}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('[bins]\ntops = ["shirt"]', ["'bag' is in no bin"]),
        ('[bins]\nall = ["shirt", "bag", "hat"]', ["no label 'hat'"]),
        ('[bins]\na = ["shirt", "bag"]\nb = ["bag"]', ["'bag' is in two bins"]),
        ('[bins]\na = ["hat"]', ["'bag' is in no bin", "'shirt' is in no bin", "no label 'hat'"]),
        ("[bins", ["bins.toml"]),
        ('[boxes]\na = ["shirt", "bag"]', ["boxes"]),
        ('[bins]\na = "shirt"', ["bins"]),
    ],
)
def test_a_wrong_table_of_bins(tmp_path: Path, text: str, faults: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        records.read_bins(written(tmp_path, text), LABELS)
    assert all(fault in str(raised.value) for fault in faults)


def test_a_missing_table_of_bins(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"bins\.toml"):
        records.read_bins(tmp_path / "bins.toml", LABELS)


def test_the_bins_of_the_example_fit_its_labels() -> None:
    module = ast.parse((ROOT / "examples/fashion/data.py").read_text(encoding="utf-8"))
    (labels,) = [
        ast.literal_eval(line.value)
        for line in module.body
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "LABELS"
    ]
    assert len(labels) == 10
    assert set(records.read_bins(ROOT / "examples/fashion/bins.toml", labels)) == set(labels)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 1, "name": "x"}'])
def test_a_broken_document_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(DataError, match=r"labels\.json cannot be used"):
        records.read(tmp_path / "labels.json", records.Truth)


@pytest.mark.parametrize(
    ("placement", "where"),
    [
        ("cpu", "cpu"),
        ({"device": "cpu", "backend": "XNNPACK", "threads": 1}, "cpu (XNNPACK)"),
        ({}, "? (?)"),
    ],
)
def test_an_agents_account(tmp_path: Path, placement: object, where: str) -> None:
    document = {
        "run": "0" * 16,
        "frames": 9,
        "dropped": 1,
        "late": 0,
        "no_input": 0,
        "decisions": 8,
        "events": 8,
        "telemetry": 2,
        "p50_ms": 1.5,
        "p99_ms": 2.0,
        "variant": "null",
        "placement": placement,
        "skipped": [{"variant": "onnx-int8", "reason": "differs"}],
    }
    (tmp_path / "summary.json").write_text(json.dumps(document))
    account = records.read(tmp_path / "summary.json", records.AgentReport)
    assert account.where == where
    assert account.skipped[0].reason == "differs"
