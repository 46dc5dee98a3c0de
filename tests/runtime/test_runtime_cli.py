import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from outrider_bundle import dispatch, plugins
from outrider_bundle.container import Bundle
from outrider_bundle.errors import MissingExtraError
from outrider_bundle.manifest import Requirements, Variant
from outrider_bundle.writer import write_bundle
from outrider_runtime import cli
from outrider_runtime.proof import Proof
from tests.fakes.provable import write_provable

IDS = ["onnx-float32", "tflite-int8", "null-float32"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_provable(tmp_path / "tiny.orb")
    return tmp_path / "tiny.orb"


def run(*arguments: object) -> int:
    return dispatch.main(["prove", *map(str, arguments)])


def test_every_variant_as_json(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(bundle, "--all-variants", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == str(bundle)
    with Bundle.open(bundle) as opened:
        assert found["digest"] == opened.digest
    assert [proof["variant"] for proof in found["proofs"]] == IDS
    for proof in found["proofs"]:
        assert proof["ok"]
        assert (proof["worst"], proof["used"], proof["margin"]) == (0, 0, 1)
        assert (proof["agreement"], proof["samples"]) == (1, 6)
    assert [(proof["limit"], proof["unit"]) for proof in found["proofs"]] == [
        (1e-4, "relative"),
        (3, "steps"),
        (1e-4, "relative"),
    ]


@pytest.mark.parametrize(("arguments", "proved"), [((), IDS[:1]), (("--variant", IDS[1]), IDS[1:2])])
def test_the_first_variant_or_the_one_that_is_named(
    bundle: Path, arguments: tuple[str, ...], proved: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bundle, *arguments, "--json") == 0
    assert [proof["variant"] for proof in json.loads(capsys.readouterr().out)["proofs"]] == proved


def test_the_table_shows_tolerance_and_margin(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(bundle, "--variant", "tflite-int8") == 0
    shown = capsys.readouterr().out
    for text in ("used", "left", "tflite-int8", "3 steps", "0%", "100%", "reproduced"):
        assert text in shown


def proof(worst: float) -> Proof:
    limits = {"limit": 3e-4, "unit": "relative"}
    return Proof(ok=worst < 1, variant="openvino-float32", samples=128, worst=worst * 3e-4, **limits)


@pytest.mark.parametrize(
    ("worst", "used", "left"),
    [(0.0, "0%", "100%"), (0.25, "25%", "75%"), (2.0, "200%", "0%"), (1e9, ">999%", "0%")],
)
def test_what_is_used_of_the_tolerance_and_what_is_left_fit_on_a_line(
    worst: float, used: str, left: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    Console().print(cli._table([proof(worst)]))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    (line,) = [line.split() for line in lines if "openvino-float32" in line]
    assert line[5:7] == [used, left]


def test_json_says_how_much_of_the_tolerance_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.orb"
    write_provable(bad, spoiled=("tflite-int8",))
    assert run(bad, "--variant", "tflite-int8", "--json") == 21
    (found,) = json.loads(capsys.readouterr().out)["proofs"]
    assert found["used"] == pytest.approx(found["worst"] / found["limit"])
    assert found["margin"] == pytest.approx(1 - found["used"])


def test_one_that_does_not_reproduce_is_exit_code_21(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.orb"
    write_provable(bad, spoiled=("tflite-int8",))
    assert run(bad, "--all-variants", "--json") == 21
    shown = capsys.readouterr()
    assert [proof["ok"] for proof in json.loads(shown.out)["proofs"]] == [True, False, True]
    assert "tflite-int8: differs by" in shown.err
    assert "Use another variant" in shown.err
    assert run(bad, "--variant", "onnx-float32") == 0
    assert run(bad, "--variant", "tflite-int8") == 21
    assert "differs" in capsys.readouterr().out


def test_a_runtime_that_is_not_installed_is_a_verdict_with_its_pip_line(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = plugins.load

    def without_litert(group: str, name: str) -> object:
        if name == "tflite":
            raise MissingExtraError("'tflite' needs ai_edge_litert, which is not installed", "tflite")
        return load(group, name)

    monkeypatch.setattr(plugins, "load", without_litert)
    assert run(bundle, "--all-variants", "--json") == 21
    shown = capsys.readouterr()
    proofs = json.loads(shown.out)["proofs"]
    assert [proof["ok"] for proof in proofs] == [True, False, True]
    assert proofs[1]["samples"] == 0
    assert [proofs[1][key] for key in ("worst", "used", "margin")] == [None, None, None]
    assert "pip install 'outrider[tflite]'" in shown.err
    assert run(bundle, "--all-variants") == 21
    shown = capsys.readouterr()
    assert "did not run" in shown.out
    assert "inf" not in shown.out


def rewritten(bundle: Path, change: dict[str, object]) -> Path:
    """Write the bundle again with its first variant changed."""
    path = bundle.with_name("changed.orb")
    with Bundle.open(bundle) as opened:
        first, *rest = opened.manifest.variants
        variants: tuple[Variant, ...] = (replace(first, **change), *rest)
        blobs = {blob.name: bytes(opened.blob(blob.name)) for blob in opened.manifest.blobs}
        write_bundle(path, replace(opened.manifest, variants=variants), blobs)
    return path


def test_what_is_not_ready_is_not_tried(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = rewritten(bundle, {"status": "rtl-only", "runtime": "fpga"})
    assert run(changed, "--all-variants", "--json") == 0
    assert [proof["variant"] for proof in json.loads(capsys.readouterr().out)["proofs"]] == IDS[1:]
    assert run(changed, "--json") == 0
    assert [proof["variant"] for proof in json.loads(capsys.readouterr().out)["proofs"]] == IDS[1:2]
    assert run(changed, "--variant", IDS[0]) == 21
    assert "no 'fpga' among the runtimes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--variant", "onnx"), 2, "There are: onnx-float32, tflite-int8, null-float32"),
        (("--variant", "onnx-float32", "--all-variants"), 2, "exclude one another"),
        (("--variants",), 2, "--variant"),
    ],
)
def test_a_wrong_command_line_is_one_message(
    bundle: Path, arguments: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bundle, *arguments) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_a_bundle_that_is_damaged_or_missing_is_exit_code_10(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bundle.with_name("none.orb")) == 10
    raw = bytearray(bundle.read_bytes())
    raw[-1] ^= 1
    bundle.write_bytes(raw)
    assert run(bundle) == 10
    assert "Traceback" not in capsys.readouterr().err


def test_nothing_is_left_behind(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert run(bundle, "--all-variants") == 0
    assert list(scratch.iterdir()) == []


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "outrider prove sorter.orb --all-variants" in " ".join(capsys.readouterr().out.split())


def test_what_is_for_another_processor_is_left_out_unless_named(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = rewritten(bundle, {"requirements": Requirements(isa=("quantum",))})
    assert run(changed, "--all-variants", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [proof["variant"] for proof in found["proofs"]] == IDS[1:]
    assert found["left_out"] == {IDS[0]: "this processor has no quantum"}
    assert run(changed, "--all-variants") == 0
    assert f"{IDS[0]}: left out, this processor has no quantum" in capsys.readouterr().out
    assert run(changed, "--json") == 0
    assert [proof["variant"] for proof in json.loads(capsys.readouterr().out)["proofs"]] == IDS[1:2]
    assert run(changed, "--variant", IDS[0]) == 0


def test_a_bundle_for_other_machines_alone_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.orb"
    write_provable(path)
    with Bundle.open(path) as opened:
        variants = tuple(
            replace(one, requirements=Requirements(isa=("quantum",))) for one in opened.manifest.variants
        )
        blobs = {blob.name: bytes(opened.blob(blob.name)) for blob in opened.manifest.blobs}
        write_bundle(tmp_path / "strange.orb", replace(opened.manifest, variants=variants), blobs)
    assert run(tmp_path / "strange.orb") == 21
    assert "No variant of this bundle is for this machine: onnx-float32: this" in capsys.readouterr().err
