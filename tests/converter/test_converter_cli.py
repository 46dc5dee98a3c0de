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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to convert. Name a RECIPE.toml, or a MODEL.onnx"),
        (["recipe.toml"], "Add --out DIR"),
        (["model.pt2"], "A .pt2 model is converted by a recipe. Name it there as teacher.file"),
        (["model.txt"], "neither a recipe nor a model"),
        (
            ["recipe.toml", "--out", "o", "--target", "rpi5", "--drop", "1"],
            "model file only: --target, --drop",
        ),
        (["recipe.toml", "--list-targets"], "--list-targets converts nothing"),
        (["--list-targets", "--out", "o"], "--list-targets writes nothing"),
        (["--list-targets", "--labels", "none"], "model file only: --labels"),
        (["recipe.toml", "--reproduce", "a.orb"], "recipe.toml is not a folder"),
        (["--reproduce", "a.orb"], "Add --out DIR"),
        (["model.onnx", "--drop", "much"], "--drop"),
        (["model.onnx", "--no-such-option"], "--no-such-option"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(
    capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["convert", *arguments]) == 2
    out, err = capfd.readouterr()
    assert said in err
    assert out == ""
    assert err.count("outrider: error:") == 1


def test_a_missing_model_is_one_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(tmp_path / "none.onnx")]) == 31
    assert "There is no file" in capfd.readouterr().err


def test_targets_are_listed_for_people_and_programs(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--list-targets"]) == 0
    assert "rpi5" in capfd.readouterr().out
    assert main(["convert", "--list-targets", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    (rpi5,) = [row for row in rows if row["name"] == "rpi5"]
    assert {"title", "runtimes", "isa", "figures", "schemes"} <= rpi5.keys()


def test_help_has_examples(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--help"]) == 0
    out = capfd.readouterr().out
    assert "outrider convert examples/fashion/recipe.toml" in out
    assert "outrider convert model.onnx --calibration images" in out
    assert "outrider convert --list-targets" in out
    assert "outrider convert --reproduce" in out
