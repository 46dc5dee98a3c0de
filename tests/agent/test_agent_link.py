"""The link against a real broker: birth, will, farewell, acknowledgements, refusals."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from paho.mqtt.client import MQTTMessage

from outrider_agent.broker import BrokerOptions
from outrider_agent.connection import WINDOW
from outrider_agent.link import Link
from outrider_bundle.errors import UsageError
from outrider_bundle.messages.state import State
from outrider_bundle.topics import Topics
from outrider_fleet.broker import free_port
from tests.fakes import certificates
from tests.fakes.broker import Broker, Listener, eventually

TOPICS = Topics("plant", "line-1")
BIRTH = State(status="online", run="0123456789abcdef", version="1", app="sorting", hardware="bench")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


class Changes(list[tuple[str, str]]):
    """What the link said of itself."""

    def __call__(self, change: str, reason: str) -> None:
        self.append((change, reason))


@contextlib.contextmanager
def linked(options: BrokerOptions, changes: Changes | None = None, *, other: bool = False) -> Iterator[Link]:
    topics = Topics("plant", "line-2") if other else TOPICS
    link = Link(options, topics, BIRTH, changes if changes is not None else Changes())
    link.start()
    try:
        yield link
    finally:
        link.stop("the test is over")


def options(port: int, **more: object) -> BrokerOptions:
    return replace(BrokerOptions(url=f"mqtt://127.0.0.1:{port}", retry_s=1.0, drain_s=3.0), **more)


def test_birth_first_then_all_in_order_then_the_farewell(broker: Broker) -> None:
    with Listener(broker.port) as listener:
        with linked(options(broker.port)) as link:
            eventually(lambda: link.up)
            for number in range(3 * WINDOW):
                link.publish(TOPICS.events, b"%d" % number)
        eventually(lambda: len(listener.heard) == 3 * WINDOW + 2)
    first, *events, last = listener.heard
    assert (first.topic, last.topic) == (TOPICS.state, TOPICS.state)
    assert [int(event.payload) for event in events] == list(range(3 * WINDOW))
    assert all(message.qos == 1 for message in listener.heard)
    counts = link.counts
    assert counts.published == counts.acked == 3 * WINDOW + 2
    assert (counts.refused, counts.lost, counts.missed, counts.reconnects) == (0, 0, 0, 0)


def test_birth_and_farewell_are_retained_and_carry_run_and_reason(broker: Broker) -> None:
    with linked(options(broker.port)) as link:
        eventually(lambda: link.counts.acked == 1)
        with Listener(broker.port, "early") as early:
            eventually(lambda: early.heard)
        assert early.messages("state", State) == [BIRTH]
        assert early.heard[0].retained
    with Listener(broker.port, "late") as late:
        eventually(lambda: late.heard)
    (state,) = late.messages("state", State)
    assert (state.status, state.run, state.reason) == ("offline", BIRTH.run, "the test is over")
    assert late.heard[0].retained


def test_what_was_published_before_there_is_a_connection_is_delivered(broker: Broker) -> None:
    with Listener(broker.port) as listener:
        link = Link(options(broker.port), TOPICS, BIRTH, Changes())
        link.publish(TOPICS.events, b"early")
        link.publish(TOPICS.telemetry, b"at QoS 0", qos=0)
        link.start()
        eventually(lambda: len(listener.heard) == 2)
        link.publish(TOPICS.telemetry, b"now", qos=0)
        eventually(lambda: len(listener.heard) == 3)
        link.stop("over")
    assert [(h.topic, h.payload) for h in listener.heard[1:3]] == [
        (TOPICS.events, b"early"),
        (TOPICS.telemetry, b"now"),
    ]
    assert listener.heard[2].qos == 0
    assert link.counts.missed == 1


def test_the_will_speaks_for_a_device_that_is_gone(broker: Broker) -> None:
    with Listener(broker.port) as listener:
        link = Link(options(broker.port, will_delay_s=0), TOPICS, BIRTH, Changes())
        link.start()
        eventually(lambda: link.up and listener.heard)
        connection = link._connection._client.socket()
        assert isinstance(connection, socket.socket)
        connection.shutdown(socket.SHUT_RDWR)  # as a pulled plug: no DISCONNECT
        eventually(lambda: len(listener.messages("state", State)) >= 3)
        link.stop("over")
    states = [(s.status, s.reason) for s in listener.messages("state", State)]
    assert states[:3] == [("online", ""), ("offline", "connection lost"), ("online", "")]
    assert link.counts.reconnects == 1


def test_on_every_connection_the_latest_retained_messages_stand(broker: Broker) -> None:
    changes = Changes()
    with (
        Listener(broker.port, filters=[TOPICS.reported]) as listener,
        linked(options(broker.port), changes) as link,
    ):
        link.retain(TOPICS.reported, b"old")
        eventually(lambda: link.up and listener.heard)
        broker.kill()
        eventually(lambda: not link.up)
        link.retain(TOPICS.reported, b"older than new")
        link.retain(TOPICS.reported, b"new")
        broker.restart()
        eventually(lambda: link.up)
        eventually(lambda: listener.heard[-1].payload == b"new")
        time.sleep(0.2)
        assert [h.payload for h in listener.heard].count(b"older than new") == 0
        assert listener.heard[-1].payload == b"new"
    assert [change for change, _ in changes] == ["lost", "restored"]


def test_the_queue_is_bounded_and_says_what_it_loses(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link(options(broker.port, queue_messages=5), TOPICS, BIRTH, Changes())
    for number in range(8):
        link.publish(TOPICS.events, b"%d" % number)
    assert link.counts.lost == 3
    assert [r.message for r in caplog.records] == ["The queue for the broker is full: 1 messages lost so far"]
    with Listener(broker.port, filters=[TOPICS.events]) as listener:
        link.start()
        eventually(lambda: len(listener.heard) == 5)
        link.stop("over")
    assert [h.payload for h in listener.heard] == [b"3", b"4", b"5", b"6", b"7"]


def test_publishing_does_not_wait_for_a_broker_that_is_not_there() -> None:
    changes = Changes()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        link = Link(options(taken.getsockname()[1], drain_s=0.3), TOPICS, BIRTH, changes)
        link.start()
        eventually(lambda: changes)
        begun = time.monotonic()
        for _ in range(1000):
            link.publish(TOPICS.events, b"x")
        assert time.monotonic() - begun < 1.0
        begun = time.monotonic()
        link.stop("over")
        assert time.monotonic() - begun < 5.0
    assert [change for change, _ in changes] == ["lost"]
    assert "cannot be reached" in changes[0][1]


def test_a_broker_that_does_not_answer_does_not_hold_up_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        link = Link(options(mute.getsockname()[1], drain_s=0.3), TOPICS, BIRTH, Changes())
        link.start()
        eventually(lambda: link._connection.alive)
        begun = time.monotonic()
        link.stop("over")
        assert time.monotonic() - begun < 3.0
    assert "link" not in {thread.name for thread in threading.enumerate()}


def test_a_refusal_is_said_with_its_reason_and_tried_again(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.touch(mode=0o600)
    extra = ["allow_anonymous false", f"password_file {users}"]
    changes = Changes()
    broker = Broker(tmp_path / "broker", extra=extra)
    with broker, linked(options(broker.port, drain_s=0.2), changes) as link:
        eventually(lambda: changes)
        assert not link.up
    assert "the broker refuses us: Not authorized" in changes[0][1]
    assert len(changes) == 1


def test_a_password_that_cannot_be_read_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    wanted = options(1883, username="line-1", password_file=tmp_path / "none")
    with pytest.raises(UsageError, match="password"):
        Link(wanted, TOPICS, BIRTH, Changes())
    wanted = replace(options(1883), url="mqtts://127.0.0.1", ca=tmp_path / "none")
    with pytest.raises(UsageError, match="certificates"):
        Link(wanted, TOPICS, BIRTH, Changes())


def test_both_ends_know_each_other_by_their_certificates(tmp_path: Path) -> None:
    certificates.make(tmp_path)
    port = free_port()
    extra = [
        f"listener {port} 127.0.0.1",
        f"cafile {tmp_path}/ca.pem",
        f"certfile {tmp_path}/server.pem",
        f"keyfile {tmp_path}/server.key",
        "require_certificate true",
    ]
    changes = Changes()
    with Broker(tmp_path / "broker", extra=extra) as broker, Listener(broker.port) as listener:
        secured = replace(options(port, drain_s=1.0), url=f"mqtts://127.0.0.1:{port}", ca=tmp_path / "ca.pem")
        with linked(secured, changes) as nobody:
            eventually(lambda: changes)
            assert not nobody.up
        known = replace(secured, cert=tmp_path / "client.pem", key=tmp_path / "client.key")
        with linked(known) as link:
            eventually(lambda: link.up)
            for number in range(200):
                link.publish(TOPICS.events, b"%d" % number + bytes(1000))
        eventually(lambda: len(listener.heard) == 202)
        assert link.counts.acked == 202


def test_what_was_published_before_the_process_ended_is_delivered_by_the_next(
    broker: Broker, tmp_path: Path
) -> None:
    port = free_port()
    first = Link(options(port, drain_s=0.1), TOPICS, BIRTH, Changes(), tmp_path / "outbox")
    first.start()
    first.publish(TOPICS.telemetry, b"least")
    for number in range(300):
        first.publish(TOPICS.events, b"%d" % number)
    assert first.flush(10.0)
    first.stop("over")
    assert first.stored.waiting == 301
    with Listener(broker.port) as listener:
        link = Link(options(broker.port, replay_per_s=1e5), TOPICS, BIRTH, Changes(), tmp_path / "outbox")
        link.start()
        eventually(lambda: len(listener.heard) == 302)
        eventually(lambda: link.stored.waiting == 0)
        link.stop("over")
    sent = [h.payload for h in listener.heard if h.topic != TOPICS.state]
    assert sent == [*(b"%d" % number for number in range(300)), b"least"]
    assert link.stored.replayed == 301


def test_what_waits_leaves_the_way_to_what_is_new(broker: Broker, tmp_path: Path) -> None:
    first = Link(options(free_port(), drain_s=0.0), TOPICS, BIRTH, Changes(), tmp_path / "outbox")
    for _ in range(500):
        first.publish(TOPICS.events, b"old")
    first.stop("over")
    with Listener(broker.port, filters=[TOPICS.events]) as listener:
        slow = options(broker.port, replay_per_s=50.0, drain_s=30.0)
        link = Link(slow, TOPICS, BIRTH, Changes(), tmp_path / "outbox")
        link.start()
        eventually(lambda: listener.heard)
        link.publish(TOPICS.events, b"new")
        eventually(lambda: b"new" in {h.payload for h in listener.heard})
        assert len(listener.heard) < 250
        link.stop("over")  # now it may be fast
        eventually(lambda: len(listener.heard) == 501)


def test_subscriptions_and_what_follows_a_connection_are_made_again(broker: Broker) -> None:
    heard: list[tuple[str, bytes]] = []
    calls: list[int] = []

    def fails() -> None:
        raise ValueError("a fault of somebody else")

    def take(topic: str, payload: bytes) -> None:
        heard.append((topic, payload))
        if payload == b"bad":
            raise ValueError("a fault of somebody else")

    with linked(options(broker.port)) as link, linked(options(broker.port), other=True) as other:
        link.on_connected(fails)
        link.on_connected(lambda: calls.append(1))
        link.subscribe("hall/+", take)
        eventually(lambda: link.up and other.up)
        link.subscribe("late", take)
        for payload in (b"bad", b"good"):
            eventually(lambda: _said(other, "hall/1", payload, heard))  # noqa: B023 - called in this turn
        eventually(lambda: _said(other, "late", b"late", heard))
        broker.kill()
        eventually(lambda: not link.up)
        broker.restart()
        eventually(lambda: link.up and other.up)
        eventually(lambda: _said(other, "hall/2", b"again", heard))
    assert len(calls) >= 1


def _said(link: Link, topic: str, payload: bytes, heard: list[tuple[str, bytes]]) -> bool:
    """Say it until it was heard: a subscription may not have been made yet."""
    link.publish(topic, payload)
    time.sleep(0.05)
    return (topic, payload) in heard


def test_what_is_too_large_for_the_broker_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Broker(tmp_path / "broker", extra=["max_packet_size 5000"]) as broker,
        Listener(broker.port, filters=[TOPICS.events]) as listener,
        linked(options(broker.port)) as link,
    ):
        link.publish(TOPICS.events, bytes(6000))
        link.publish(TOPICS.events, b"small")
        eventually(lambda: listener.heard)
        assert link.counts.too_large == 1
        assert link.counts.reconnects == 0
        assert link.stored.waiting == 0
    assert "the broker takes 5000" in caplog.text
    assert [h.payload for h in listener.heard] == [b"small"]


def test_telemetry_that_waits_at_the_broker_expires_there_and_events_do_not(broker: Broker) -> None:
    found: dict[str, int | None] = {}

    def on_message(_client: object, _data: object, message: MQTTMessage) -> None:
        found[message.topic] = getattr(message.properties, "MessageExpiryInterval", None)

    with Listener(broker.port) as listener:
        listener._client.on_message = on_message
        with linked(options(broker.port, queue_age_s=1000.0)) as link:
            link.publish(TOPICS.telemetry, b"{}")
            link.publish(TOPICS.events, b"{}")
            eventually(lambda: TOPICS.telemetry in found and TOPICS.events in found)
    assert found[TOPICS.events] is None
    expiry_s = found[TOPICS.telemetry]
    assert expiry_s is not None
    assert 900 < expiry_s <= 1000
