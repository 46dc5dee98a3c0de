"""What Home Assistant is told, when, and that nothing is left there which is gone."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider_agent.discovery import memory
from outrider_agent.discovery.announcer import SETTLE_S, About, Announcer
from outrider_agent.discovery.entities import Subject
from outrider_agent.discovery.options import MEMORY, DiscoveryOptions
from outrider_bundle.topics import Topics
from tests.fakes.home_assistant import HomeAssistant
from tests.fakes.wire import Calls, Wire

TOPICS = Topics("plant", "line-1")
TOPIC = "homeassistant/device/outrider-plant/line-1/config"
ON = DiscoveryOptions(spread_s=4.0)
BELT = Subject(id="belt", task="classification")
PRESS = Subject(id="press", task="detection")


class Run:
    """One start of the agent on a broker that holds what earlier ones said, and Home Assistant beside it."""

    def __init__(self, folder: Path, options: DiscoveryOptions | None = ON, topics: Topics = TOPICS) -> None:
        about = About(topics=topics, hardware="bench", interval_s=10.0, birth=b"birth", state_dir=folder)
        self.wire, self.calls = Wire(), Calls()
        self.announcer = Announcer(options, about, self.wire, self.calls)
        self.announcer.start()

    @property
    def sent(self) -> list[tuple[str, bytes]]:
        """What was sent since the last look."""
        sent, self.wire.sent = self.wire.sent, []
        return sent

    def tells(self, assistant: HomeAssistant) -> int:
        """Let Home Assistant hear what was sent; return how many messages that were."""
        sent = self.sent
        for topic, payload in sent:
            if topic.endswith("/config"):
                assistant.hear(topic, payload)
        return len(sent)


def remembered(folder: Path) -> dict[str, dict[str, str]]:
    return memory.Memory(folder).topics


def run(folder: Path, assistant: HomeAssistant, subjects: Sequence[Subject]) -> None:
    """Have a whole run with these pipelines."""
    one = Run(folder)
    one.announcer.update(subjects)
    one.wire.connect()
    one.calls.make()
    one.tells(assistant)
    one.announcer.stop()


def test_a_device_is_announced_once_and_again_only_when_it_changes(tmp_path: Path) -> None:
    one, assistant = Run(tmp_path), HomeAssistant()
    one.wire.connect()
    assert one.sent == []
    one.announcer.update([BELT])
    one.announcer.update([BELT])
    assert one.tells(assistant) == 1
    assert "belt label" in assistant.names
    assert one.calls.waiting == []
    one.announcer.update([replace(BELT, task="anomaly")])  # another bundle was put in its place
    assert one.tells(assistant) == 1
    assert "belt label" not in assistant.names
    assert "belt anomaly" in assistant.names
    assert set(remembered(tmp_path)) == {TOPIC}


def test_what_is_gone_is_taken_back_and_then_forgotten(tmp_path: Path) -> None:
    assistant = HomeAssistant()
    run(tmp_path, assistant, [BELT, PRESS])
    assert {"belt label", "press count"} <= assistant.names
    two = Run(tmp_path)
    two.announcer.update([BELT])
    assert two.calls.waiting == []  # not before the message is with the broker
    two.wire.connect()
    assert two.tells(assistant) == 1
    assert not [name for name in assistant.names if name.startswith("press")]
    assert [delay_s for delay_s, _ in two.calls.waiting] == [SETTLE_S]
    assert "press_count" in remembered(tmp_path)[TOPIC]
    two.calls.make()
    ((topic, payload),) = two.sent
    assert (topic, b"press" in payload) == (TOPIC, False)
    assert "press_count" not in remembered(tmp_path)[TOPIC]


def test_what_could_not_be_taken_back_is_by_the_next_start(tmp_path: Path) -> None:
    assistant = HomeAssistant()
    run(tmp_path, assistant, [BELT, PRESS])
    away = Run(tmp_path)
    away.announcer.update([BELT])
    away.announcer.stop()
    lost = Run(tmp_path)
    lost.announcer.update([BELT])
    lost.wire.connect()
    lost.wire.up = False
    lost.calls.make()
    assert "press_count" in remembered(tmp_path)[TOPIC]
    lost.wire.connect()
    lost.calls.make()
    lost.tells(assistant)
    assert "press_count" not in remembered(tmp_path)[TOPIC]
    assert not [name for name in assistant.names if name.startswith("press")]


def test_what_is_taken_back_meanwhile_stands_as_long(tmp_path: Path) -> None:
    assistant = HomeAssistant()
    run(tmp_path, assistant, [BELT, PRESS])
    two = Run(tmp_path)
    two.wire.connect()
    two.announcer.update([BELT])
    ((_, early),) = two.calls.waiting
    two.announcer.update([PRESS])
    early()  # its timer was already at it
    assert two.tells(assistant) == 2
    assert "press label" in assistant.names
    assert "belt label" not in assistant.names
    assert {"belt_label", "press_label"} <= set(remembered(tmp_path)[TOPIC])
    two.calls.make()
    assert two.tells(assistant) == 1
    assert "belt_label" not in remembered(tmp_path)[TOPIC]


@pytest.mark.parametrize("options", [None, DiscoveryOptions(enabled=False)])
def test_switched_off_it_takes_all_back_once(tmp_path: Path, options: DiscoveryOptions | None) -> None:
    assistant = HomeAssistant()
    run(tmp_path, assistant, [BELT])
    off = Run(tmp_path, options)
    off.announcer.update([BELT])
    off.wire.connect()
    assert off.sent == [(TOPIC, b"")]
    assistant.hear(TOPIC, b"")
    assert not assistant.entities
    assert not assistant.devices
    off.wire.say("homeassistant/status", b"online")
    off.calls.make()
    assert not (tmp_path / MEMORY).exists()
    later = Run(tmp_path, options)
    later.announcer.update([BELT])
    later.wire.connect()
    assert (later.sent, later.calls.waiting) == ([], [])


def test_another_prefix_or_id_leaves_nothing_under_the_old_one(tmp_path: Path) -> None:
    run(tmp_path, HomeAssistant(), [BELT])
    moved = Run(tmp_path, DiscoveryOptions(prefix="ha/main"), Topics("plant", "line-2"))
    moved.announcer.update([BELT])
    moved.wire.connect()
    assert {topic: bool(payload) for topic, payload in moved.sent} == {
        TOPIC: False,
        "ha/main/device/outrider-plant/line-2/config": True,
    }
    moved.calls.make()
    assert set(remembered(tmp_path)) == {"ha/main/device/outrider-plant/line-2/config"}


def test_home_assistant_that_comes_is_told_within_the_spread_and_once(tmp_path: Path) -> None:
    one = Run(tmp_path)
    one.wire.connect()
    one.wire.say("homeassistant/status", b"online")  # the pipelines are not there yet
    one.calls.make()
    assert one.sent == []
    one.announcer.update([BELT])
    ((_, told),) = one.sent
    one.wire.say("homeassistant/status", b"offline")
    assert one.calls.waiting == []
    one.wire.say("homeassistant/status", b"online")
    one.wire.say("homeassistant/status", b"online")
    ((delay_s, _),) = one.calls.waiting
    assert 0.0 <= delay_s <= ON.spread_s
    one.calls.make()
    assert one.sent == [(TOPICS.state, b"birth"), (TOPIC, told)]
    one.wire.say("homeassistant/status", b"online")
    assert len(one.calls.waiting) == 1


def test_after_its_end_nothing_is_said(tmp_path: Path) -> None:
    one = Run(tmp_path)
    one.wire.connect()
    one.announcer.update([BELT])
    one.wire.say("homeassistant/status", b"online")
    late = [call for _, call in one.calls.waiting]
    one.announcer.stop()
    assert one.calls.waiting == []
    assert len(one.sent) == 1
    for call in late:  # a timer that was already at it
        call()
    one.announcer.update([])
    one.wire.say("homeassistant/status", b"online")
    assert (one.sent, one.calls.waiting) == ([], [])


def test_name_and_area_are_what_the_configuration_says(tmp_path: Path) -> None:
    one, assistant = Run(tmp_path, DiscoveryOptions(name="Sorting line", area="Hall 2")), HomeAssistant()
    one.announcer.update([BELT])
    one.wire.connect()
    one.tells(assistant)
    (device,) = assistant.devices.values()
    assert (device["name"], device["suggested_area"]) == ("Sorting line", "Hall 2")


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"topics": {"x": 3}}'])
def test_a_memory_that_cannot_be_read_is_said_and_written_anew(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / MEMORY).write_bytes(content)
    one = Run(tmp_path)
    assert "may be left over" in caplog.text
    one.announcer.update([BELT])
    assert remembered(tmp_path)[TOPIC]["belt_label"] == "sensor"


def test_a_disk_that_takes_nothing_is_no_reason_not_to_announce(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = Run(tmp_path / "is not there")
    one.announcer.update([BELT])
    one.wire.connect()
    assert len(one.sent) == 1
    assert "is not remembered" in caplog.text


def test_nothing_is_written_where_nothing_has_changed(tmp_path: Path) -> None:
    run(tmp_path, HomeAssistant(), [BELT])
    before = (tmp_path / MEMORY).stat()
    run(tmp_path, HomeAssistant(), [BELT])
    after = (tmp_path / MEMORY).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
