"""Decisions as MQTT messages, for whoever stands at the gate.

The payload is flat JSON: `run`, `seq`, `time`, `pipeline` and `frame` of the decision's event, and all that
the policy put into it. `(run, seq)` tells a message that arrives twice.

Another topic than the device's own has to be granted by the broker: its access rules decide, and a broker
that refuses says so only to itself. What begins with `$` is the broker's own, and under `outrider/v1`
nothing but `up/act/{pipeline}` of this device is for an action: elsewhere it could be taken for somebody
else's word.
"""

from contextlib import suppress
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from outrider_agent.outputs import flat
from outrider_agent.seams import Context
from outrider_bundle.errors import MessageError, UsageError
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import PREFIX, parse


class MqttOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[[pipelines.actions]]` may hold.

    Args:
        topic: where to publish; left out for `up/act/{pipeline}` of this device.
        safe: published when outputs have to be safe; nothing is if left out.
    """

    topic: Annotated[
        str,
        Meta(
            pattern=r"\A[^$+#\x00][^+#\x00]{0,511}\Z",
            description="a topic without + and #, not of the broker's own",
        ),
    ] = ""
    safe: dict[str, Any] | None = None


class MqttAction:
    """Publishes at QoS 1: what is decided without a connection is delivered after."""

    Options = MqttOptions
    needs_link = True

    def __init__(self, options: MqttOptions, context: Context) -> None:
        """Choose the topic.

        Raises:
            UsageError: it belongs to another device, or to another part of this one.
        """
        self._link = context.link
        self._topic = _granted(options.topic, context)
        self._safe = None if options.safe is None else msgspec.json.encode(options.safe)

    def apply(self, decision: Event) -> None:
        """Publish the decision."""
        self._link.publish(self._topic, flat(decision))

    def safe_state(self) -> None:
        """Publish what was configured for this case."""
        if self._safe is not None:
            self._link.publish(self._topic, self._safe)

    def close(self) -> None:
        """Do nothing: the link is the agent's."""


def _granted(topic: str, context: Context) -> str:
    """Return the topic to publish to, if as far as we know an action of this device may."""
    own = context.topics.act(context.pipeline)
    if not topic:
        return own
    if topic != PREFIX and not topic.startswith(f"{PREFIX}/"):
        return topic
    with suppress(MessageError):
        address = parse(topic)
        if address[:3] == (context.topics.fleet, context.topics.device, "act"):
            return topic
    raise UsageError(f"The topic {topic} is not for an action of this device", f"Its own are like {own}")
