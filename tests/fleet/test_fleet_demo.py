import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from outrider_bundle import dispatch
from outrider_bundle.errors import UsageError
from outrider_fleet.demo import bars, rehearsal, summary
from outrider_fleet.demo.device import Device
from outrider_fleet.demo.ledger import Verdict
from outrider_fleet.demo.records import AgentReport, Skipped
from outrider_fleet.demo.rehearsal import Options, Outcome

TINY = Path(__file__).with_name("tiny")
FRAMES = 100


def outcome(*faults: str) -> Outcome:
    verdict = Verdict(
        fed=9,
        decided=9,
        right=1.0,
        exact=0,
        lost=0,
        duplicates=0,
        dropped_share=0.0,
        bins={},
        faults=(),
    )
    found = summary.Summary(
        data=summary.Data(name="toy", test_images=9),
        teacher=summary.Teacher(accuracy=0.94, bytes=9, params=9, macs=9),
        variants=(),
        bundle=summary.BundleFile(path="a.orb", bytes=9, sha256="00"),
        agent=summary.Agent(
            frames=9, dropped=0, accuracy=1.0, p50_ms=1.0, p99_ms=1.0, variant="null", placement="null"
        ),
        mqtt=summary.Mqtt(broker="mosquitto", protocol=5, telemetry=1, events=9, lost=0),
        seconds=1.0,
    )
    return Outcome(summary=found, verdict=verdict, default="null", rows=bars.line(verdict), faults=faults)


@pytest.mark.parametrize(("faults", "code"), [((), 0), (("demo.size is 70 KB (bar: <= 62)", "no birth"), 1)])
def test_the_exit_code_is_that_of_the_bars(
    faults: tuple[str, ...],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(rehearsal, "rehearse", lambda *_: outcome(*faults))
    assert dispatch.main(["demo", "--out", "out", "--json"]) == code
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads((tmp_path / "out" / "summary.json").read_text())
    proof = json.loads((tmp_path / "build" / "proof" / "demo.json").read_text())
    assert [row["id"] for row in proof["rows"]] == ["demo.exact", "demo.lost", "demo.dropped"]
    assert all(fault in said.err for fault in faults)
    assert said.err.count("outrider: error: The demo fails") == bool(faults)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--frames", "0"], "--frames"),
        (["--fps", "fast"], "--fps"),
        (["--frames", "10", "--recipe", "nowhere.toml"], "nowhere.toml is not there"),
        (["--examples", "nowhere"], "nowhere/demo.toml is not there"),
    ],
)
def test_a_wrong_command_line_has_one_message(
    arguments: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch.main(["demo", "--out", str(tmp_path / "out"), *arguments]) == 2
    said = capsys.readouterr()
    assert part in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_examples_folder_outside_of_a_checkout_is_refused(tmp_path: Path) -> None:
    for name in (rehearsal.EXPORT, rehearsal.BINS, "recipe.toml"):
        (tmp_path / name).touch()
    options = Options(
        examples=tmp_path, recipe=tmp_path / "recipe.toml", out=tmp_path / "out", frames=1, fps=1.0
    )
    with pytest.raises(UsageError, match="not part of a checkout"):
        rehearsal.preflight(options)


def test_another_variant_than_the_default_is_a_fault_with_its_reason() -> None:
    account = AgentReport(
        run="0" * 16,
        frames=1,
        dropped=0,
        late=0,
        decisions=1,
        events=1,
        p50_ms=1.0,
        p99_ms=1.0,
        variant="onnx-int8",
        placement="cpu",
        skipped=(Skipped(variant="tflite-int8", reason="differs by 9 steps"),),
    )
    assert rehearsal.passed_over("onnx-int8", account) == ()
    (fault,) = rehearsal.passed_over("tflite-int8", account)
    assert fault == "the agent runs onnx-int8 instead of tflite-int8 (tflite-int8: differs by 9 steps)"


@pytest.mark.timeout(180)
def test_the_whole_demo_with_a_tiny_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every part is real but the device's environment, which is ours; the teacher is too small for bars."""
    here = Device(training=(), size_mb=1.0, outrider=Path(sys.executable).with_name("outrider"))
    options = Options(
        examples=TINY,
        recipe=TINY / "recipe.toml",
        out=tmp_path / "demo",
        frames=FRAMES,
        fps=50.0,
        quiet=True,
    )
    done = rehearsal.rehearse(options, Console(stderr=True), lambda *_: here)
    assert capfd.readouterr().out == ""
    verdict, found = done.verdict, done.summary
    assert (verdict.fed, verdict.decided + found.agent.dropped) == (FRAMES, FRAMES)
    assert (verdict.exact, verdict.lost, verdict.faults) == (0, 0, ())
    assert verdict.right > 0.8
    assert set(verdict.bins) == {"stripes", "checks"}
    assert found.teacher.accuracy > 0.95
    assert {v.id for v in found.variants} == {"onnx-int8", "onnx-float32"}
    assert found.data == summary.Data(name="textures", test_images=120)
    assert found.agent.variant == done.default
    assert found.mqtt.broker.startswith("mosquitto 2")
    assert found.mqtt.protocol == 5
    assert found.mqtt.telemetry >= 1
    assert found.bundle.bytes == Path(found.bundle.path).stat().st_size
    assert Path(found.bundle.path).with_suffix(".orb.sig").is_file()
    missed = {row.id for row in done.rows if not row.ok}
    assert missed <= {"demo.smaller", "demo.faster", "demo.drop", "demo.accuracy", "demo.dropped"}
    assert len(done.faults) == len(missed)
