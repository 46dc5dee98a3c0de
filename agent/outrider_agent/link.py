"""The link to the broker: a thread of its own, so that nothing here can hold up the loop.

Others only append to a queue and wake the thread with a byte; a later, durable queue takes the place
of `Outgoing` behind the same two methods.
"""

import logging
import math
import socket
import threading
import time
from collections.abc import Callable
from typing import Literal

from msgspec.structs import replace

from outrider_agent import mqtt5
from outrider_agent.backoff import Backoff
from outrider_agent.broker import BrokerOptions as Options
from outrider_agent.connection import Connection, Counts
from outrider_agent.outgoing import Letter, Outgoing
from outrider_bundle.messages.codec import encode
from outrider_bundle.messages.state import State
from outrider_bundle.topics import Topics

LEAST_RETRY_S = 0.5
STABLE_S = 5.0
"""A connection that held less long is no reason to try again at once."""
TURN_S = 1.0
"""How often keep-alive is looked after while nothing happens."""
MAX_REASON = 1000

Change = Literal["lost", "restored"]

log = logging.getLogger(__name__)


class Link:
    """Keeps a connection, and what has to go through it until it is there.

    Args:
        options: the table of the configuration.
        topics: of the device.
        birth: what is said of the device on every connection.
        on_change: called from the link's thread when the connection was lost or is there again.

    Raises:
        UsageError: the password or a certificate cannot be read.
    """

    def __init__(
        self, options: Options, topics: Topics, birth: State, on_change: Callable[[Change, str], None]
    ) -> None:
        """Prepare the client; nothing is sent yet."""
        self._options, self._topics, self._birth, self._on_change = options, topics, birth, on_change
        self._outgoing = Outgoing(options.queue_messages, options.queue_bytes)
        self._outgoing.keep(topics.state, encode(birth))
        client = mqtt5.client(options, f"outrider-{topics.fleet}-{topics.device}")
        mqtt5.set_will(client, topics.state, self._offline("connection lost"), options.will_delay_s)
        self._connection = Connection(client, self._on_up)
        self._backoff = Backoff(min(LEAST_RETRY_S, options.retry_s), options.retry_s)
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)
        self._woken = False
        self._up_since_s = math.inf
        self._away_since_s: float | None = None
        self._farewell: str | None = None  # what to say at the end; empty when it is said
        self._hurry = threading.Event()
        self._until_s = math.inf
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    @property
    def up(self) -> bool:
        """Whether the broker has accepted us and the connection stands."""
        return self._connection.up

    @property
    def counts(self) -> Counts:
        """What became of messages so far."""
        return self._connection.counts(self._outgoing.lost)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        """Queue a message; the oldest one is lost for it if too many wait. QoS 0 only if connected."""
        if qos == 0 and not self.up:
            self._connection.miss()
            return
        if not self._outgoing.put(Letter(topic, payload, qos)) and self._outgoing.lost % 1000 == 1:
            log.warning("The queue for the broker is full: %d messages lost so far", self._outgoing.lost)
        self._wake()

    def retain(self, topic: str, payload: bytes) -> None:
        """Publish a retained message, now and after every reconnection."""
        self._outgoing.keep(topic, payload)
        self._wake()

    def stop(self, reason: str) -> None:
        """Deliver what waits, say that the device goes offline and why, disconnect; bounded by `drain_s`."""
        self._until_s = time.monotonic() + self._options.drain_s
        self._farewell = reason[:MAX_REASON] or "stopped"
        self._hurry.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(self._options.drain_s + mqtt5.CONNECT_TIMEOUT_S + TURN_S)
        if left := len(self._outgoing) + self._connection.pending:
            log.warning("%d messages were not delivered before the end", left)
        if not self._thread.is_alive():
            self._reader.close()
            self._writer.close()

    def _offline(self, reason: str) -> bytes:
        return encode(replace(self._birth, status="offline", reason=reason))

    def _run(self) -> None:
        """Connect, serve and rest in turns, until the farewell is said or its time is over."""
        while not self._over():
            try:
                self._connection.open()
                self._serve()
                self._down(self._connection.why or "the broker closed the connection")
            except (OSError, ValueError) as error:
                self._down(f"{self._options.url} cannot be reached: {error}")
            except Exception as error:
                log.exception("The link failed")
                self._down(repr(error))
            self._rest()

    def _over(self) -> bool:
        return self._farewell == "" or time.monotonic() >= self._until_s

    def _serve(self) -> None:
        """Send and receive until the connection is gone or the farewell is said."""
        while self._connection.alive:
            # In this order: what paho sends again by itself may be older retained messages.
            while self._connection.room and (letter := self._outgoing.get()):
                self._connection.send(letter)
            if self._farewell is not None and self._part():
                return
            wait_s = min(TURN_S, max(0.01, self._until_s - time.monotonic()))
            if self._connection.turn(wait_s, self._reader):
                self._reader.recv(4096)
                self._woken = False

    def _part(self) -> bool:
        """Say the farewell when all is delivered or time is over; True when the connection may end."""
        late = time.monotonic() >= self._until_s
        delivered = not self._outgoing and not self._connection.pending
        if not self._connection.up:
            return late
        if self._farewell and (delivered or late):
            self._connection.send(Letter(self._topics.state, self._offline(self._farewell), 1, retain=True))
            self._farewell = ""
            self._until_s = time.monotonic() + TURN_S  # for its acknowledgement
        elif self._farewell == "" and (delivered or late):
            self._connection.close()
            return True
        return False

    def _rest(self) -> None:
        """Wait before the next try; the farewell cuts the first wait short, but not those that follow."""
        if time.monotonic() - self._up_since_s > STABLE_S:
            self._backoff.reset()
        self._up_since_s = math.inf
        delay_s = self._backoff.delay_s()
        if self._farewell is None:
            self._hurry.wait(delay_s)
        elif not self._over():
            time.sleep(min(delay_s, max(0.0, self._until_s - time.monotonic())))

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            try:
                self._writer.send(b"\0")
            except OSError:
                return  # full: the thread has enough to wake up for

    def _down(self, reason: str) -> None:
        self._connection.up = False
        if self._away_since_s is None and self._farewell is None:
            self._away_since_s = time.monotonic()
            log.warning("No link to the broker: %s; trying again", reason)
            self._on_change("lost", reason[:MAX_REASON])

    def _on_up(self) -> None:
        self._outgoing.repeat()
        self._up_since_s = time.monotonic()
        if self._away_since_s is None:
            log.info("Connected to %s", self._options.url)
            return
        away_s = self._up_since_s - self._away_since_s
        self._away_since_s = None
        log.warning("Connected to %s again after %.1f s", self._options.url, away_s)
        self._on_change("restored", f"away for {away_s:.1f} s")
