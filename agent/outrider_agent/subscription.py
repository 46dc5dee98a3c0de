"""A subscription with a connection and a thread of its own, made again for as long as it is wanted."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from outrider_agent import mqtt5
from outrider_agent.backoff import Backoff
from outrider_agent.broker import BrokerOptions
from outrider_agent.connection import Connection

LEAST_RETRY_S = 0.5
STABLE_S = 5.0
"""A connection that held less long is no reason to try again at once."""
TURN_S = 1.0
"""How often keep-alive is looked after while nothing happens."""
JOIN_S = 1.0

log = logging.getLogger(__name__)


class Subscription:
    """Receives at QoS 1 in a session that the broker keeps, so that what comes meanwhile is not lost.

    Args:
        options: the broker.
        name: of the client; the broker knows the session by it.
        topic: a filter.
        receive: called with each payload, from the thread of the subscription.

    Raises:
        UsageError: the password or a certificate cannot be read.
    """

    def __init__(
        self, options: BrokerOptions, name: str, topic: str, receive: Callable[[bytes], None]
    ) -> None:
        """Prepare the client; nothing is sent yet."""
        self._topic, self._receive = topic, receive
        self._url = "{}:{}".format(*options.address)
        self._client = client = mqtt5.client(options, name)
        self._connection = Connection(client, self._on_up)
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        self._backoff = Backoff(min(LEAST_RETRY_S, options.retry_s), options.retry_s)
        self._up_since_s: float | None = None
        self._away = False
        self._end = threading.Event()
        self._reader, self._writer = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to connect; returns at once, and does nothing a second time or after `stop`."""
        if not self._end.is_set() and self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """Disconnect, waiting at most a second; the session stays with the broker. Idempotent."""
        self._end.set()
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(JOIN_S)
        if not self._thread.is_alive():
            self._reader.close()
            self._writer.close()

    def _run(self) -> None:
        """Connect, receive and rest in turns."""
        while not self._end.is_set():
            try:
                self._connection.open()
                self._serve()
                self._down(self._connection.why or "the broker closed the connection")
            except (OSError, ValueError) as error:
                self._down(f"it cannot be reached: {error}")
            except Exception as error:
                log.exception("The subscription to %s failed", self._topic)
                self._down(repr(error))
            self._end.wait(self._delay_s())
        with contextlib.suppress(OSError, ValueError):
            self._connection.close()

    def _serve(self) -> None:
        while self._connection.alive and not self._end.is_set():
            self._connection.turn(TURN_S, self._reader)

    def _delay_s(self) -> float:
        if self._up_since_s is not None and time.monotonic() - self._up_since_s > STABLE_S:
            self._backoff.reset()
        self._up_since_s = None
        return self._backoff.delay_s()

    def _on_up(self) -> None:
        self._up_since_s = time.monotonic()
        log.log(
            logging.WARNING if self._away else logging.INFO,
            "Connected to %s for %s%s",
            self._url,
            self._topic,
            " again" if self._away else "",
        )
        self._away = False
        # A retained sample is one of now only when the subscription is new.
        once = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        self._client.subscribe(self._topic, options=once)

    def _down(self, why: str) -> None:
        self._connection.up = False
        if not self._away and not self._end.is_set():
            log.warning("No samples from %s for %s: %s; trying again", self._url, self._topic, why)
            self._away = True

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
                log.error("The broker %s refuses the subscription to %s: %s", self._url, self._topic, reason)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            self._receive(bytes(message.payload))
        except Exception:
            # The broker would only send it again.
            log.exception("A message at %s could not be taken", message.topic)
