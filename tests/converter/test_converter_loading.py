"""What recipes name is found beside them, and failures are told in one sentence."""

import sys
from pathlib import Path

import pytest

from outrider_bundle.errors import DataError
from outrider_converter.loading import call, load_object


def test_each_recipe_gets_its_own_module_of_the_same_name(tmp_path: Path) -> None:
    for name, value in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "toy_settings.py").write_text(f"VALUE = {value}\ndef get():\n    return VALUE\n")
    assert call("toy_settings:get", tmp_path / "one") == 1
    assert call("toy_settings:get", tmp_path / "two") == 2
    assert load_object("toy_settings:VALUE", tmp_path / "one") == 1


def test_modules_beside_the_recipe_see_one_another_and_leave_no_path(tmp_path: Path) -> None:
    (tmp_path / "toy_first.py").write_text("import toy_second\ndef get():\n    return toy_second.VALUE\n")
    (tmp_path / "toy_second.py").write_text("VALUE = 7\n")
    before = list(sys.path)
    assert call("toy_first:get", tmp_path) == 7
    assert sys.path == before


def test_an_installed_module_may_be_named(tmp_path: Path) -> None:
    assert load_object("json:dumps", tmp_path)({}) == "{}"  # type: ignore[operator]


@pytest.mark.parametrize(
    ("source", "reference", "said"),
    [
        ("", "toy_absent:get", "No module named 'toy_absent'"),
        ("import no_such_package\n", "toy_faulty:get", "No module named 'no_such_package'"),
        ("x = (\n", "toy_faulty:get", "SyntaxError"),
        ("def other(): ...\n", "toy_faulty:get", "has no 'get'. It has: other"),
        ("get = 3\n", "toy_faulty:get", "not callable"),
        (
            "def get():\n    raise FileNotFoundError('weights.bin')\n",
            "toy_faulty:get",
            "FileNotFoundError: weights.bin",
        ),
    ],
)
def test_failures_are_told(tmp_path: Path, source: str, reference: str, said: str) -> None:
    (tmp_path / "toy_faulty.py").write_text(source)
    with pytest.raises(DataError) as caught:
        call(reference, tmp_path)
    assert said in str(caught.value)


def test_the_recipes_cure_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "toy_cure.py").write_text("def get():\n    raise OSError('gone')\n")
    with pytest.raises(DataError, match=r"sudo apt install it\.$"):
        call("toy_cure:get", tmp_path, "sudo apt install it")


def test_a_script_that_ends_itself_has_failed(tmp_path: Path) -> None:
    (tmp_path / "ending.py").write_text("import sys\n\n\ndef teacher():\n    sys.exit(0)\n", encoding="utf-8")
    (tmp_path / "ended.py").write_text("raise SystemExit(0)\n", encoding="utf-8")
    with pytest.raises(DataError, match="SystemExit: 0"):
        call("ending:teacher", tmp_path)
    with pytest.raises(DataError, match="cannot be imported: SystemExit"):
        load_object("ended:teacher", tmp_path)
