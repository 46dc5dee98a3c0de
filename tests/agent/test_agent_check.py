"""`outrider agent check`: every fault at once, each with its place, and nothing touched but files."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace

from outrider_agent import cli
from outrider_agent.checking import check as checking
from outrider_agent.checking import labels, plug_ins
from outrider_agent.checking.check import Report, check
from outrider_agent.checking.labels import Words
from outrider_agent.checking.reading import Placed
from outrider_agent.examples import texts
from outrider_agent.parts import ACTIONS, Part
from outrider_agent.policies.rules import RulesOptions
from outrider_agent.rules.options import Rule
from outrider_bundle import plugins, signing
from outrider_bundle.errors import MissingExtraError, UsageError
from outrider_bundle.manifest import Manifest, SsdDecoder
from tests.fakes import agents, null_bundle

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a sound configuration with other entries of its pipeline, and other tables."""
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 2)

    def written(changed: Mapping[str, Any] | None = None, **tables: object) -> Path:
        return agents.write(tmp_path / "agent.toml", agents.document(tmp_path, None, changed, **tables))

    return written


def example(name: str, folder: Path, *changes: tuple[str, str]) -> Path:
    """Write an example with other words in it."""
    assert cli.main(["config", "--example", name, "--out", str(folder)]) == 0
    path = folder / "agent.toml"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def has(report: Report, *wanted: str) -> None:
    """Look for each text in one of the faults, and for nothing else there."""
    for text in wanted:
        assert any(text in fault for fault in report.faults), (text, report.faults)
    assert len(report.faults) == len(wanted), report.faults


