import io
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from rich.console import Console

from outrider_bundle.errors import DataError, LinkError
from outrider_bundle.topics import Topics
from outrider_fleet import broker as brokers
from outrider_fleet.broker import Broker
from outrider_fleet.demo import agent_config, line
from outrider_fleet.demo.commands import StepError
from outrider_fleet.demo.ledger import Ledger, check
from outrider_fleet.demo.receiver import Receiver
from outrider_fleet.demo.records import AgentReport, Truth

ROOT = Path(__file__).parents[2]
FRAMES = 40
FAKE = ROOT / "tests" / "fakes" / "line_agent.py"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


def fake(folder: Path, behaviour: str) -> Path:
    """A command that stands for `outrider` in the device's environment."""
    script = folder / "outrider"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" {behaviour} "$@"\n')
    script.chmod(0o755)
    return script


def run(folder: Path, broker: Broker, behaviour: str) -> tuple[Ledger, AgentReport, str]:
    belt = folder / "images"
    belt.mkdir()
    for number in range(FRAMES):
        (belt / f"{number:05d}.png").touch()
    settings = agent_config.Line(
        bundle=folder / "a.orb",
        key=folder / "a.pub",
        images=belt,
        state=folder / "state",
        url=broker.url,
        app="sorting",
        hardware="any",
        fps=100.0,
        bins={"shirt": "tops"},
        deadline_ms=100.0,
    )
    ledger = Ledger(Topics(agent_config.FLEET, agent_config.DEVICE), agent_config.PIPELINE)
    shown = io.StringIO()
    with Receiver(brokers.HOST, broker.port, ledger.filters) as receiver:
        link = (ledger, receiver)
        console = Console(file=shown, width=120)
        report = line.run(settings, fake(folder, behaviour), folder / "agent", link, console, FRAMES)
    return ledger, report, shown.getvalue()


def verdict_of(ledger: Ledger, report: AgentReport) -> tuple[int, int, int]:
    truth = Truth(
        schema=1, name="toy", test_images=FRAMES, labels={f"{n:05d}": "shirt" for n in range(FRAMES)}
    )
    verdict = check(ledger, truth, {"shirt": "tops"}, [0] * FRAMES, report)
    return verdict.decided, verdict.exact, verdict.lost


def test_all_that_an_agent_says_arrives(tmp_path: Path, broker: Broker) -> None:
    ledger, report, shown = run(tmp_path, broker, "good")
    assert verdict_of(ledger, report) == (FRAMES, 0, 0)
    assert ledger.broker.startswith("mosquitto 2")
    assert f"{FRAMES}/{FRAMES}" in shown
    assert re.search(r"tops +━+ +40/40", shown)


def test_what_an_agent_counts_but_does_not_send_is_found(tmp_path: Path, broker: Broker) -> None:
    ledger, report, _ = run(tmp_path, broker, "forgets")
    assert verdict_of(ledger, report) == (FRAMES - 1, 1, 2)


def test_an_agent_that_fails_is_named_with_its_last_words(tmp_path: Path, broker: Broker) -> None:
    with pytest.raises(StepError, match="exit code 21: outrider: error: no variant reproduces"):
        run(tmp_path, broker, "fails")


def test_an_agent_without_a_summary_is_an_error(tmp_path: Path, broker: Broker) -> None:
    with pytest.raises(DataError, match=r"summary\.json"):
        run(tmp_path, broker, "silent")


def test_an_agent_that_hangs_is_ended(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "START_S", 0.2)
    monkeypatch.setattr(line, "SLACK", 0.1)
    began_s = time.monotonic()
    with pytest.raises(StepError, match="did not finish"):
        run(tmp_path, broker, "hangs")
    assert time.monotonic() - began_s < 10


def test_a_receiver_without_a_broker_is_an_error() -> None:
    with pytest.raises(LinkError, match="No broker at"), Receiver(brokers.HOST, brokers.free_port(), ["a"]):
        pass


def test_a_receiver_that_is_not_let_in_is_an_error(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    closed = [f"password_file {passwords}", "allow_anonymous false"]
    with (
        Broker(tmp_path / "broker", extra=closed) as broker,
        pytest.raises(LinkError, match="Not authorized"),
        Receiver(brokers.HOST, broker.port, ["a"]),
    ):
        pass


def test_a_receiver_hears_again_after_a_broker_was_killed(tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker") as broker,
        Receiver(brokers.HOST, broker.port, ["word"]) as receiver,
    ):
        broker.kill()
        broker.restart()
        speaker = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        speaker.connect(brokers.HOST, broker.port)
        speaker.loop_start()
        deadline_s = time.monotonic() + 20
        heard: list[tuple[str, bytes]] = []
        while not heard:
            assert time.monotonic() < deadline_s
            speaker.publish("word", b"again")
            heard = list(receiver.arrived(0.2))
        assert heard[0] == ("word", b"again")
        speaker.disconnect()
        speaker.loop_stop()


def test_images_are_exported_with_their_labels(tmp_path: Path) -> None:
    truth = line.export(ROOT / "examples/fashion/export_images.py", tmp_path / "belt", 12, quiet=True)
    files = sorted(p.stem for p in (tmp_path / "belt" / "images").iterdir())
    assert files == sorted(truth.labels) == [f"{n:05d}" for n in range(12)]
    assert (truth.name, truth.test_images) == ("fashion-mnist", 10_000)
    assert [truth.labels[f"{n:05d}"] for n in range(3)] == ["ankle-boot", "pullover", "trouser"]
