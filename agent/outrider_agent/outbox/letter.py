"""A message for the broker, and how much it matters."""

from enum import IntEnum

from msgspec import Struct

SHIFT = 48
"""In the file a letter's key is its rank above so many bits of a running number."""


class Rank(IntEnum):
    """What goes first; and, from the other end, what is given up first when there is no more room."""

    EVENT = 0
    REPORT = 1
    TELEMETRY = 2


class Letter(Struct, frozen=True):
    """A message to publish.

    Args:
        topic: where to.
        payload: what.
        qos: 0 or 1.
        retain: whether the broker keeps it for those who come later.
        expiry_s: after so many seconds the broker need not deliver it any more; 0 for never.
        ticket: the outbox's name for it; 0 for what is not of the outbox.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry_s: int = 0
    ticket: int = 0
