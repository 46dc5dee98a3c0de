"""What `[discovery]` may hold."""

from typing import Annotated

from msgspec import Meta, Struct

Topic = Annotated[
    str,
    Meta(
        pattern=r"\A[^$+#/\x00]([^+#\x00]{0,126}[^+#/\x00])?\Z",
        description="a topic without + and #, not of the broker's own, without a slash at either end",
    ),
]
Title = Annotated[str, Meta(max_length=120)]
MEMORY = "discovery.json"
"""In the state directory, what was announced; see `memory.py`."""


class DiscoveryOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the device shows itself to Home Assistant; without this table it does not.

    Args:
        enabled: false, or no table, takes everything back that was announced before.
        prefix: Home Assistant's discovery prefix, as set there.
        status_topic: where Home Assistant says that it is `online`, as set there.
        name: what the device is called there; left out for its id.
        area: suggested for it.
        spread_s: when Home Assistant comes, devices answer within so many seconds and not all at once.
    """

    enabled: bool = True
    prefix: Topic = "homeassistant"
    status_topic: Topic = "homeassistant/status"
    name: Title = ""
    area: Title = ""
    spread_s: Annotated[float, Meta(ge=0.0, le=600.0)] = 5.0
