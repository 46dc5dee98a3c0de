import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from outrider_bundle.errors import LinkError, UsageError
from outrider_fleet import broker as brokers
from outrider_fleet.broker import Broker

OWNER = """
import sys, time
from pathlib import Path
from outrider_fleet.broker import Broker
with Broker(Path(sys.argv[1])) as broker:
    print(broker.pid, broker.port, flush=True)
    time.sleep(60)
"""


def connected(port: int) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect(brokers.HOST, port)
    client.loop_start()
    return client


def ended(client: Client) -> None:
    client.disconnect()
    client.loop_stop()


def retain(port: int, topic: str, payload: bytes) -> None:
    client = connected(port)
    client.publish(topic, payload, qos=1, retain=True).wait_for_publish(5)
    ended(client)


def retained(port: int, topic: str, within_s: float = 5.0) -> bytes | None:
    """What the broker keeps under `topic`; a message of our own marks the end of what it kept."""
    found: list[bytes] = []
    done = threading.Event()

    def on_message(_client: object, _data: object, message: object) -> None:
        if message.topic == "end":  # type: ignore[attr-defined]
            done.set()
        else:
            found.append(message.payload)  # type: ignore[attr-defined]

    client = connected(port)
    client.on_message = on_message
    client.on_subscribe = lambda *_: client.publish("end", b"", qos=1)
    client.subscribe([(topic, 1), ("end", 1)])
    assert done.wait(within_s)
    ended(client)
    return found[0] if found else None


def test_it_accepts_connections_on_a_loopback_port_of_its_own(tmp_path: Path) -> None:
    with Broker(tmp_path / "with a space") as broker:
        assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
        assert broker.port != 1883
        assert brokers.answers(broker.port)
        assert broker.alive
        assert (broker.folder / "mosquitto.log").stat().st_size > 0
        assert broker.folder.stat().st_mode & 0o777 == 0o700
        pid = broker.pid
        assert pid is not None
    assert not broker.alive
    assert broker.pid is None
    assert not brokers.answers(broker.port)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_is_retained_survives_stop_and_start_on_the_same_port(tmp_path: Path) -> None:
    with Broker(tmp_path, autosave_interval_s=1800) as broker:
        port = broker.port
        retain(port, "kept", b"this")
        broker.restart()
        assert broker.port == port
        assert retained(port, "kept") == b"this"


def test_a_kill_loses_what_was_not_saved_yet_and_keeps_the_rest(tmp_path: Path) -> None:
    with Broker(tmp_path, autosave_interval_s=1) as broker:
        retain(broker.port, "kept", b"this")
        saved = broker.folder / "mosquitto.db"
        deadline_s = time.monotonic() + 10
        while not (saved.exists() and b"kept" in saved.read_bytes()):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        pid = broker.pid
        broker.kill()
        assert not broker.alive
        assert not brokers.answers(broker.port)
        broker.restart()
        assert broker.pid not in (None, pid)
        assert retained(broker.port, "kept") == b"this"


def test_a_kill_that_stop_would_have_saved_loses_it(tmp_path: Path) -> None:
    with Broker(tmp_path, autosave_interval_s=1800) as broker:
        retain(broker.port, "kept", b"this")
        broker.kill()
        broker.restart()
        assert retained(broker.port, "kept") is None


def test_it_dies_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE)
    with owner:
        assert owner.stdout is not None
        pid, port = map(int, owner.stdout.readline().split())
        assert brokers.answers(port)
        owner.send_signal(signal.SIGKILL)
        deadline_s = time.monotonic() + 5
        while brokers.answers(port):
            assert time.monotonic() < deadline_s, f"mosquitto {pid} outlives its owner"
            time.sleep(0.02)


def test_stop_and_kill_may_be_said_twice(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.start()
    broker.start()
    broker.stop()
    broker.stop()
    broker.kill()
    assert not broker.alive


def test_the_standard_port_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1883"):
        Broker(tmp_path, port=1883)


def test_free_ports_stay_below_the_range_of_client_ports() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = {brokers.free_port() for _ in range(200)}
    assert 1883 not in ports
    assert max(ports) < first
    assert len(ports) > 100


def test_a_taken_port_is_an_error_and_the_stranger_lives(tmp_path: Path) -> None:
    with Broker(tmp_path / "first") as first:
        second = Broker(tmp_path / "second", port=first.port)
        with pytest.raises(LinkError, match=f"Port {first.port} is taken"):
            second.start()
        assert not second.alive
        assert first.alive


def test_a_free_port_that_gets_taken_is_given_up_for_another(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    taken = broker.port
    with socket.socket() as thief:
        thief.bind((brokers.HOST, taken))
        thief.listen()
        with broker:
            assert broker.port != taken
            assert brokers.answers(broker.port)


def test_its_last_words_are_in_the_error(tmp_path: Path) -> None:
    broker = Broker(tmp_path, extra=["no_such_option true"])
    with pytest.raises(LinkError, match=r"no_such_option.*mosquitto\.log"):
        broker.start()
    assert not broker.alive


def test_a_program_that_never_accepts_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "mosquitto"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    broker = Broker(tmp_path / "state", timeout_s=0.3)
    with pytest.raises(LinkError, match=r"after 0\.3 s"):
        broker.start()
    assert not broker.alive


def test_a_missing_mosquitto_is_answered_with_its_apt_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers.shutil, "which", lambda *_args, **_more: None)
    with pytest.raises(LinkError, match="apt-get install mosquitto"):
        brokers.program()


def test_a_listener_that_is_no_broker_does_not_answer() -> None:
    with socket.create_server((brokers.HOST, 0)) as server:
        port = server.getsockname()[1]

        def speak() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        assert not brokers.answers(port)
        thread.join(5)
