"""Entities for Home Assistant: each is documented so, and shows what our own messages say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from outrider_agent import config
from outrider_agent.discovery import payload
from outrider_agent.discovery.announcer import About, Announcer
from outrider_agent.discovery.entities import MOST_VALUES, Subject, entities, subject
from outrider_agent.discovery.options import DiscoveryOptions
from outrider_agent.events import Events
from outrider_agent.policies.argmax import ArgmaxOptions, ArgmaxPolicy
from outrider_agent.policies.passthrough import PassthroughOptions, PassthroughPolicy
from outrider_agent.policies.rules import RulesOptions, RulesPolicy
from outrider_agent.rules.options import Rule
from outrider_agent.seams import NullPublisher, Policy
from outrider_agent.telemetry.metrics import Meters, message
from outrider_bundle.manifest import ControlDecoder, RegressionDecoder, Task
from outrider_bundle.messages.codec import encode
from outrider_bundle.messages.reported import PipelineReport, Reported
from outrider_bundle.messages.state import State
from outrider_bundle.messages.telemetry import BoardMetrics, Telemetry
from outrider_bundle.topics import Topics
from outrider_runtime.perception import (
    Anomaly,
    Classification,
    Control,
    Detection,
    Detections,
    Perception,
    Regression,
)
from tests.fakes import agents, home_assistant, null_bundle
from tests.fakes.home_assistant import HomeAssistant
from tests.fakes.wire import Calls, Wire

RUN = "0123456789abcdef"
TOPICS = Topics("plant", "line-1")
BIRTH = encode(State(status="online", run=RUN, version="1", app="sorting", hardware="bench"))
TASKS: tuple[Task, ...] = ("classification", "regression", "detection", "control", "anomaly", "raw")
ARGMAX = ArgmaxPolicy(ArgmaxOptions())
PASSTHROUGH = PassthroughPolicy(PassthroughOptions())


class House:
    """A Home Assistant that knows a device with these pipelines, and the device's words."""

    def __init__(self, tmp_path: Path, subjects: Sequence[Subject], topics: Topics = TOPICS) -> None:
        about = About(
            topics=topics, hardware="bench", interval_s=10.0, birth=BIRTH, state_dir=tmp_path, thermal=True
        )
        wire = Wire()
        wire.connect()
        announcer = Announcer(DiscoveryOptions(), about, wire, Calls())
        announcer.update(subjects)
        self.topics, self.assistant = topics, HomeAssistant()
        for topic, told in wire.sent:
            self.assistant.hear(topic, told, kept=True)
        self.assistant.hear(topics.state, BIRTH, kept=True)
        self._events = Events(RUN, topics, NullPublisher())

    def decides(self, policy: Policy, *perceptions: Perception, pipeline: str = "belt") -> None:
        state = policy.initial()
        for now, perception in enumerate(perceptions):
            decisions, state = policy.decide(perception, state, float(now))
            for decision in decisions:
                self.says(pipeline, decision.data)

    def says(self, pipeline: str, data: dict[str, Any], kind: Any = "decision") -> None:  # noqa: ANN401
        event = self._events.emit(pipeline, kind, data, "7")
        self.assistant.hear(self.topics.events, encode(event))

    def __getitem__(self, name: str) -> str:
        return self.assistant.shown(name)


def rules(**rule: Any) -> RulesPolicy:  # noqa: ANN401
    return RulesPolicy(RulesOptions(rules=(Rule(**rule),)))


def named(label: str, score: float = 0.75) -> Classification:
    return Classification(index=0, label=label, score=score, margin=0.5)


def found(*labels: str) -> Detections:
    one = Detection(label="", index=0, score=0.5, box=(1.0, 2.0, 3.0, 4.0))
    return Detections(objects=tuple(replace(one, label=label) for label in labels), frame=(640, 480))


def test_what_is_sent_abbreviated_is_abbreviated_as_documented() -> None:
    for ours, documented in (
        (payload.ENTITY, home_assistant.ABBREVIATIONS),
        (payload.ROOT, home_assistant.ABBREVIATIONS),
        (payload.DEVICE, home_assistant.DEVICE_ABBREVIATIONS),
        (payload.ORIGIN, home_assistant.ORIGIN_ABBREVIATIONS),
    ):
        assert {short: name for name, short in ours.items()}.items() <= documented.items()


