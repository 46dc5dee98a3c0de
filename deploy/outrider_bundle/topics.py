"""Topics: who says what where.

    outrider/v1/{fleet}/d/{device}/up/state            birth and will, retained
    outrider/v1/{fleet}/d/{device}/up/rep              reported state, retained
    outrider/v1/{fleet}/d/{device}/up/tele             telemetry
    outrider/v1/{fleet}/d/{device}/up/evt              events
    outrider/v1/{fleet}/d/{device}/up/act/{pipeline}   where the mqtt action publishes
    outrider/v1/{fleet}/d/{device}/dn/des              desired state, retained
    outrider/v1/{fleet}/d/{device}/dn/cmd              commands, never retained
    outrider/v1/{fleet}/d/{device}/dn/blk              block replies
    outrider/v1/{fleet}/ota/get/{device}               block requests

The device's id stands in every topic, so that a broker's access rule proves the sender.
"""

import re
from typing import NamedTuple

from outrider_bundle.errors import MessageError, UsageError

PREFIX = "outrider/v1"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TAILS = {
    "state": "up/state",
    "reported": "up/rep",
    "telemetry": "up/tele",
    "events": "up/evt",
    "act": "up/act",
    "desired": "dn/des",
    "commands": "dn/cmd",
    "blocks": "dn/blk",
}
_KINDS = {tail: kind for kind, tail in _TAILS.items()}

KINDS = (*_TAILS, "get")
"""The kinds of topics, called like the attributes of `Topics`."""


class Address(NamedTuple):
    """What a topic says: `kind` is one of `KINDS`, `rest` the pipeline of an `act` topic or empty."""

    fleet: str
    device: str
    kind: str
    rest: str


class Topics:
    """The topics of one device."""

    def __init__(self, fleet: str, device: str) -> None:
        """Check both ids.

        Raises:
            UsageError: an id has other characters than letters, digits, `_` and `-`, or is too long.
        """
        self.fleet = _checked("fleet", fleet)
        self.device = _checked("device", device)
        self._base = f"{PREFIX}/{fleet}/d/{device}"

    @property
    def state(self) -> str:
        """Birth and will."""
        return f"{self._base}/up/state"

    @property
    def reported(self) -> str:
        """What runs."""
        return f"{self._base}/up/rep"

    @property
    def telemetry(self) -> str:
        """Batches of metrics."""
        return f"{self._base}/up/tele"

    @property
    def events(self) -> str:
        """Decisions, phase changes and faults."""
        return f"{self._base}/up/evt"

    @property
    def desired(self) -> str:
        """What shall run."""
        return f"{self._base}/dn/des"

    @property
    def commands(self) -> str:
        """Commands to this device."""
        return f"{self._base}/dn/cmd"

    @property
    def blocks(self) -> str:
        """Block replies to this device."""
        return f"{self._base}/dn/blk"

    @property
    def get(self) -> str:
        """Block requests of this device."""
        return f"{PREFIX}/{self.fleet}/ota/get/{self.device}"

    def act(self, pipeline: str) -> str:
        """Return where `pipeline` publishes its decisions.

        Raises:
            UsageError: the pipeline's id is none.
        """
        return f"{self._base}/up/act/{_checked('pipeline', pipeline)}"


def every(fleet: str, kind: str) -> str:
    """Return the subscription filter for topics of `kind` from all devices of `fleet`.

    Raises:
        UsageError: `fleet` is no id or `kind` none of `KINDS`.
    """
    _checked("fleet", fleet)
    if kind == "get":
        return f"{PREFIX}/{fleet}/ota/get/+"
    if kind not in _TAILS:
        raise UsageError(f"There are no topics of the kind '{kind}'", f"Kinds: {', '.join(KINDS)}")
    return f"{PREFIX}/{fleet}/d/+/{_TAILS[kind]}" + ("/+" if kind == "act" else "")


def parse(topic: str) -> Address:
    """Take a topic apart.

    Raises:
        MessageError: it is none of ours.
    """
    parts = topic.split("/")
    if topic.startswith(PREFIX + "/"):
        match parts[2:]:
            case [fleet, "d", device, "up", "act", pipeline]:
                return _address(topic, Address(fleet, device, "act", pipeline), pipeline)
            case [fleet, "d", device, way, tail] if _KINDS.get(f"{way}/{tail}", "act") != "act":
                return _address(topic, Address(fleet, device, _KINDS[f"{way}/{tail}"], ""))
            case [fleet, "ota", "get", device]:
                return _address(topic, Address(fleet, device, "get", ""))
    raise _foreign(topic)


def _address(topic: str, address: Address, *more: str) -> Address:
    if all(_ID.fullmatch(part) for part in (address.fleet, address.device, *more)):
        return address
    raise _foreign(topic)


def _foreign(topic: str) -> MessageError:
    return MessageError(
        f"{topic[:200]!r} is not a topic of ours", f"Ours begin with {PREFIX}/ and hold plain ids"
    )


def _checked(what: str, name: str) -> str:
    if _ID.fullmatch(name):
        return name
    raise UsageError(
        f"{name[:80]!r} is not a {what} id", "Use 1 to 64 letters, digits, underscores and hyphens"
    )
