"""Windows over samples that a bad network delivers: does the agent decide on all of them, and are they right?

The bundle's model passes a window on as it is, and the policy passes on what the model says, so every
decision holds the numbers of the window it was made on. They are compared with the windows of the whole
recording as `tests/fakes/reference_windows.py` finds them afterwards, in another way.
"""

import tempfile
import threading
import time
from pathlib import Path

import cbor2
import msgspec
import numpy as np
from msgspec import Struct
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from outrider_agent.pacing import Clocked
from outrider_bundle.bars import Row
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics
from outrider_runtime.session import Array
from proofs.agent.daemons import until
from proofs.agent.runs import say
from proofs.loop import windows
from proofs.loop.agents import Agent, document, scaled
from tests.fakes.broker import Broker, Listener
from tests.fakes.reference_windows import reference_windows

SAMPLES, RATE_HZ, MOST = 6000, 1000.0, 5
"""Samples come at about this rate, up to so many in a message."""

SEEDS = (0, 1, 2, 3)
CUT_SEED = 4
RELATIVE = 1e-6
"""Filled samples are computed in another order than in the reference; all others must be equal, and are."""

TOPIC = "plant/press/imu"
EVENTS = Topics("proof", "proof").events
QUIET_S, PATIENCE_S = 3.0, 60.0


class Found(Struct, frozen=True, kw_only=True):
    """One run: windows of the reference, of them lost, wrong decisions, and what happened on the way."""

    windows: int
    lost: int
    wrong: int
    sent: int
    behind: int
    twice: int
    missing: int
    reconnects: int


def rows() -> tuple[Row, ...]:
    """Measure all recordings, and one during which the broker goes away."""
    with tempfile.TemporaryDirectory() as name:
        bundle = windows.bundle(Path(name) / "windows.orb")
        runs = [_measured(Path(name) / f"seed-{seed}", bundle, seed, cut=False) for seed in SEEDS]
        cut = _measured(Path(name) / "cut", bundle, CUT_SEED, cut=True)
    return (
        _row("sensor.gaps", runs, f"{len(SEEDS)} seeds, JSON and CBOR in turns"),
        _row("sensor.cut", [cut], f"the broker ended midway and began again, {cut.reconnects} reconnection"),
    )


def _row(name: str, runs: list[Found], more: str) -> Row:
    total = {field: sum(getattr(run, field) for run in runs) for field in Found.__struct_fields__}
    how = (
        f"{total['windows']} windows of {windows.WINDOW} samples of {len(windows.FIELDS)} numbers, every "
        f"number compared with an offline reference; {total['sent']} samples over a real broker at "
        f"{RATE_HZ:g} a second, {total['missing']} missing, {total['behind']} out of order, {total['twice']} "
        f"twice; {more}; windows: "
        f"{total['lost']} lost, {total['wrong']} wrong"
    )
    value = total["lost"] + total["wrong"] if total["windows"] else float("nan")
    return Row(id=name, value=value, sense="==", limit=0, unit="windows", how=how)


def _measured(folder: Path, bundle: Path, seed: int, *, cut: bool) -> Found:
    folder.mkdir()
    recording = windows.record(scaled(SAMPLES, 500), seed)
    reference = reference_windows(recording.samples, windows.WINDOW, windows.HOP, windows.GAP)
    form = ("json", "cbor")[seed % 2]
    with (
        Broker(folder / "broker", extra=("log_type subscribe",)) as broker,
        Listener(broker.port, filters=(EVENTS,)) as ears,
        Agent(folder, _document(folder, bundle, broker.url, form)) as agent,
    ):
        agent.until(lambda status: status.get("state") == "RUNNING")
        until(lambda: TOPIC in broker.log.read_text(errors="replace"), "a subscription of the source")
        sensor = _sensor(broker, recording, form, seed)
        sensor.start()
        if cut and sensor.midway.wait(PATIENCE_S):
            broker.restart()  # by this thread, with which the broker would end
        sensor.finish()
        _quiet(ears, len(reference))
        summary = agent.stop()
        decisions = _decisions(ears)
    lost = len(reference.keys() - {place for place, _ in decisions})
    wrong = _wrong(decisions, reference)
    say(f"sensor: seed {seed}, {form}: {len(reference)} windows, {lost} lost, {wrong} wrong")
    return Found(
        windows=len(reference),
        lost=lost,
        wrong=wrong,
        sent=len(recording.sent),
        behind=recording.behind,
        twice=len(recording.sent) - len(recording.samples),
        missing=scaled(SAMPLES, 500) - len(recording.samples),
        reconnects=summary["reconnects"],
    )