@pytest.mark.parametrize("task", TASKS)
def test_every_entity_is_one_that_is_documented(tmp_path: Path, task: Task) -> None:
    house = House(tmp_path, [Subject(id="belt", task=task, numbers=("x",) if task == "regression" else ())])
    assert {"Phase", "Problem", "belt state", "belt problem", "belt decision"} <= house.assistant.names
    assert {"belt frame rate", "belt latency p95", "belt dropped", "belt restarts"} <= house.assistant.names
    (device,) = house.assistant.devices.values()
    assert (device["identifiers"], device["name"], device["model"]) == (
        ["outrider/plant/line-1"],
        "line-1",
        "bench",
    )


def test_a_classification_is_a_label_and_a_score_by_every_policy(tmp_path: Path) -> None:
    house = House(tmp_path, [Subject(id="belt", task="classification")])
    assert (house["belt label"], house["belt score"]) == ("unknown", "unknown")
    for policy, label in ((ARGMAX, "bag"), (PASSTHROUGH, "boot"), (rules(min_score=0.5), "coat")):
        house.decides(policy, named(label, 0.5 + len(label) / 16))
        assert (house["belt label"], house["belt score"]) == (label, str(0.5 + len(label) / 16))


def test_what_a_rule_releases_is_not_seen_any_more(tmp_path: Path) -> None:
    rule = rules(label="bag", min_score=0.5, release_score=0.4, released={})
    house = House(tmp_path, [Subject(id="belt", task="classification")])
    house.decides(rule, named("bag"))
    assert house["belt label"] == "bag"
    house.decides(rule, named("bag"), named("boot"))
    assert house["belt label"] == "none"
    house = House(tmp_path, [Subject(id="belt", task="detection")])
    house.decides(rule, found("bag", "bag"))
    assert (house["belt label"], house["belt count"]) == ("bag", "2.0")
    house.decides(rule, found("bag", "bag"), found())
    assert (house["belt label"], house["belt count"]) == ("none", "0.0")


def test_a_detection_is_its_surest_object_and_how_many_there_are(tmp_path: Path) -> None:
    house = House(tmp_path, [Subject(id="gate", task="detection")])
    house.decides(ARGMAX, found("person", "dog"), pipeline="gate")
    assert (house["gate label"], house["gate score"], house["gate count"]) == ("person", "0.5", "unknown")
    house.decides(PASSTHROUGH, found("dog", "dog", "person"), pipeline="gate")
    assert (house["gate label"], house["gate score"], house["gate count"]) == ("dog", "0.5", "3.0")
    house.decides(PASSTHROUGH, found(), pipeline="gate")
    assert (house["gate label"], house["gate score"], house["gate count"]) == ("none", "0.0", "0.0")


def test_numbers_are_known_by_their_names_whatever_these_are(tmp_path: Path) -> None:
    names = ("speed", "a \"b\" 'c' \\ }} {% endif %} é 🌡", "values")
    house = House(tmp_path, [Subject(id="m", task="regression", numbers=names)])
    house.decides(PASSTHROUGH, Regression(names=names, values=(1.5, -2.5, 3.0)), pipeline="m")
    assert [house[f"m {name}"] for name in names] == ["1.5", "-2.5", "3.0"]
    house.decides(ARGMAX, Regression(names=names, values=(1.0, 9.0, 2.0)), pipeline="m")
    assert [house[f"m {name}"] for name in names] == ["1.5", "9.0", "3.0"]
    house.decides(
        rules(value="speed", above=4.0), Regression(names=names, values=(5.0, 0.0, 0.0)), pipeline="m"
    )
    assert [house[f"m {name}"] for name in names] == ["5.0", "9.0", "3.0"]


def test_a_control_is_an_action_or_a_value_for_each_actuator(tmp_path: Path) -> None:
    discrete = Control(names=("left", "right"), values=(0.1, 0.9), index=1)
    continuous = Control(names=("gas", "brake"), values=(0.25, 0.0))
    house = House(tmp_path, [Subject(id="belt", task="control")])
    for policy in (ARGMAX, PASSTHROUGH, rules(label="right")):
        house.decides(ARGMAX, replace(discrete, index=0))
        assert house["belt action"] == "left"
        house.decides(policy, discrete)
        assert house["belt action"] == "right"
    house = House(tmp_path, [Subject(id="belt", task="control", numbers=continuous.names)])
    assert "belt action" not in house.assistant.names
    house.decides(PASSTHROUGH, continuous)
    assert (house["belt gas"], house["belt brake"]) == ("0.25", "0.0")


