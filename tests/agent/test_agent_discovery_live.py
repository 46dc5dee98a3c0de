"""A real agent on a real broker, as Home Assistant sees it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from outrider_bundle.topics import Topics
from tests.fakes import agents, null_bundle
from tests.fakes.agents import AgentProcess
from tests.fakes.broker import Broker, Listener, eventually
from tests.fakes.home_assistant import HomeAssistant

TOPICS = Topics(agents.FLEET, agents.DEVICE)
TOPIC = f"homeassistant/device/outrider-{agents.FLEET}/{agents.DEVICE}/config"
KEPT = (TOPICS.state, TOPICS.reported, TOPIC)


class House:
    """Home Assistant, and all that it heard."""

    def __init__(self, listener: Listener) -> None:
        self.listener, self.assistant = listener, HomeAssistant()
        self._heard = 0

    def shows(self, name: str) -> str:
        """Return what is shown of an entity now; nothing if there is none."""
        for message in self.listener.heard[self._heard :]:
            self._heard += 1
            self.assistant.hear(message.topic, message.payload, kept=message.topic in KEPT)
        return self.assistant.shown(name) if name in self.assistant.names else ""

    def announced(self) -> int:
        return sum(message.topic == TOPIC for message in self.listener.heard)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 10)
    with Broker(tmp_path / "broker") as running:
        yield running


def agent(folder: Path, url: str, discovery: dict[str, object] | None) -> AgentProcess:
    source = {"kind": "images", "path": str(folder / "images"), "fps": 20.0, "loop": True}
    tables = {} if discovery is None else {"discovery": discovery}
    return AgentProcess(folder, agents.document(folder, url, {"source": source}, **tables))


def test_a_device_appears_works_leaves_and_is_taken_back(tmp_path: Path, broker: Broker) -> None:
    filters = ["homeassistant/#", "outrider/#"]
    with Listener(broker.port, "house", filters) as ears:
        house = House(ears)
        with agent(tmp_path, broker.url, {"name": "Sorting line", "spread_s": 0.1}) as running:
            eventually(lambda: house.shows("belt label") in null_bundle.LABELS)
            eventually(lambda: house.shows("belt state") == "RUNNING")
            eventually(lambda: house.shows("belt frame rate") not in {"", "unknown", "0.0"})
            assert (house.shows("belt score"), house.shows("belt problem")) == ("1.0", "off")
            assert house.assistant["belt decision"].happened[-1]["bin"] == "left"
            births = len([h for h in ears.heard if h.topic == TOPICS.state])
            ears._client.publish("homeassistant/status", b"online", 1)
            eventually(lambda: house.announced() == 2)
            eventually(lambda: len([h for h in ears.heard if h.topic == TOPICS.state]) == births + 1)
            running.send(signal.SIGTERM)
            assert running.wait() == 0, running.log
        eventually(lambda: house.shows("belt label") == "unavailable")
        with Listener(broker.port, "late", ["homeassistant/#"]) as late:
            eventually(lambda: [(h.topic, h.retained) for h in late.heard] == [(TOPIC, True)])
        with agent(tmp_path, broker.url, None) as running:
            eventually(lambda: house.shows("belt label") == "" and not house.assistant.devices)
            eventually(lambda: not (tmp_path / "state" / "discovery.json").exists())
            running.send(signal.SIGTERM)
            assert running.wait() == 0, running.log
    assert "Traceback" not in running.log


def test_it_is_announced_again_on_every_connection(tmp_path: Path, broker: Broker) -> None:
    with (
        Listener(broker.port, "house", [TOPIC]) as ears,
        agent(tmp_path, broker.url, {}) as running,
    ):
        eventually(lambda: len(ears.heard) == 1)
        broker.kill()
        broker.restart()
        eventually(lambda: len(ears.heard) >= 2)
        assert {message.payload for message in ears.heard} == {ears.heard[0].payload}
        running.send(signal.SIGTERM)
        assert running.wait() == 0, running.log
