"""The link against a real broker: birth, will, farewell, acknowledgements, refusals."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

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
def linked(options: BrokerOptions, changes: Changes | None = None) -> Iterator[Link]:
    link = Link(options, TOPICS, BIRTH, changes if changes is not None else Changes())
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