def test_an_anomaly_is_a_problem_and_how_strange_it_is(tmp_path: Path) -> None:
    house = House(tmp_path, [Subject(id="belt", task="anomaly")])
    for policy in (ARGMAX, PASSTHROUGH, rules(label="*")):
        house.decides(policy, Anomaly(score=4.0, threshold=2.0))
        assert (house["belt anomaly"], house["belt score"]) == ("on", "4.0")
        house.decides(policy, Anomaly(score=1.0, threshold=2.0))
        assert (house["belt anomaly"], house["belt score"]) == ("off", "1.0")
    house.decides(rules(value="score", above=3.0), Anomaly(score=6.0, threshold=9.0))
    assert (house["belt anomaly"], house["belt score"]) == ("off", "6.0")


def test_others_and_other_kinds_of_events_change_nothing(tmp_path: Path) -> None:
    both = [Subject(id="belt", task="classification"), Subject(id="belt-2", task="classification")]
    house = House(tmp_path, both)
    house.says("belt-2", {"label": "early"})
    assert (house["belt label"], house["belt-2 label"]) == ("unknown", "early")
    house.decides(ARGMAX, named("bag"))
    house.says("belt-2", {"label": "boot", "score": 1})
    house.says("agent", {"state": "RUNNING"}, "phase")
    house.says("belt", {"label": "no", "part": "model"}, "fault")
    house.says("belt", {"bin": 4})
    assert (house["belt label"], house["belt score"], house["belt-2 label"]) == ("bag", "0.75", "boot")
    (first, second) = house.assistant["belt decision"].happened
    assert (first["label"], first["frame"], first["time"] > 0) == ("bag", "7", True)
    assert second["bin"] == 4


def test_a_long_label_is_cut_to_what_a_state_may_be(tmp_path: Path) -> None:
    house = House(tmp_path, [Subject(id="belt", task="classification")])
    house.says("belt", {"label": "x" * 300})
    assert house["belt label"] == "x" * 255


def test_telemetry_and_reports_are_shown_and_why_something_is_wrong(tmp_path: Path) -> None:
    house = House(tmp_path, [Subject(id="belt", task="classification")])
    meters = Meters()
    meters.frames = 50
    meters.stages["loop"].record(8_000_000)
    metrics = message(meters.totals(3), rss_mb=1.0, cpu_s=0.1)
    told = Telemetry(
        run=RUN, seq=0, start=1.0, duration_s=2.0, pipelines={"belt": replace(metrics, restarts=2)}
    )
    house.assistant.hear(TOPICS.telemetry, encode(told))
    assert (house["belt frame rate"], house["belt dropped"], house["belt restarts"]) == ("25.0", "3.0", "2.0")
    assert float(house["belt latency p95"]) == pytest.approx(8.0, rel=0.04)
    idle = message(Meters().totals(0), rss_mb=1.0, cpu_s=0.1)
    house.assistant.hear(TOPICS.telemetry, encode(replace(told, pipelines={"belt": idle})))
    assert (house["belt frame rate"], house["belt latency p95"]) == ("0.0", "unknown")
    house.assistant.hear(TOPICS.telemetry, encode(replace(told, duration_s=0.0, pipelines={})))

    report = PipelineReport(
        bundle="b", version="1", digest="d", variant="v", runtime="null", placement={}, state="RUNNING"
    )
    reported = Reported(run=RUN, phase="IDLE", pipelines={"belt": report})
    house.assistant.hear(TOPICS.reported, encode(reported))
    assert [house[name] for name in ("Phase", "Problem", "belt state", "belt problem")] == [
        "IDLE", "off", "RUNNING", "off",
    ]  # fmt: skip
    report = replace(report, state="DEGRADED", reason='on "cpu"')
    house.assistant.hear(TOPICS.reported, encode(replace(reported, pipelines={"belt": report})))
    assert (house["belt state"], house["belt problem"]) == ("DEGRADED", "on")
    assert house.assistant["belt problem"].attributes == {"reason": 'on "cpu"'}
    house.assistant.hear(
        TOPICS.reported, encode(Reported(run=RUN, phase="SAFE_MODE", pipelines={}, error="three crashes"))
    )
    assert [house[name] for name in ("Phase", "Problem", "belt state", "belt problem")] == [
        "SAFE_MODE", "on", "unknown", "unknown",
    ]  # fmt: skip
    assert house.assistant["Problem"].attributes == {"reason": "three crashes"}


