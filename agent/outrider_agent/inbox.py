"""What the link listens to: subscriptions that are made again on every connection."""

import logging
import threading
from collections.abc import Callable, Sequence

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

OnMessage = Callable[[str, bytes], None]

log = logging.getLogger(__name__)


class Inbox:
    """Hands messages to whoever subscribed; any thread may add, all else is for the link's thread.

    Args:
        client: as `mqtt5.client` makes it.
    """

    def __init__(self, client: Client) -> None:
        """Take the client's callbacks."""
        self._client = client
        self._alone = threading.Lock()
        self._wanted: dict[str, list[OnMessage]] = {}
        self._unasked: list[str] = []
        client.on_subscribe = self._on_subscribe

    def add(self, topic: str, on_message: OnMessage) -> None:
        """Want what comes at the filter `topic`, at QoS 1; the next `ask` asks for it."""
        with self._alone:
            several = self._wanted.setdefault(topic, [])
            several.append(on_message)
            self._unasked.append(topic)
        # What the broker kept for us may come before it has answered a subscription.
        self._client.message_callback_add(topic, lambda _client, _data, message: _call(several, message))

    def repeat(self) -> None:
        """Let everything be asked for again: this is a new connection."""
        with self._alone:
            self._unasked = list(self._wanted)

    def ask(self) -> None:
        """Subscribe to what was not asked for on this connection."""
        with self._alone:
            topics, self._unasked = self._unasked, []
        if topics:
            self._client.subscribe([(topic, 1) for topic in dict.fromkeys(topics)])

    def _on_subscribe(
        self,
        _client: Client,
        _data: object,
        _mid: int,
        reasons: Sequence[ReasonCode],
        _more: Properties | None,
    ) -> None:
        for reason in reasons:
            if reason.is_failure:
                log.error("The broker refuses a subscription: %s", reason)


def _call(several: Sequence[OnMessage], message: MQTTMessage) -> None:
    for on_message in several:
        try:
            on_message(message.topic, bytes(message.payload))
        except Exception:
            # The broker would only send it again.
            log.exception("A message at %s could not be taken", message.topic)
