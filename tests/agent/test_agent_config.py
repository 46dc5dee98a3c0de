"""The configuration: what is written is what is read, and every fault is said at once."""

from pathlib import Path
from typing import Any

import pytest

from outrider_agent import cli, config
from outrider_agent.actions.mqtt import MqttAction
from outrider_agent.policies.rules import Rule, RulesOptions
from outrider_agent.sources.images import ImagesOptions
from outrider_bundle.errors import MissingExtraError, UsageError
from tests.fakes import agents, null_bundle

FULL = """
[device]
id = "line-7"
fleet = "plant"
app = "sorting"
hardware = "bench"
state_dir = "state"

[trust]
keys = ["operator.pub", "spare.pub"]

[link]
url = "mqtt://127.0.0.1:2222"
telemetry_interval_s = 2

[[pipelines]]
id = "belt"
bundle = "sorter.orb"

[pipelines.source]
kind = "images"
path = "frames"
fps = 50
loop = true

[pipelines.policy]
kind = "rules"
rules = [{label = "bag", min_score = 0.5, frames = 2, cooldown_s = 1.5, data = {bin = "left", pin = 4}}]

[pipelines.engine]
isolation = "inline"
deadline_ms = 20
threads = 1
options.onnx.optimize = true

[[pipelines.actions]]
kind = "mqtt"

[[pipelines.actions]]
kind = "log"
level = "debug"
"""


def read(tmp_path: Path, text: str) -> config.Config:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return config.read(path)


def faults(tmp_path: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    return str(caught.value)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, FULL)
    assert (found.device.id, found.device.state_dir) == ("line-7", Path("state"))
    assert found.trust.keys == (Path("operator.pub"), Path("spare.pub"))
    assert found.link is not None
    assert (found.link.address, found.link.tls) == (("127.0.0.1", 2222), False)
    assert (found.link.telemetry_interval_s, found.link.keepalive_s) == (2.0, 30)
    (pipeline,) = found.pipelines
    assert (pipeline.table.id, pipeline.table.bundle) == ("belt", Path("sorter.orb"))
    assert pipeline.source.options == ImagesOptions(path="frames", fps=50.0, loop=True)
    rule = Rule(label="bag", min_score=0.5, frames=2, cooldown_s=1.5, data={"bin": "left", "pin": 4})
    assert pipeline.policy.options == RulesOptions(rules=(rule,))
    assert [part.kind for part in pipeline.actions] == ["mqtt", "log"]
    assert pipeline.actions[0].plugin is MqttAction
    assert pipeline.table.engine.options == {"onnx": {"optimize": True}}
    assert (pipeline.table.engine.deadline_ms, pipeline.table.engine.threads) == (20.0, 1)


def test_all_faults_of_file_and_plugins_are_said_at_once(tmp_path: Path) -> None:
    text = (
        FULL.replace('app = "sorting"', 'ap = "sorting"')
        .replace("fps = 50", 'fps = "fast"')
        .replace("min_score = 0.5", "min_scor = 0.5")
        .replace("deadline_ms = 20", "deadline_ms = 0")
        .replace('level = "debug"', 'level = "loud"')
        .replace('kind = "mqtt"', 'kind = "mqt"')
        .replace("mqtt://", "http://")
    )
    said = faults(tmp_path, text)
    for fault in (
        "device.ap: unknown key; did you mean 'app'?",
        "pipelines[0].source.fps: expected float, got str",
        "pipelines[0].policy.rules[0].min_scor: unknown key; did you mean 'min_score'?",
        "pipelines[0].engine.deadline_ms",
        "pipelines[0].actions[0].kind: There is no 'mqt' among the actions. Installed: command, ",
        "pipelines[0].actions[1].level: 'loud' is none of these: debug, info, warning",
        "link: url must be like mqtt://host:1883",
    ):
        assert fault in said
    assert "7 faults" in said


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('id = "belt"', 'id = "agent"', "pipelines[0].id: 'agent' stands for the agent itself"),
        ('kind = "images"', "", "pipelines[0].source.kind: choose one of camera, "),
        ('kind = "images"', "kind = 3", "pipelines[0].source.kind: choose one of"),
        ("[link]\n", "[lonk]\n", "lonk: unknown key; did you mean 'link'?"),
        ('keys = ["operator.pub", "spare.pub"]', "", "trust.keys: name a public key"),
        ("telemetry_interval_s = 2", 'cert = "a.pem"', "link: cert and key belong together"),
        ("telemetry_interval_s = 2", 'ca = "a.pem"', "mqtts://"),
        (":2222", ":99999", "link: "),
        (":2222", "/topic", "link: url must be like"),
        ("mqtt://", "mqtt://line-7:secret@", "link: url may not hold a user; use username and password_file"),
        ('id = "line-7"', 'id = "line 7"', "device.id"),
        ('isolation = "inline"', 'isolation = "moon"', "'moon' is none of these: auto, child, inline"),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in FULL
    assert fault in faults(tmp_path, FULL.replace(old, new))


def test_two_pipelines_need_two_names(tmp_path: Path) -> None:
    second = FULL[FULL.index("[[pipelines]]") :]
    assert "pipelines[1].id: there is another pipeline 'belt'" in faults(tmp_path, FULL + second)
    assert len(read(tmp_path, FULL + second.replace('"belt"', '"press"')).pipelines) == 2


def test_an_action_that_needs_a_broker_says_so(tmp_path: Path) -> None:
    link = FULL[FULL.index("[link]") : FULL.index("[[pipelines]]")]
    assert "pipelines[0]: 'mqtt' needs a broker; add a [link] table" in faults(
        tmp_path, FULL.replace(link, "")
    )


@pytest.mark.parametrize(
    "text", ["", "pipelines = 3", "[pipelines]\nid=1", "pipelines = [1, 2]", "[[pipelines]]\nactions = 1"]
)
def test_any_shape_of_file_is_a_fault_and_no_crash(tmp_path: Path, text: str) -> None:
    assert "device" in faults(tmp_path, text)


def test_a_plugin_whose_library_is_missing_is_answered_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(_group: str, name: str) -> object:
        raise MissingExtraError("'images' needs cv2, which is not installed", name)

    monkeypatch.setattr("outrider_bundle.plugins.load", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'outrider\[images\]'"):
        read(tmp_path, FULL)


def test_check_prints_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written: dict[str, Any] = agents.document(tmp_path, None)
    null_bundle.write_images(tmp_path / "images", 1)
    path = agents.write(tmp_path / "agent.toml", written)
    assert cli.main(["check", str(path)]) == 0
    assert "device line-1, pipelines belt: no faults" in capsys.readouterr().out
    assert cli.main(["check", str(path), "--json"]) == 0
    assert '"pipelines": ["belt"]' in capsys.readouterr().out
    path.write_text(path.read_text().replace("rules", "ruls"))
    with pytest.raises(UsageError):
        cli.main(["check", str(path)])


def test_help_has_examples_and_a_wrong_line_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "--help"])
    assert ended.value.code == 0
    assert "outrider agent run --config agent.toml" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main(["run"])
    assert ended.value.code == 2
