"""The command: exit codes, one clear message, JSON on standard output."""

import json
from pathlib import Path

import pytest

from outrider_bundle.dispatch import main
from tests.fakes.toy import write_toy

QUICK = (
    ("epochs = 6", "epochs = 1"),
    ("[prune]\nmacs = 0.2\nepochs = 2\nround_to = 4\n", ""),
    ("drop = 10.0", "drop = 100.0"),
)


def test_json_alone_is_on_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = write_toy(tmp_path / "recipe", *QUICK)
    assert main(["convert", str(recipe), "--out", str(tmp_path / "out"), "--json"]) == 0
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert document["name"] == "toy"
    assert document["bundle"]["bytes"] == (tmp_path / "out" / "toy.orb").stat().st_size
    assert "distill" in err


def test_the_closing_table_names_every_variant(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = write_toy(tmp_path / "recipe", *QUICK)
    assert main(["convert", str(recipe), "--out", str(tmp_path / "out")]) == 0
    out, _ = capfd.readouterr()
    assert all(word in out for word in ("teacher", "onnx-int8", "onnx-float32", "*"))


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("width = 8", "widht = 8"), 2, "student.widht"),
        (('"models:teacher"', '"models:nobody"'), 31, "models has no 'nobody'"),
        (('labels = "data:LABELS"', 'labels = "data:part"'), 31, "not a list of class names"),
        (("epochs = 6", "epochs = 0"), 30, "No variant is left"),
    ],
)
def test_a_fault_is_one_message_and_its_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], change: tuple[str, str], code: int, said: str
) -> None:
    changes = (change, ("[prune]\nmacs = 0.2\nepochs = 2\nround_to = 4\n", ""))
    recipe = write_toy(tmp_path / "recipe", *changes)
    assert main(["convert", str(recipe), "--out", str(tmp_path / "out")]) == code
    out, err = capfd.readouterr()
    assert said in err
    assert "Traceback" not in err
    assert out == ""


def test_a_wrong_command_line_is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["convert"]) == 2
    assert "RECIPE.toml" in capfd.readouterr().err


def test_help_has_examples(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--help"]) == 0
    assert "outrider convert examples/fashion/recipe.toml" in capfd.readouterr().out
