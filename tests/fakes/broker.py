"""A real mosquitto on a free loopback port, and an MQTT 5 client that keeps all it hears."""

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from msgspec import Struct
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from outrider_bundle.messages import codec
from outrider_bundle.topics import parse
from outrider_fleet.broker import Broker

__all__ = ["Broker", "Heard", "Listener", "eventually"]

M = TypeVar("M", bound=Struct)


class Heard(Struct, frozen=True):
    """A message as it arrived."""

    topic: str
    payload: bytes
    qos: int
    retained: bool


class Listener:
    """Subscribes to everything, in a session that the broker keeps while it is away."""

    def __init__(self, port: int, name: str = "listener", filters: Sequence[str] = ("outrider/#",)) -> None:
        """Prepare the client."""
        self.port, self._filters = port, filters
        self._subscribed = threading.Event()
        self.heard: list[Heard] = []
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        """Connect and wait for the subscription."""
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 600
        self._client.connect("127.0.0.1", self.port, clean_start=False, properties=properties)
        self._client.loop_start()
        assert self._subscribed.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def messages(self, kind: str, form: type[M]) -> list[M]:
        """Return all messages of a kind of topic, decoded."""
        return [codec.decode(h.payload, form) for h in list(self.heard) if parse(h.topic).kind == kind]

    def _on_connect(self, client: Client, *_more: object) -> None:
        client.subscribe([(topic, 1) for topic in self._filters])

    def _on_subscribe(self, *_more: object) -> None:
        self._subscribed.set()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.heard.append(Heard(message.topic, bytes(message.payload), message.qos, message.retain))


def eventually(true: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait until `true` returns something true."""
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "it did not come to that in time"
        time.sleep(0.02)
