"""Tells Home Assistant what there is, takes back what there is no longer, and tells it again when it comes.

The message is retained, so the broker has it for a Home Assistant that comes later. An entity that is gone
has to be taken back by a message that names it once more, empty; only when that is with the broker a message
without it takes its place. What was announced is remembered on disk until then, across starts and changes of
the configuration.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from random import random
from typing import Protocol, cast

from msgspec import Struct

from outrider_agent.discovery import templates
from outrider_agent.discovery.entities import Subject, entities, identifier
from outrider_agent.discovery.memory import Memory
from outrider_agent.discovery.options import DiscoveryOptions
from outrider_agent.discovery.payload import Announcement, Device, Entity, Origin, Platform, encode
from outrider_bundle.topics import Topics

ONLINE = b"online"
SETTLE_S = 5.0
"""So long a message that takes entities back stands before one without them takes its place."""
QOS = 1

Cancel = Callable[[], None]
Later = Callable[[float, Callable[[], None]], Cancel]

log = logging.getLogger(__name__)


class Wire(Protocol):
    """What is needed of the link."""

    @property
    def up(self) -> bool:
        """Whether the connection stands."""
        ...

    def retain(self, topic: str, payload: bytes) -> None:
        """Make `payload` the retained message of `topic`, now and after every reconnection."""
        ...

    def subscribe(self, topic: str, on_message: Callable[[str, bytes], None]) -> None:
        """Hear what is said on `topic`, on every connection; called on the link's thread."""
        ...

    def on_connected(self, call: Callable[[], None]) -> None:
        """Have `call` called on the link's thread on each connection."""
        ...


class About(Struct, frozen=True, kw_only=True):
    """The device.

    Args:
        topics: its own.
        hardware: what it is.
        interval_s: of its telemetry.
        birth: its retained message at `topics.state`.
        state_dir: where it keeps files.
        thermal: whether its board tells how hot it is.
    """

    topics: Topics
    hardware: str
    interval_s: float
    birth: bytes
    state_dir: Path
    thermal: bool = False


def in_thread(delay_s: float, call: Callable[[], None]) -> Cancel:
    """Make `call` in a thread after a while, unless the function that is returned is called before."""
    timer = threading.Timer(delay_s, call)
    timer.daemon = True
    timer.start()
    return timer.cancel


class Announcer:
    """Announces one device; any thread may call.

    Args:
        options: None where discovery is not switched on: then all is taken back.
        about: the device.
        wire: the link.
        later: makes a call after a while.
    """

    def __init__(
        self, options: DiscoveryOptions | None, about: About, wire: Wire, later: Later = in_thread
    ) -> None:
        """Read what was announced before; nothing is sent yet."""
        self._options, self._about, self._wire, self._later = options, about, wire, later
        self._memory = Memory(about.state_dir)
        self._topic = "" if options is None or not options.enabled else _topic(options, about.topics)
        self._entities: dict[str, Entity] | None = None
        self._gone: dict[str, Entity] = {}
        self._ended = False
        self._turns: dict[Callable[[], None], object] = {}
        self._cancels: dict[Callable[[], None], Cancel] = {}
        self._alone = threading.Lock()
        self._timing = threading.Lock()  # apart, for the link's thread must not wait for a disk

    def start(self) -> None:
        """Listen to the link, before it connects; nothing is sent before the first `update`."""
        if self._topic or self._memory.topics:
            self._wire.on_connected(self._settle_later)
        if self._options is not None and self._topic:
            self._wire.subscribe(self._options.status_topic, self._on_status)

    def update(self, subjects: Sequence[Subject]) -> None:
        """Announce these pipelines, take back what is there no more; say nothing if all is as before."""
        about = self._about
        now: dict[str, Entity] = {}
        if self._topic:
            now = entities(about.topics, about.interval_s, subjects, thermal=about.thermal)
        with self._alone:
            if now == self._entities or self._ended:
                return
            self._entities = now
            known = self._memory.topics
            before = known.get(self._topic, {})
            self._gone = {
                key: Entity(platform=cast("Platform", platform))
                for key, platform in before.items()
                if key not in now
            }
            if self._topic:
                told = before | {key: entity.platform for key, entity in now.items()}
                self._memory.keep(known | {self._topic: told})
                self._wire.retain(self._topic, self._payload())
            for topic in self._others():
                self._wire.retain(topic, b"")
            self._settle_later()

    def stop(self) -> None:
        """Say no more."""
        with self._timing:
            self._ended = True
            self._turns.clear()
            for cancel in self._cancels.values():
                cancel()

    def _on_status(self, _topic: str, payload: bytes) -> None:
        if payload.strip().lower() == ONLINE and self._options is not None:
            self._in(random() * self._options.spread_s, self._again)  # noqa: S311 - spreads load, hides nothing

    def _again(self) -> None:
        """Say all of it again, for a Home Assistant that has just come; alone."""
        if self._entities is not None:
            self._wire.retain(self._about.topics.state, self._about.birth)
            self._wire.retain(self._topic, self._payload())

    def _settle_later(self) -> None:
        if self._wire.up and self._entities is not None and (self._gone or self._others()):
            self._in(SETTLE_S, self._settle)

    def _settle(self) -> None:
        """Forget what was taken back; alone."""
        if not self._wire.up:  # then the next connection is soon enough
            return
        now: dict[str, str] = {key: one.platform for key, one in (self._entities or {}).items()}
        self._memory.keep({self._topic: now} if self._topic else {})
        if self._gone:
            self._gone = {}
            self._wire.retain(self._topic, self._payload())

    def _in(self, delay_s: float, call: Callable[[], None]) -> None:
        """Make `call` alone after a while, instead of one that still waits."""
        turn = object()

        def due() -> None:
            with self._alone:
                with self._timing:
                    # A timer that was cancelled too late has lost its turn.
                    if self._turns.get(call) is not turn:
                        return
                    del self._turns[call]
                call()

        with self._timing:
            if self._ended:
                return
            self._turns[call] = turn
            if call in self._cancels:
                self._cancels[call]()
            self._cancels[call] = self._later(delay_s, due)

    def _others(self) -> list[str]:
        """Return topics that were used before, with another prefix or id or with discovery switched on."""
        return [topic for topic in self._memory.topics if topic != self._topic]

    def _payload(self) -> bytes:
        about, options = self._about, self._options or DiscoveryOptions()
        software = version("outrider")
        return encode(
            Announcement(
                device=Device(
                    identifiers=(identifier(about.topics),),
                    name=options.name or about.topics.device,
                    manufacturer="Outrider",
                    model=about.hardware,
                    sw_version=software,
                    suggested_area=options.area,
                ),
                origin=Origin(name="Outrider", sw_version=software),
                components={**(self._entities or {}), **self._gone},
                availability_topic=about.topics.state,
                availability_template=templates.AVAILABILITY,
                qos=QOS,
            )
        )


def _topic(options: DiscoveryOptions, topics: Topics) -> str:
    """Return where the device is announced: its id is a level of its own, for a broker's access rule."""
    return f"{options.prefix}/device/outrider-{topics.fleet}/{topics.device}/config"
