from typing import Any

import msgspec
import pytest

from outrider_agent import parts
from outrider_agent.actions.mqtt import MqttAction, MqttOptions
from outrider_agent.seams import Context
from outrider_bundle.errors import UsageError
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics

OWN = "outrider/v1/plant/d/line-1"


class Recorder:
    """A link that remembers."""

    def __init__(self) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        assert qos == 1
        self.published.append((topic, msgspec.json.decode(payload)))

    def retain(self, topic: str, payload: bytes) -> None:
        raise AssertionError((topic, payload))


def context(link: Recorder) -> Context:
    return Context(pipeline="belt", topics=Topics("plant", "line-1"), link=link)


def event(data: dict[str, Any]) -> Event:
    return Event(run="0" * 16, seq=7, time=1.5, pipeline="belt", kind="decision", frame="f1", data=data)


@pytest.mark.parametrize(
    ("topic", "used"),
    [
        ("", f"{OWN}/up/act/belt"),
        (f"{OWN}/up/act/gate", f"{OWN}/up/act/gate"),
        ("plant/gate/3", "plant/gate/3"),
        ("/gate", "/gate"),
        ("outrider/v10/x", "outrider/v10/x"),
        ("plant/$gate", "plant/$gate"),
    ],
)
def test_decisions_and_the_safe_state_go_to_the_topic(topic: str, used: str) -> None:
    link = Recorder()
    action = MqttAction(MqttOptions(topic=topic, safe={"stop": True}), context(link))
    action.apply(event({"label": "bag", "seq": "its own"}))
    action.safe_state()
    action.close()
    flat = {"label": "bag", "run": "0" * 16, "seq": 7, "time": 1.5, "pipeline": "belt", "frame": "f1"}
    assert link.published == [(used, flat), (used, {"stop": True})]


@pytest.mark.parametrize(
    "topic",
    [
        "outrider/v1/plant/d/line-2/up/act/belt",
        "outrider/v1/other/d/line-1/up/act/belt",
        f"{OWN}/up/state",
        f"{OWN}/dn/cmd",
        "outrider/v1/plant/ota/get/line-1",
        "outrider/v1/anything",
        "outrider/v1",
    ],
)
def test_what_belongs_to_others_is_refused(topic: str) -> None:
    with pytest.raises(UsageError, match=f"{topic} is not for an action.*{OWN}/up/act/"):
        MqttAction(MqttOptions(topic=topic), context(Recorder()))


@pytest.mark.parametrize("topic", ["$SYS/broker", "$share/a/b", "plant/+", "plant/#", "a\0b", "x" * 513])
def test_what_is_no_topic_to_publish_to_is_refused_by_the_configuration(topic: str) -> None:
    part, faults = parts.find(parts.ACTIONS, {"kind": "mqtt", "topic": topic}, "actions[0]")
    assert part is None
    assert "actions[0].topic" in faults[0]
