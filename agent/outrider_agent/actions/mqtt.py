"""Decisions as MQTT messages, for whoever stands at the gate.

The payload is flat JSON: `run`, `seq`, `time`, `pipeline` and `frame` of the decision's event, and
all that the policy put into it. `(run, seq)` tells a message that arrives twice.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from outrider_agent.seams import Context
from outrider_bundle.messages.event import Event


class MqttOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[[pipelines.actions]]` may hold.

    Args:
        topic: where to publish; left out for `up/act/{pipeline}` of this device.
        safe: published when outputs have to be safe; nothing is if left out.
    """

    topic: Annotated[str, Meta(pattern=r"\A[^+#\x00]{1,512}\Z", description="a topic without + and #")] = ""
    safe: dict[str, Any] | None = None


class MqttAction:
    """Publishes at QoS 1: what is decided without a connection is delivered after."""

    Options = MqttOptions
    needs_link = True

    def __init__(self, options: MqttOptions, context: Context) -> None:
        """Choose the topic."""
        self._link = context.link
        self._topic = options.topic or context.topics.act(context.pipeline)
        self._safe = None if options.safe is None else msgspec.json.encode(options.safe)

    def apply(self, decision: Event) -> None:
        """Publish the decision."""
        payload = {
            **decision.data,
            "run": decision.run,
            "seq": decision.seq,
            "time": decision.time,
            "pipeline": decision.pipeline,
            "frame": decision.frame,
        }
        self._link.publish(self._topic, msgspec.json.encode(payload))

    def safe_state(self) -> None:
        """Publish what was configured for this case."""
        if self._safe is not None:
            self._link.publish(self._topic, self._safe)

    def close(self) -> None:
        """Do nothing: the link is the agent's."""
