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

from outrider_agent.mqtt5 import expiring
from outrider_agent.outbox.letter import Letter

WINDOW = 64
"""Messages sent and not yet acknowledged; a broker may ask for fewer."""
MOST_BYTES = 268_435_455
"""What the protocol allows in one packet; a broker may ask for less."""
HEADER_BYTES = 20
"""What stands around topic and payload: lengths, packet id and properties."""

_NOT_NOW = {0x80, 0x83, 0x97}
"""Reasons that may be gone later: unspecified, specific to the broker, quota exceeded (MQTT 5, 3.4.2.1)."""

log = logging.getLogger(__name__)


class Counts(Struct, frozen=True, kw_only=True):
    """What became of messages.

    Args:
        published: sent at QoS 1.
        acked: answered by the broker.
        refused: of these, with a failure.
        lost: given up by the outbox for lack of room.
        missed: at QoS 0, without a connection.
        reconnects: how often the connection was made again.
        too_large: not sent, for the broker takes no such size.
    """

    published: int = 0
    acked: int = 0
    refused: int = 0
    lost: int = 0
    missed: int = 0
    reconnects: int = 0
    too_large: int = 0


class Connection:
    """Drives paho's client without its thread.

    Args:
        client: as `mqtt5.client` makes it.
        on_up: called when the broker has accepted us.
        on_done: called with the ticket of a letter that the broker has answered, and whether it is to be kept
            for the next connection.
    """

    def __init__(
        self,
        client: Client,
        on_up: Callable[[], None],
        on_done: Callable[[int, bool], None] = lambda _ticket, _again: None,
    ) -> None:
        """Take the client's callbacks."""
        self._client, self._on_up, self._on_done = client, on_up, on_done
        self._window = WINDOW
        self._largest = MOST_BYTES
        self._most_qos, self._retains = 1, True
        self._pending: dict[int, int] = {}  # message ids that paho keeps, and the letters' tickets
        self._published = self._acked = self._refused = self._missed = self._connects = self._too_large = 0
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
    def half_empty(self) -> bool:
        """Whether there is room enough that what is not urgent may be sent too."""
        return self.up and 2 * len(self._pending) < self._window

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
            too_large=self._too_large,
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
        """Give a message to paho, as the broker takes it; one that is too large for it is given up."""
        if len(letter.payload) + len(letter.topic.encode()) + HEADER_BYTES > self._largest:
            self._give_up(letter)
            return
        qos, retain = min(letter.qos, self._most_qos), letter.retain and self._retains
        properties = expiring(letter.expiry_s) if letter.expiry_s else None
        info = self._client.publish(letter.topic, letter.payload, qos, retain, properties)
        if qos:
            self._pending[info.mid] = letter.ticket
            self._published += 1
        elif letter.qos:
            self._on_done(letter.ticket, bool(info.rc))
        elif info.rc:
            self.miss()

    def _give_up(self, letter: Letter) -> None:
        """The broker would close the connection for it, again and again."""
        self._too_large += 1
        if self._too_large % 1000 == 1:
            size, most = len(letter.payload), self._largest
            log.error(
                "A message of %d bytes at %s is not sent: the broker takes %d", size, letter.topic, most
            )
        if letter.qos:
            self._on_done(letter.ticket, False)  # noqa: FBT003 - it is not to be kept

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
        self._largest = getattr(more, "MaximumPacketSize", MOST_BYTES)
        self._most_qos = min(1, getattr(more, "MaximumQoS", 1))
        self._retains = bool(getattr(more, "RetainAvailable", 1))
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
        ticket = self._pending.pop(mid, None)
        if ticket is None:
            return
        self._acked += 1
        if reason.is_failure:
            self._refused += 1
            if self._refused % 1000 == 1:
                log.error("The broker refuses messages (%s); %d so far", reason, self._refused)
        if ticket:
            self._on_done(ticket, reason.value in _NOT_NOW)