def _document(folder: Path, bundle: Path, url: str, form: str) -> dict[str, object]:
    source = {
        "kind": "mqtt",
        "topic": TOPIC,
        "fields": windows.FIELDS,
        "seq": "n",
        "window": windows.WINDOW,
        "hop": windows.HOP,
        "late": windows.LATE,
        "gap": windows.GAP,
        "format": form,
        "queue": 4096,
    }
    pipeline = {
        "bundle": bundle,
        "source": source,
        "policy": {"kind": "passthrough"},
        "actions": [{"kind": "mqtt"}],
        "engine": {"isolation": "child"},
    }
    return document(folder, [pipeline], link={"url": url, "retry_s": 1.0})


class Sensor(threading.Thread):
    """Sends messages at their rate until the broker has them all.

    Args:
        port: of the broker.
        payloads: of the messages.
        rate_hz: of them.
    """

    def __init__(self, port: int, payloads: list[bytes], rate_hz: float) -> None:
        """Connect."""
        super().__init__(daemon=True)
        self._payloads, self._rate_hz = payloads, rate_hz
        self._acknowledged = 0
        self.midway = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id="sensor", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.on_publish = self._on_publish
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def run(self) -> None:
        """Send."""
        pace = Clocked(self._rate_hz)
        for number, payload in enumerate(self._payloads):
            if number == len(self._payloads) // 2:
                self.midway.set()
            pace.enter(PATIENCE_S)
            self._client.publish(TOPIC, payload, qos=1)

    def finish(self) -> None:
        """Wait until all is sent and acknowledged, and disconnect."""
        self.join()
        until(lambda: self._acknowledged >= len(self._payloads), "the broker having all samples")
        self._client.disconnect()
        self._client.loop_stop()

    def _on_publish(self, *_more: object) -> None:
        self._acknowledged += 1


def _sensor(broker: Broker, recording: windows.Recording, form: str, seed: int) -> Sensor:
    encode = msgspec.json.encode if form == "json" else cbor2.dumps
    several = windows.messages(recording, MOST, seed)
    payloads = [encode(message if len(message) > 1 else message[0]) for message in several]
    return Sensor(broker.port, payloads, RATE_HZ * len(payloads) / len(recording.sent))


def _quiet(ears: Listener, wanted: int) -> None:
    """Wait until so many events came, and then, or if they do not come, until none comes any more."""
    since_s, heard = time.monotonic(), 0
    while time.monotonic() - since_s < (QUIET_S if len(ears.heard) < wanted else 0.5):
        if len(ears.heard) > heard:
            since_s, heard = time.monotonic(), len(ears.heard)
        time.sleep(0.05)


def _decisions(ears: Listener) -> list[tuple[int, Array]]:
    """Return place and window of each decision; what was delivered twice is one."""
    events = {(event.run, event.seq): event for event in ears.messages("events", Event)}
    decided = [event for event in events.values() if event.kind == "decision"]
    return [(int(event.frame), _window(event)) for event in decided]


def _window(event: Event) -> Array:
    values = dict(zip(event.data["names"], event.data["values"], strict=True))
    return np.array([values[name] for name in windows.NAMES]).reshape(windows.SHAPE[1:])


def _wrong(decisions: list[tuple[int, Array]], reference: dict[int, Array]) -> int:
    """Return how many decisions are on no window, on another one, or on one that was decided on before."""
    seen: set[int] = set()
    wrong = 0
    for place, window in decisions:
        right = place in reference and np.allclose(window, reference[place], rtol=RELATIVE, atol=RELATIVE)
        wrong += place in seen or not right
        seen.add(place)
    return wrong
