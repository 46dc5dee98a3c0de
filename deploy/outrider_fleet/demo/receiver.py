"""The receiving end: an MQTT 5 client that keeps what arrives until it is asked for it."""

import queue
import socket
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from outrider_bundle.errors import LinkError

CLIENT = "demo-receiver"
QOS = 1
KEEPALIVE_S = 30


class Receiver:
    """Subscribes on entry and is ready when the broker has said so; paho's thread fills a queue.

    Args:
        host: of the broker.
        port: of the broker.
        filters: topics to subscribe to, at QoS 1.
        timeout_s: for connection and subscription.
    """

    def __init__(self, host: str, port: int, filters: Sequence[str], timeout_s: float = 10.0) -> None:
        """Prepare the client; nothing is sent yet."""
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._filters = [(topic, SubscribeOptions(qos=QOS)) for topic in filters]
        self._arrived: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._ready = threading.Event()
        self._refusal = ""
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=CLIENT, protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_socket_open = _no_delay

    @property
    def protocol(self) -> int:
        """The version of MQTT spoken."""
        return int(self._client.protocol)

    def __enter__(self) -> Self:
        """Connect and subscribe.

        Raises:
            LinkError: the broker cannot be reached or refuses.
        """
        try:
            self._client.connect(self._host, self._port, KEEPALIVE_S, clean_start=True)
        except OSError as error:
            raise LinkError(f"No broker at {self._host}:{self._port}: {error}") from error
        self._client.loop_start()
        if not self._ready.wait(self._timeout_s) or self._refusal:
            self._close()
            why = self._refusal or f"no answer within {self._timeout_s:g} s"
            raise LinkError(f"The broker does not let the demo listen: {why}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._close()

    def arrived(self, timeout_s: float) -> Iterator[tuple[str, bytes]]:
        """Yield topic and payload of what is there; wait up to `timeout_s` for the first."""
        try:
            yield self._arrived.get(timeout=timeout_s)
            while True:
                yield self._arrived.get_nowait()
        except queue.Empty:
            return

    def _close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self,
        client: Client,
        _data: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        _more: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            self._ready.set()
        else:
            client.subscribe(self._filters)  # on every connection: a new one starts with none

    def _on_subscribe(
        self,
        _client: Client,
        _data: object,
        _mid: int,
        reasons: list[ReasonCode],
        _more: Properties | None,
    ) -> None:
        self._refusal = ", ".join(str(reason) for reason in reasons if reason.is_failure)
        self._ready.set()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._arrived.put((message.topic, bytes(message.payload)))


def _no_delay(_client: Client, _data: object, connection: object) -> None:
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
