"""The source `mqtt`, against a real broker."""

import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import cbor2
import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from outrider_agent.broker import BrokerOptions
from outrider_agent.seams import Context, Frame, NullPublisher
from outrider_agent.sources.mqtt import MqttOptions, MqttSource
from outrider_bundle import settings
from outrider_bundle.errors import UsageError
from outrider_bundle.topics import Topics
from outrider_runtime.session import Array
from tests.fakes.broker import Broker, eventually
from tests.fakes.reference_windows import reference_windows

OPTIONS = MqttOptions(topic="plant/+/imu", fields=("x", "y"), seq="n", window=4, late=3, gap=1)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def sensor(broker: Broker) -> Iterator[Client]:
    client = Client(CallbackAPIVersion.VERSION2, client_id="sensor", protocol=MQTTProtocolVersion.MQTTv5)
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def context(broker: Broker | None) -> Context:
    link = BrokerOptions(url=broker.url, retry_s=0.2) if broker else None
    return Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher(), broker=link)


class Reader:
    """Reads a source in a thread, as a feeder does; frames are released at once unless told otherwise."""

    def __init__(self, source: MqttSource, *, release: bool = True) -> None:
        self.source, self.release = source, release
        self.frames: list[Frame] = []
        self.turns = 0
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        for frame in self.source.frames(0.1):
            self.turns += 1
            if frame is not None:
                self.frames.append(frame)
                if self.release:
                    frame.release()

    def __enter__(self) -> Self:
        eventually(lambda: self.source._subscription._connection.up)
        return self

    def __exit__(self, *_more: object) -> None:
        self.source.close()
        self.thread.join(10)
        assert not self.thread.is_alive()
        assert not self.source._subscription._thread.is_alive()


def row(place: int) -> Array:
    return np.random.default_rng(place).normal(size=2)


def sample(place: int) -> dict[str, float]:
    x, y = row(place)
    return {"n": place, "x": float(x), "y": float(y)}


def send(sensor: Client, places: list[int], topic: str = "plant/a/imu") -> None:
    eventually(sensor.is_connected)
    for place in places:
        sensor.publish(topic, json.dumps(sample(place)), qos=1).wait_for_publish(10)


def test_a_disturbed_recording_gives_the_windows_of_the_sorted_one(broker: Broker, sensor: Client) -> None:
    chance = random.Random(5)  # noqa: S311 - nothing secret
    kept = [n for n in range(400) if n > 390 or chance.random() > 0.05]
    order = sorted([*kept, *chance.sample(kept, 30)], key=lambda n: n + chance.uniform(0, 3))
    expected = reference_windows({n: row(n) for n in kept}, window=4, gap=1)
    with Reader(MqttSource(OPTIONS, context(broker))) as reader:
        send(sensor, order)
        eventually(lambda: len(reader.frames) >= len(expected))
    assert [frame.id for frame in reader.frames] == [str(last) for last in expected]
    assert [frame.seq for frame in reader.frames] == list(range(len(expected)))
    for frame in reader.frames:
        assert frame.array.dtype == np.float32
        np.testing.assert_allclose(frame.array, expected[int(frame.id)], rtol=1e-6, atol=1e-6)
    assert reader.source.counts.late == 0


def test_samples_survive_a_broker_that_goes_away_and_a_source_that_does(
    broker: Broker, sensor: Client
) -> None:
    with Reader(MqttSource(OPTIONS, context(broker))) as reader:
        send(sensor, list(range(10)))
        eventually(lambda: len(reader.frames) == 7)
        broker.restart()
        send(sensor, list(range(10, 20)))
        eventually(lambda: len(reader.frames) == 17)
    send(sensor, list(range(20, 30)))  # while nobody listens
    with Reader(MqttSource(OPTIONS, context(broker))) as again:
        eventually(lambda: len(again.frames) == 7)
    assert again.frames[0].id == "23"


def test_no_window_is_lost_to_a_slow_loop_until_the_queue_is_full(
    broker: Broker, sensor: Client, caplog: pytest.LogCaptureFixture
) -> None:
    options = msgspec.structs.replace(OPTIONS, queue=5, late=0)
    with Reader(MqttSource(options, context(broker)), release=False) as reader:
        send(sensor, list(range(30)))
        eventually(lambda: reader.source.counts.samples == 30)
        eventually(lambda: len(reader.frames) == 1)
        turns = reader.turns
        eventually(lambda: reader.turns > turns + 2)  # it turns while it waits
        assert reader.source.dropped == 27 - 1 - 5
        reader.release = True
        reader.frames[0].release()
        eventually(lambda: len(reader.frames) == 6)
    assert [frame.id for frame in reader.frames] == ["3", "25", "26", "27", "28", "29"]
    assert sum("dropped so far" in record.message for record in caplog.records) == 1