def test_a_board_that_shows_it_tells_how_hot_it_is_and_what_holds_it_back(tmp_path: Path) -> None:
    house = House(tmp_path, [])
    told = Telemetry(run=RUN, seq=0, start=1.0, duration_s=2.0, pipelines={})
    for board, hot, throttled, by in (
        (BoardMetrics(temperature_c=81.25, throttled=("throttled",)), "81.25", "on", ["throttled"]),
        (BoardMetrics(temperature_c=70.0, throttles=2), "70.0", "on", []),
        (BoardMetrics(temperature_c=60.0), "60.0", "off", []),
        (None, "unknown", "off", []),
    ):
        house.assistant.hear(TOPICS.telemetry, encode(replace(told, board=board)))
        assert (house["Temperature"], house["Throttled"]) == (hot, throttled)
        assert house.assistant["Throttled"].attributes == {"by": by}
    assert "agent_temperature" not in entities(TOPICS, 10.0, [], thermal=False)


def test_a_device_that_is_gone_is_unavailable_and_its_label_is_forgotten(tmp_path: Path) -> None:
    house = House(tmp_path, [Subject(id="belt", task="classification")])
    house.says("belt", {"label": "bag"})
    gone = State(status="offline", run=RUN, version="1", app="sorting", hardware="bench", reason="SIGTERM")
    house.assistant.hear(TOPICS.state, encode(gone), kept=True)
    assert house["belt label"] == "unavailable"
    house.says("agent", {"state": "STOPPING"}, "phase")
    house.assistant.hear(TOPICS.state, BIRTH, kept=True)
    assert house["belt label"] == "unknown"


def test_no_two_devices_share_an_id_or_a_topic(tmp_path: Path) -> None:
    assistant, count = HomeAssistant(), 0
    for fleet, device in (("a_b", "c"), ("a", "b_c"), ("a-b", "c"), ("a", "b-c")):
        house = House(
            tmp_path / f"{fleet}.{device}", [Subject(id="x", task="detection")], Topics(fleet, device)
        )
        count += len(house.assistant.entities)
        for topic, told in house.assistant._kept.items():
            assistant.hear(topic, told)
    assert (len(assistant.devices), len(assistant.entities)) == (4, count)


def test_what_a_bundle_gives_decides_on_the_entities() -> None:
    manifest = null_bundle.manifest([null_bundle.variant("a", 0)])
    assert subject("belt", manifest) == Subject(id="belt", task="classification")
    many = tuple(f"n{number}" for number in range(MOST_VALUES + 4))
    (output,) = manifest.outputs
    for decoder, numbers in (
        (RegressionDecoder(names=many), many[:MOST_VALUES]),
        (ControlDecoder(names=("gas",), space="continuous"), ("gas",)),
        (ControlDecoder(names=("left", "right")), ()),
    ):
        changed = replace(manifest, outputs=(replace(output, decoder=decoder),))
        assert subject("belt", changed).numbers == numbers


def test_the_message_of_many_pipelines_stays_small() -> None:
    made = entities(
        TOPICS, 10.0, [Subject(id=f"p{number}", task="detection") for number in range(64)], thermal=True
    )
    assert len(msgspec.json.encode(made)) < 1 << 19


def test_it_needs_a_broker_and_topics_that_are_some(tmp_path: Path) -> None:
    def faults(url: str | None, **table: Any) -> list[str]:  # noqa: ANN401
        return config.examine(agents.document(tmp_path, url, discovery=table))[1]

    assert faults(None) == ["discovery: it needs a broker; add a [link] table with its url"]
    assert faults(None, enabled=False) == []
    assert faults("mqtt://localhost", prefix="ha", name="Line", area="Hall") == []
    for prefix in ("", "/", "ha/", "/ha", "ha/#", "$SYS", "h+a"):
        assert "discovery.prefix" in faults("mqtt://localhost", prefix=prefix)[0]
    assert "did you mean 'prefix'" in faults("mqtt://localhost", prefx="ha")[0]


def test_the_page_about_it_names_every_option() -> None:
    page = (Path(__file__).parents[2] / "docs" / "home-assistant.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in DiscoveryOptions.__struct_fields__)
