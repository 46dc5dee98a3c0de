"""The link to the broker: a thread of its own, so that nothing here can hold up the loop.

Others only append to a queue and wake the thread with a byte. What the broker does not answer soon goes to
the disk, by the thread of the outbox.
"""

import logging
import math
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from outrider_agent import mqtt5
from outrider_agent.backoff import Backoff
from outrider_agent.broker import BrokerOptions as Options
from outrider_agent.connection import Connection, Counts
from outrider_agent.inbox import Inbox, OnMessage
from outrider_agent.outbox.letter import Letter, Rank
from outrider_agent.outbox.outbox import Outbox, OutboxCounts
from outrider_agent.outbox.store import Limits
from outrider_agent.outgoing import Outgoing
from outrider_bundle.messages.codec import encode
from outrider_bundle.messages.state import State
from outrider_bundle.topics import Topics

LEAST_RETRY_S = 0.5
STABLE_S = 5.0
"""A connection that held less long is no reason to try again at once."""
LEAST_TURN_S = 0.005
"""How often it is looked at the throttle of what waits."""
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
        folder: where the outbox keeps what waits; None to keep it in memory.

    Raises:
        UsageError: the password or a certificate cannot be read.
    """

    def __init__(
        self,
        options: Options,
        topics: Topics,
        birth: State,
        on_change: Callable[[Change, str], None],
        folder: Path | None = None,
    ) -> None:
        """Prepare the client; nothing is sent yet."""
        self._options, self._topics, self._birth, self._on_change = options, topics, birth, on_change
        self._connected: list[Callable[[], None]] = []
        client = mqtt5.client(options, f"outrider-{topics.fleet}-{topics.device}")
        mqtt5.set_will(client, topics.state, self._offline("connection lost"), options.will_delay_s)
        self._outbox = Outbox(
            folder,
            Limits(bytes=options.queue_bytes, age_s=options.queue_age_s),
            most=options.queue_messages,
            replay_per_s=options.replay_per_s,
            on_more=self._wake,
        )
        self._outgoing = Outgoing(self._outbox)
        self._outgoing.keep(topics.state, encode(birth))
        self._inbox = Inbox(client)
        self._connection = Connection(client, self._on_up, self._on_done)
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
        return self._connection.counts(self._outbox.lost)

    @property
    def stored(self) -> OutboxCounts:
        """What became of those that had to wait."""
        return self._outbox.counts

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._outbox.start()
        self._thread.start()

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        """Queue a message; the oldest of the lowest rank is lost for it if too much waits.

        QoS 0 only if connected. Events matter most, telemetry least.
        """
        if qos == 0 and not self.up:
            self._connection.miss()
            return
        rank = self._rank(topic)
        expiry_s = math.ceil(self._options.queue_age_s) if qos and rank is Rank.TELEMETRY else 0
        self._outbox.put(Letter(topic, payload, qos, expiry_s=expiry_s), rank)
        self._wake()

    def retain(self, topic: str, payload: bytes) -> None:
        """Publish a retained message, now and after every reconnection."""
        self._outgoing.keep(topic, payload)
        self._wake()

    def subscribe(self, topic: str, on_message: OnMessage) -> None:
        """Listen to the filter `topic` at QoS 1, now and after every reconnection.

        `on_message` gets topic and payload in the link's thread, so it must not wait.
        """
        self._inbox.add(topic, on_message)
        self._wake()

    def on_connected(self, call: Callable[[], None]) -> None:
        """Have `call` called in the link's thread on every connection; it must not wait."""
        self._connected.append(call)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was published is on the disk or answered; False if that takes longer."""
        return self._outbox.flush(timeout_s)

    def stop(self, reason: str) -> None:
        """Deliver what waits, say that the device goes offline and why, disconnect; bounded by `drain_s`."""
        self._until_s = time.monotonic() + self._options.drain_s
        self._farewell = reason[:MAX_REASON] or "stopped"
        self._outbox.hurry()
        self._hurry.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(self._options.drain_s + mqtt5.CONNECT_TIMEOUT_S + TURN_S)
        self._outbox.close()
        if left := len(self._outgoing):
            log.warning("%d messages were not delivered before the end", left)
        if not self._thread.is_alive():
            self._reader.close()
            self._writer.close()

    def _rank(self, topic: str) -> Rank:
        if topic == self._topics.events:
            return Rank.EVENT
        return Rank.TELEMETRY if topic == self._topics.telemetry else Rank.REPORT

    def _on_done(self, ticket: int, again: bool) -> None:  # noqa: FBT001 - a callback
        if again:
            self._outbox.back(ticket)
        else:
            self._outbox.done(ticket)

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
            self._send()
            if self._connection.up:
                self._inbox.ask()
            if self._farewell is not None and self._part():
                return
            rest_s = self._outbox.rest_s if self._connection.half_empty else TURN_S
            wait_s = min(TURN_S, rest_s, self._until_s - time.monotonic())
            if self._connection.turn(max(LEAST_TURN_S, wait_s), self._reader):
                self._reader.recv(4096)
                self._woken = False

    def _send(self) -> None:
        """Send what may be sent; what waits on the disk leaves half of the window to what is new."""
        while self._connection.room:
            letter = self._outgoing.get(replay=self._connection.half_empty)
            if letter is None:
                return
            self._connection.send(letter)

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
        self._outbox.closed()
        if self._away_since_s is None and self._farewell is None:
            self._away_since_s = time.monotonic()
            log.warning("No link to the broker: %s; trying again", reason)
            self._on_change("lost", reason[:MAX_REASON])

    def _on_up(self) -> None:
        self._outgoing.repeat()
        self._outbox.opened()
        self._inbox.repeat()
        for call in self._connected:
            try:
                call()
            except Exception:
                log.exception("What follows a connection failed")
        self._up_since_s = time.monotonic()
        if self._away_since_s is None:
            log.info("Connected to %s", self._options.url)
            return
        away_s = self._up_since_s - self._away_since_s
        self._away_since_s = None
        log.warning("Connected to %s again after %.1f s", self._options.url, away_s)
        self._on_change("restored", f"away for {away_s:.1f} s")