def test_bad_messages_do_not_stop_it(
    broker: Broker, sensor: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with Reader(MqttSource(OPTIONS, context(broker))) as reader:
        for payload in (b"", b"no json", b"[1, 2]", b'{"n": 1}', b'{"n": 1, "x": true, "y": 0}', b"no json"):
            sensor.publish("plant/a/imu", payload, qos=1)
        send(sensor, list(range(8)))
        eventually(lambda: len(reader.frames) == 5)
    assert sum("it is no JSON" in record.message for record in caplog.records) == 1
    assert sum(reader.source._samples.bad.values()) == 7


def test_lists_cbor_and_times(broker: Broker, sensor: Client) -> None:
    options = MqttOptions(
        topic="plant/#", fields=("a.x",), time="t", period_s=0.5, window=3, hop=2, format="cbor"
    )
    with Reader(MqttSource(options, context(broker))) as reader:
        held = [{"t": 100.0 + n / 2, "a": {"x": n}} for n in range(6)]
        sensor.publish("plant/b", cbor2.dumps(held), qos=1)
        eventually(lambda: len(reader.frames) == 2)
    assert [frame.id for frame in reader.frames] == ["101.000000", "102.000000"]
    assert reader.frames[1].array.tolist() == [[2.0], [3.0], [4.0]]


def test_windows_may_have_a_row_for_each_field(broker: Broker, sensor: Client) -> None:
    with Reader(MqttSource(replace(OPTIONS, layout="NCT", late=0), context(broker))) as reader:
        send(sensor, [*range(4)])
        eventually(lambda: reader.frames)
        array = reader.frames[0].array
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, np.array([row(place) for place in range(4)], np.float32).T)


def test_a_broker_of_its_own_comes_before_that_of_the_agent(broker: Broker, sensor: Client) -> None:
    table = {
        "topic": "plant/+/imu",
        "fields": ["x", "y"],
        "seq": "n",
        "window": 2,
        "broker": {"url": broker.url},
    }
    options, faults = settings.convert(table, MqttOptions, "source")
    assert options is not None, faults
    other = Context(
        pipeline="belt",
        topics=Topics("plant", "line-1"),
        link=NullPublisher(),
        broker=BrokerOptions(url="mqtt://127.0.0.1:9"),
    )
    with Reader(MqttSource(options, other)) as reader:
        send(sensor, [0, 1])
        eventually(lambda: len(reader.frames) == 1)


def test_without_any_broker_both_cures_are_named() -> None:
    with pytest.raises(UsageError, match=r"'broker' with a url, or the agent a table \[link\]"):
        MqttSource(OPTIONS, context(None))


def test_a_broker_that_is_not_there_is_said_once_and_does_not_hold_up_the_end(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.stop()
    source = MqttSource(OPTIONS, context(broker))
    frames = source.frames(0.05)
    assert [next(frames) for _ in range(20)] == [None] * 20
    begun = time.monotonic()
    source.close()
    source.close()
    assert list(frames) == []
    assert time.monotonic() - begun < 5.0
    assert not source._subscription._thread.is_alive()
    assert sum("trying again" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"seq": ""}, "either seq or time"),
        ({"time": "t"}, "either seq or time"),
        ({"seq": "", "time": "t"}, "period_s"),
        ({"period_s": 1.0}, "period_s"),
        ({"late": 100, "restart": 100}, "restart must be greater"),
        ({"window": 1 << 20, "fields": ["a"] * 17}, "must be at most"),
        ({"fields": []}, "fields"),
        ({"broker": {"url": "http://somewhere"}}, "broker: url must be like mqtt://"),
    ],
)
def test_options_that_contradict_themselves_are_faults(change: dict[str, object], fault: str) -> None:
    table = {"topic": "t", "fields": ["x"], "seq": "n", "window": 4, **change}
    options, faults = settings.convert(table, MqttOptions, "source")
    assert options is None
    assert len(faults) == 1
    assert fault in faults[0]
