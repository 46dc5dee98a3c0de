import json
import os
from pathlib import Path

import pytest

from outrider_fleet.demo import device
from outrider_fleet.demo.commands import StepError, capture, show


def report(*names: str) -> str:
    return json.dumps({"version": "1", "install": [{"metadata": {"name": n, "version": "1"}} for n in names]})


def test_names_are_normalized_and_the_training_stack_is_found() -> None:
    names = device.resolved(
        report("Outrider", "Torch", "nvidia_cuda.runtime", "onnxruntime", "ai-edge_quantizer")
    )
    assert names == ("ai-edge-quantizer", "nvidia-cuda-runtime", "onnxruntime", "outrider", "torch")
    assert device.training_stack(names) == ("ai-edge-quantizer", "nvidia-cuda-runtime", "torch")


def test_inference_libraries_are_no_training_stack() -> None:
    assert device.training_stack(["onnxruntime", "ai-edge-litert", "numpy", "paho-mqtt", "torchlight"]) == ()


@pytest.mark.parametrize("text", ["", "[]", '{"install": [{}]}'])
def test_a_broken_report_is_an_error(text: str) -> None:
    with pytest.raises(StepError, match="report"):
        device.resolved(text)


def test_size_counts_blocks_once_and_follows_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    (folder / "lib").mkdir(parents=True)
    empty = device.size_bytes(folder)
    (folder / "lib" / "big").write_bytes(os.urandom(1 << 20))
    once = device.size_bytes(folder)
    assert (1 << 20) <= once - empty < (1 << 20) + 65_536
    os.link(folder / "lib" / "big", folder / "same")
    assert device.size_bytes(folder) - once < 65_536
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "bigger").write_bytes(os.urandom(1 << 20))
    (folder / "elsewhere").symlink_to(outside)
    assert device.size_bytes(folder) - once < 65_536


def test_the_stamp_follows_requirements_and_versions(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]")
    plain = device.stamp(tmp_path)
    assert device.stamp(tmp_path) == plain
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "constraints.txt").write_text("numpy==2.4.6")
    bound = device.stamp(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert len({plain, bound, device.stamp(tmp_path)}) == 3


def test_a_failing_program_is_named_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    with pytest.raises(StepError, match=r"'try' failed with exit code 3: the cause\. See .*a\.log"):
        capture("try", ["sh", "-c", "echo first >&2; echo the cause >&2; echo >&2; exit 3"], log)


def test_output_is_returned_and_errors_go_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert capture("try", ["sh", "-c", "pwd; echo note >&2"], log, cwd=tmp_path) == f"{tmp_path}\n"
    assert log.read_text() == "note\n"


@pytest.mark.parametrize("mute", [False, True])
def test_a_shown_program_writes_to_our_outputs(mute: bool, capfd: pytest.CaptureFixture[str]) -> None:  # noqa: FBT001
    show("try", ["sh", "-c", "echo said"], mute_stdout=mute)
    said = capfd.readouterr()
    assert (said.out, said.err) == (("", "said\n") if mute else ("said\n", ""))


def test_a_shown_program_that_fails_is_an_error() -> None:
    with pytest.raises(StepError, match="'try' failed with exit code 4"):
        show("try", ["sh", "-c", "exit 4"])


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="could not be started"):
        show("try", ["/nowhere/at-all"])
    with pytest.raises(StepError, match="could not be started"):
        capture("try", ["/nowhere/at-all"], tmp_path / "log")
