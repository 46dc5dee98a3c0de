"""The accelerator that was asked for is not there, or is gone later: never in silence."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from outrider_agent.engine.crew import NoneProvenError
from tests.fakes import agents, delegated, delegates, faulty_runtime, null_bundle, provable, running
from tests.fakes.agents import AgentProcess
from tests.fakes.delegated import for_sorter
from tests.fakes.running import Line

AZURE = "AzureExecutionProvider"
"""It is in the public build of ONNX Runtime and takes no node of any model: a fallback in silence."""
ASKED: dict[str, Any] = {
    "variant": "onnx-float32",
    "options": {"onnx": {"providers": f"{AZURE},CPUExecutionProvider"}},
}
FIT = {"app": "sorter"}


def onnx_bundle(folder: Path) -> None:
    provable.write_provable(folder / "sorter.orb")


def required(folder: Path) -> dict[str, Any]:
    """Return a configuration that takes the asked provider or nothing."""
    onnx_bundle(folder)
    null_bundle.write_images(folder / "images", 3)
    document = agents.document(folder, None, {"engine": {**running.ENGINE, **ASKED, "placement": "require"}})
    return {**document, "device": {**document["device"], **FIT}}


def test_a_required_provider_that_takes_nothing_fails_the_start(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, required(tmp_path)) as agent:
        assert agent.wait() == NoneProvenError.exit_code, agent.log
    assert f"0 of 2 nodes run on {AZURE}" in agent.log
    assert f"Mend the driver of {AZURE}, or set engine.placement to 'prefer'" in agent.log
    assert "Traceback" not in agent.log


def test_a_preferred_provider_that_takes_nothing_is_said_everywhere(tmp_path: Path) -> None:
    onnx_bundle(tmp_path)
    with running.running(tmp_path, ASKED, change=for_sorter) as line:
        placement = line.says("DEGRADED", f"0 of 2 nodes run on {AZURE}", variant="onnx-float32")["placement"]
        assert (placement["asked"], placement["backend"]) == (AZURE, "CPUExecutionProvider")
        assert placement["share"] == 0.0
        line.until(lambda: line.telemetry is not None)
        assert line.telemetry is not None
        assert line.telemetry.backend == "CPUExecutionProvider"
        assert line.telemetry.nodes == placement["nodes"]
        assert AZURE not in line.telemetry.nodes
        line.until(lambda: [one for one in line.events("phase") if "variant" in one])
        told = next(one for one in line.events("phase") if "variant" in one)
        assert told["state"] == "DEGRADED"
        assert AZURE in told["reason"]


def test_where_any_provider_is_allowed_it_runs_and_tells_where(tmp_path: Path) -> None:
    onnx_bundle(tmp_path)
    with running.running(tmp_path, {**ASKED, "placement": "allow"}, change=for_sorter) as line:
        placement = line.says("RUNNING")["placement"]
        assert (placement["asked"], placement["share"]) == (AZURE, 0.0)


def delegate_bundle(folder: Path, library: Path) -> None:
    delegated.write(folder / "sorter.orb", library)


def loses_its_engine(line: Line) -> None:
    os.kill(line.status["pid"], signal.SIGKILL)


def test_a_library_that_is_removed_between_two_loads_degrades_and_says_so(tmp_path: Path) -> None:
    library = tmp_path / f"lib{delegates.NAME}.so"
    shutil.copy(delegates.build(), library)
    delegate_bundle(tmp_path, library)
    with running.running(tmp_path, {"share": 0.5}, change=for_sorter) as line:
        first = line.says("RUNNING")["placement"]
        assert first["nodes"][delegates.NAME] == delegates.TAKEN
        line.until(lambda: line.telemetry is not None and delegates.NAME in line.telemetry.nodes)
        library.unlink()
        loses_its_engine(line)
        line.until(lambda: line.status["placement"] != first)
        placement = line.says("DEGRADED", library.name)["placement"]
        assert (placement["asked"], placement["share"]) == (delegates.NAME, 0.0)
        assert delegates.NAME not in placement["nodes"]
        line.decides()
        line.until(lambda: line.telemetry is not None and delegates.NAME not in line.telemetry.nodes)
        shutil.copy(delegates.build(), library)
        loses_its_engine(line)
        assert line.recovers()["placement"] == first


def test_a_required_library_that_is_removed_leaves_no_model_until_it_is_back(tmp_path: Path) -> None:
    library = tmp_path / f"lib{delegates.NAME}.so"
    shutil.copy(delegates.build(), library)
    delegate_bundle(tmp_path, library)
    with running.running(tmp_path, {"share": 0.5, "placement": "require"}, change=for_sorter) as line:
        first = line.status["placement"]
        library.unlink()
        loses_its_engine(line)
        line.says("DEGRADED", "no model is loaded", library.name)
        shutil.copy(delegates.build(), library)
        assert line.recovers()["placement"] == first


def test_a_device_that_is_unplugged_falls_back_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_runtime.use(monkeypatch, tmp_path / "plugins")
    gone = tmp_path / "gone"
    running.faulty_bundle(tmp_path, [tmp_path / "trigger"], device="NPU", gone=str(gone))
    with running.running(tmp_path) as line:
        assert line.says("RUNNING")["placement"]["nodes"] == {"NPU": 2}
        gone.touch()
        loses_its_engine(line)
        line.until(lambda: line.status["placement"]["backend"] == "CPU")
        status = line.says("DEGRADED", "The device NPU cannot be opened", variant="a")
        assert status["placement"]["asked"] == "NPU"
        line.decides()
        line.until(lambda: line.telemetry is not None and line.telemetry.nodes == {"CPU": 2})


def test_the_start_names_the_missing_library(tmp_path: Path) -> None:
    delegate_bundle(tmp_path, tmp_path / "libnone.so")
    with (
        pytest.raises(NoneProvenError, match=r"libnone\.so"),
        running.running(tmp_path, {"placement": "require"}, change=for_sorter),
    ):
        pass
