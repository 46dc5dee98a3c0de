"""One MQTT 5 client over all its connections: what is sent, what is acknowledged, why it ended.

Belongs to one thread. What paho was given at QoS 1 it keeps until it is acknowledged, and sends again
on the next connection by itself.
"""

import logging
import select
import socket
from collections.abc import Callable

from msgspec import Struct
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from outrider_agent.outgoing import Letter

WINDOW = 64
"""Messages sent and not yet acknowledged; a broker may ask for fewer."""

log = logging.getLogger(__name__)


class Counts(Struct, frozen=True, kw_only=True):
    """What became of messages.

    Args:
        published: sent at QoS 1.
        acked: answered by the broker.
        refused: of these, with a failure.
        lost: pushed out of the full queue.
        missed: at QoS 0, without a connection.
        reconnects: how often the connection was made again.
    """

    published: int = 0
    acked: int = 0
    refused: int = 0
    lost: int = 0
    missed: int = 0
    reconnects: int = 0


class Connection:
    """Drives paho's client without its thread.

    Args:
        client: as `mqtt5.client` makes it.
        on_up: called when the broker has accepted us.
    """

    def __init__(self, client: Client, on_up: Callable[[], None]) -> None:
        """Take the client's callbacks."""
        self._client, self._on_up = client, on_up
        self._window = WINDOW
        self._pending: set[int] = set()  # message ids that paho keeps
        self._published = self._acked = self._refused = self._missed = self._connects = 0
        self.up = False
        self.why = ""
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish

    @property
    def alive(self) -> bool:
        """Whether there is a socket; `up` says if the broker has accepted us as well."""
        return self._client.socket() is not None

    @property
    def room(self) -> bool:
        """Whether something may be sent now."""
        return self.up and len(self._pending) < self._window

    @property
    def pending(self) -> int:
        """How many messages wait for their acknowledgement."""
        return len(self._pending)

    def counts(self, lost: int) -> Counts:
        """What became of messages so far; `lost` is the queue's."""
        return Counts(
            published=self._published,
            acked=self._acked,
            refused=self._refused,
            lost=lost,
            missed=self._missed,
            reconnects=max(0, self._connects - 1),
        )

    def open(self) -> None:
        """Connect; the broker's answer comes in a later `turn`.

        Raises:
            OSError: it cannot be reached.
            ValueError: what ssl makes of some certificates.
        """
        self.why = ""
        self._client.reconnect()

    def close(self) -> None:
        """Disconnect in good order: the broker drops the will."""
        self._client.disconnect()

    def send(self, letter: Letter) -> None:
        """Give a message to paho."""
        info = self._client.publish(letter.topic, letter.payload, letter.qos, letter.retain)
        if letter.qos:
            self._pending.add(info.mid)
            self._published += 1
        elif info.rc:
            self.miss()

    def miss(self) -> None:
        """Count a message at QoS 0 that has no connection to go to."""
        self._missed += 1

    def turn(self, wait_s: float, waker: socket.socket) -> bool:
        """Receive and send what is due, waiting up to `wait_s`; True if `waker` became readable."""
        client, connection = self._client, self._client.socket()
        if connection is None:
            return False
        decrypted = getattr(connection, "pending", None)  # TLS: bytes that select does not see
        if decrypted is not None and decrypted():
            wait_s = 0.0
        writing = [connection] if client.want_write() else []
        readable, writable, _ = select.select([connection, waker], writing, [], wait_s)
        if connection in readable or wait_s == 0.0:
            client.loop_read()
        if connection in writable:
            client.loop_write()
        client.loop_misc()
        return waker in readable

    def _on_connect(
        self,
        _client: Client,
        _data: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        more: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.why = f"the broker refuses us: {reason}"
            return
        self._connects += 1
        self._window = max(1, min(WINDOW, getattr(more, "ReceiveMaximum", WINDOW)))
        self.up = True
        self._on_up()

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _more: Properties | None,
    ) -> None:
        self.up = False
        self.why = self.why or str(reason)

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _more: Properties
    ) -> None:
        if mid not in self._pending:
            return
        self._pending.discard(mid)
        self._acked += 1
        if reason.is_failure:
            self._refused += 1
            if self._refused % 1000 == 1:
                log.error("The broker refuses messages (%s); %d so far", reason, self._refused)