def test_a_sound_configuration_has_no_faults(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write()
    assert cli.main(["check", str(path)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{path}: device line-1, pipelines belt: no faults\n"
    assert "warning: pipelines[0].bundle: " in shown.err
    assert "has no signature" in shown.err
    assert cli.main(["check", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["device"], told["pipelines"], told["faults"], len(told["warnings"])) == (
        "line-1",
        ["belt"],
        [],
        1,
    )


def test_faults_of_every_kind_in_several_pipelines_are_one_list(
    tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.orb").write_bytes(b"no bundle")
    (tmp_path / "empty").mkdir()
    sound = agents.document(tmp_path, None)
    first = {**sound["pipelines"][0], "policy": {"kind": "rules", "rules": [{"label": "bagg"}]}}
    second = {
        "id": "belt",
        "bundle": str(tmp_path / "broken.orb"),
        "source": {"kind": "video", "path": str(tmp_path / "none.avi"), "fbs": 3},
        "policy": {"kind": "ruls"},
    }
    third = {
        "id": "lid",
        "bundle": str(tmp_path / "sorter.orb"),
        "source": {"kind": "images", "path": str(tmp_path / "empty")},
        "policy": {"kind": "rules", "rules": [{"value": "load", "above": 1}, {"region": [0, 0, 1, 1]}]},
        "engine": {"deadline_ms": -1},
        "actions": [{"kind": "mqtt"}, {"kind": "command", "argv": ["/none/gate"]}, {"kind": "gym"}],
    }
    path = write(device={**sound["device"], "ap": 1}, pipelines=[first, second, third])
    report = check(path)
    has(
        report,
        "device.ap: unknown key; did you mean 'app'?",
        "pipelines[0].policy.rules[0].label: the model never sees 'bagg'; did you mean 'bag'?",
        "pipelines[1].source.fbs: unknown key; did you mean 'fps'?",
        "pipelines[1].policy.kind: There is no 'ruls' among the policies.",
        "broken.orb: This is not a bundle",
        "pipelines[1].id: there is another pipeline 'belt'",
        "pipelines[2]: 'mqtt' needs a broker",
        "pipelines[2].source.path: the folder",
        "pipelines[2].policy.rules[0].value: the model gives no number 'load'",
        "pipelines[2].policy.rules[1].region: the model does not say where anything is",
        "pipelines[2].engine.deadline_ms",
        "pipelines[2].actions[1].argv[0]: there is no program /none/gate",
        "pipelines[2].actions[2].plant: the pipeline's own source is no gym",
    )
    assert report.pipelines == ("belt", "belt", "lid")
    with pytest.raises(UsageError) as caught:
        cli.main(["check", str(path)])
    assert all(fault in str(caught.value) for fault in report.faults)
    assert f"{path} has 13 faults:" in str(caught.value)
    capsys.readouterr()
    assert cli.main(["check", str(path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["faults"] == list(report.faults)


def test_contradictions_are_found_beside_faults_of_plug_ins(write: Write) -> None:
    path = write({"id": "agent", "actions": [{"kind": "mqtt"}], "policy": {"kind": "argmax", "min_scor": 1}})
    has(
        check(path),
        "policy.min_scor: unknown key; did you mean 'min_score'?",
        "pipelines[0].id: 'agent' stands for the agent itself",
        "'mqtt' needs a broker",
    )


def test_a_bundle_that_is_not_there_yet_is_a_warning(write: Write, tmp_path: Path) -> None:
    report = check(write({"bundle": str(tmp_path / "later.orb")}))
    assert report.faults == ()
    assert report.warnings == (
        f"pipelines[0].bundle: there is no {tmp_path}/later.orb yet; the agent does not start without it",
    )


def test_a_bundle_for_another_device_or_damaged_is_a_fault(write: Write, tmp_path: Path) -> None:
    device = agents.document(tmp_path, None)["device"]
    path = write(device={**device, "app": "washing", "hardware": "pi"})
    has(check(path), "this device is enrolled for 'washing'")
    bundle = tmp_path / "sorter.orb"
    content = bytearray(bundle.read_bytes())
    content[-1] ^= 1
    bundle.write_bytes(content)
    assert len(check(path).faults) == 2


def test_signatures_are_checked_with_the_keys_that_can_be_read(write: Write, tmp_path: Path) -> None:
    signing.generate(tmp_path / "operator", tmp_path / "operator.pub")
    signing.generate(tmp_path / "other", tmp_path / "other.pub")
    keys = [str(tmp_path / "operator.pub"), str(tmp_path / "none.pub")]
    path = write(trust={"keys": keys})
    has(check(path), "trust.keys[1]: The key ", "pipelines[0].bundle: ")
    signing.sign(tmp_path / "sorter.orb", tmp_path / "other")
    has(check(path), "trust.keys[1]", "which is not trusted here")
    signing.sign(tmp_path / "sorter.orb", tmp_path / "operator")
    has(check(path), "trust.keys[1]")


def test_files_of_brokers_must_be_there(write: Write, tmp_path: Path) -> None:
    link = {"url": "mqtts://localhost", "password_file": str(tmp_path / "none"), "ca": str(tmp_path)}
    has(check(write(link=link)), "link.password_file: there is no file", "link.ca: ")


def test_a_plug_in_whose_library_is_missing_hides_nothing_else(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = plugins.load

    def load(group: str, name: str) -> object:
        if name in {"gpio", "gym"}:
            raise MissingExtraError(f"'{name}' needs a library, which is not installed", name)
        return real(group, name)

    monkeypatch.setattr(plugins, "load", load)
    actions = [{"kind": "gpio", "outputs": 3}, {"kind": "log", "level": "loud"}]
    has(
        check(write({"source": {"kind": "gym"}, "actions": actions, "policy": {"kind": "argmax", "x": 1}})),
        "pipelines[0].source.kind: 'gym' needs a library, which is not installed. Install it: pip install",
        "pipelines[0].actions[0].kind: 'gpio' needs a library",
        "pipelines[0].actions[1].level: 'loud' is none of these",
        "pipelines[0].policy.x: unknown key",
    )


@pytest.mark.parametrize("text", ["", "pipelines = 3", "[[pipelines]]\nid=1\ncascade=3\nactions=[1]", "]["])
def test_any_shape_of_file_is_a_fault_and_no_crash(text: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    assert check(path).faults
    assert check(tmp_path / "none.toml").faults == (
        f"There is no file {tmp_path}/none.toml. Correct the path.",
    )


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        (
            "sensor",
            'kind = "replay"',
            'kind = "images"',
            "'images' gives pictures, and the model of example-sensor",
        ),
        ("image", 'kind = "images"', 'kind = "camera"', "unknown key"),
        ("sensor", "windows.npz", "none.npz", "source.path: There is no recording"),
        ("sensor", 'value = "score"', 'value = "scores"', "gives no number 'scores'; did you mean 'score'?"),
        ("control", "control.orb", "sensor.orb", "there is no"),
        (
            "control",
            'kind = "gym"                      #',
            'kind = "gym"\nplant = "x" #',
            "no gym among [[sources]]",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_a_fault(
    name: str, old: str, new: str, fault: str, tmp_path: Path
) -> None:
    report = check(example(name, tmp_path / name, (old, new)))
    assert any(fault in one for one in (*report.faults, *report.warnings)), report


def test_samples_must_be_the_input_of_the_model(tmp_path: Path) -> None:
    path = example("sensor", tmp_path / "sensor")
    np.savez(tmp_path / "sensor" / "windows.npz", frames=np.zeros((3, 32, 2), np.float32))
    has(check(path), "its frames have the shape (32, 2), and the model of example-sensor 1.0.0 takes (64, 2)")
    source = path.read_text().index("[pipelines.source]")
    policy = path.read_text().index("# What is decided")
    mqtt = '[pipelines.source]\nkind = "mqtt"\ntopic = "t"\nfields = ["x"]\nseq = "n"\nwindow = 64\n'
    path.write_text(path.read_text()[:source] + mqtt + path.read_text()[policy:])
    has(check(path), "'mqtt' needs a broker", "source.window: 64 samples of 1 fields are no input")
    path.write_text(path.read_text().replace('["x"]', '["x", "y"]\nlayout = "NCT"'))
    has(check(path), "source.layout: windows are (2, 64)", "takes (64, 2); set layout = 'NTC'")


def test_a_user_that_is_not_there_and_texts_of_errors_read_well(write: Write) -> None:
    path = write(
        {"engine": {"user": "nobody-of-that-name", "isolation": "child"}, "policy": {"kind": "rule"}}
    )
    has(check(path), "policy.kind: There is no 'rule'", "engine.user: there is no user 'nobody-of-that-name'")
    with pytest.raises(UsageError, match=r"Installed: [a-z, ]+\.?\n") as caught:
        cli.main(["check", str(path)])
    assert ".." not in str(caught.value)


def described(*labels_seen: str) -> Manifest:
    """Return a detector's manifest, as far as labels go."""
    plain = null_bundle.manifest([null_bundle.variant("null-a", 0)])
    return replace(plain, outputs=(replace(plain.outputs[0], decoder=SsdDecoder(labels=labels_seen)),))


@pytest.mark.parametrize(
    ("rule", "said", "details", "fault"),
    [
        (Rule(label="*"), Words(labels=("a",)), (), ""),
        (Rule(label="dog"), Words(labels=("cat",)), (), "rules[0].label: the model never sees 'dog'"),
        (Rule(label="dog"), Words(values=("v",)), (), "the model names nothing"),
        (Rule(label="dog", detail="x"), Words(labels=("dog",), places=True), (), "nothing looks at details"),
        (Rule(detail="hat"), Words(labels=("dog",), places=True), ("hats",), "did you mean 'hats'?"),
        (Rule(detail="hat"), Words(labels=("dog",), places=True), None, ""),
        (Rule(region=[0.0, 0.0, 1.0, 1.0]), Words(labels=("a",), places=True), (), ""),
        (Rule(value="v", above=1.0), Words(values=("v",)), (), ""),
    ],
)
def test_a_rule_that_can_never_fire_is_a_fault(
    rule: Rule, said: Words, details: Sequence[str] | None, fault: str
) -> None:
    found = list(labels.rules(RulesOptions(rules=(rule,)), said, details))
    assert (fault in found[0]) if fault else not found


def test_a_cascade_looks_at_what_a_detector_finds(write: Write, tmp_path: Path) -> None:
    cascade = [{"bundle": str(tmp_path / "sorter.orb"), "labels": ["dog"]}]
    has(check(write({"cascade": cascade})), "cascade[0].bundle: a cascade looks at objects")
    assert list(labels.cascade(("dog", "cat"), labels.words(described("cat", "dogs")))) == [
        "labels[0]: the model never sees 'dog'; did you mean 'dogs'?"
    ]


class Options(Struct, frozen=True):
    """There are none."""


class Judging:
    """A third party's plug-in with a check of its own."""

    @staticmethod
    def faults(_options: object, manifest: Manifest | None) -> Sequence[str]:
        if manifest is None:
            raise RuntimeError("broken")
        return [f"pin: {manifest.name} has none"]


def test_a_plug_in_may_judge_itself_and_fail_at_it() -> None:
    placed = Placed(part=Part(kind="own", plugin=Judging, options=Options()), where="x", group=ACTIONS)
    assert plug_ins.faults(placed, described("a")) == ["x.pin: sorter has none"]
    assert plug_ins.faults(placed, None) == [
        "x.kind: the check of 'own' itself failed: RuntimeError('broken')"
    ]


def test_as_a_command_it_ends_with_2_and_without_a_traceback(write: Write) -> None:
    path = write({"bundle": 3, "policy": {"kind": "rules", "rules": []}})
    code = "from outrider_bundle.dispatch import main; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "agent", "check", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "has 2 faults:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", texts.NAMES)
def test_the_examples_have_no_faults(name: str, tmp_path: Path) -> None:
    assert checking.check(example(name, tmp_path / name)).faults == ()
