"""`outrider agent safe-state`: outputs made safe without an agent, because it was killed or hangs.

The unit runs it as ExecStopPost, so it is what stands behind SIGKILL and the watchdog. It loads no model,
and one output that cannot be reached keeps no other from being made safe.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import msgspec
from msgspec import Struct

from outrider_agent import config, lock, parts
from outrider_agent.broker import BrokerOptions
from outrider_agent.config import Config
from outrider_agent.parts import Part
from outrider_agent.seams import Context
from outrider_bundle.errors import OutriderError
from outrider_bundle.topics import Topics

PATIENCE_S = 2.0
"""For the broker, from the connection to the last acknowledgement."""

SETTLE_S = 10.0
"""For an action that works behind a queue; a safe program may take so long."""

EXAMPLES = """\
examples:
  outrider agent safe-state --config agent.toml
  outrider agent safe-state --config agent.toml --json

The unit calls it whenever the agent has ended, however it has. It refuses while an agent runs: those
outputs are its own. Exit code 1: an output is not safe, and the line says why.
"""

log = logging.getLogger(__name__)


class Made(Struct, frozen=True, kw_only=True):
    """One action that was asked to be safe, and why it is not; `reason` is empty if it is."""

    pipeline: str
    action: str
    reason: str = ""


class Outbox:
    """A link that keeps messages until somebody delivers them."""

    def __init__(self) -> None:
        """Start empty."""
        self.letters: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        """Keep a message."""
        del qos
        self.letters.append((topic, payload))

    def retain(self, topic: str, payload: bytes) -> None:
        """Keep nothing: no action retains."""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what `safe-state` takes."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's TOML file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make outputs safe and print which; return 1 if one is not.

    Raises:
        OutriderError: the configuration has faults, or an agent runs.
    """
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    made = make_safe(config.read(arguments.config))
    if arguments.json:
        sys.stdout.write(json.dumps({"actions": msgspec.to_builtins(made)}) + "\n")
    else:
        for one in made:
            verdict = f"NOT SAFE: {one.reason}" if one.reason else "safe"
            sys.stdout.write(f"{one.pipeline}/{one.action}: {verdict}\n")
    return int(any(one.reason for one in made))


def make_safe(settings: Config) -> tuple[Made, ...]:
    """Bring every action of every pipeline into its safe state, all at the same time.

    Raises:
        OutriderError: an agent runs, whose outputs these are.
    """
    with lock.held(settings.device.state_dir):
        return make_own_safe(settings)


def make_own_safe(settings: Config) -> tuple[Made, ...]:
    """Do the same for the process that holds the state directory; it has no action open."""
    outbox, device = Outbox(), settings.device
    topics = Topics(device.fleet, device.id)
    tasks = [
        (part, Context(pipeline=pipeline.table.id, topics=topics, link=outbox, broker=settings.link))
        for pipeline in settings.pipelines
        for part in pipeline.actions
    ]
    with ThreadPoolExecutor(max(1, len(tasks))) as pool:
        made = list(pool.map(_safe, *zip(*tasks, strict=True))) if tasks else []
    if settings.link is not None and outbox.letters:
        reason = _reason(lambda link=settings.link: _deliver(link, topics, outbox.letters))  # type: ignore[misc]
        made = [_told(one, reason) for one in made]
    return tuple(made)


def _safe(part: Part, context: Context) -> Made:
    def ask() -> None:
        action = parts.action(part, context)
        try:
            action.safe_state()
            if settle := getattr(action, "settle", None):
                settle(SETTLE_S)
        finally:
            action.close()

    return Made(pipeline=context.pipeline, action=part.kind, reason=_reason(ask))


def _told(made: Made, reason: str) -> Made:
    """Return `made` with why its message was not delivered, if it sends one."""
    if made.action != "mqtt" or made.reason:
        return made
    return Made(pipeline=made.pipeline, action=made.action, reason=reason)


def _reason(call: Callable[[], None]) -> str:
    """Return why `call` failed; empty if it did not."""
    try:
        call()
    except OutriderError as error:
        return str(error)
    except Exception as error:
        log.exception("An action failed")
        return repr(error)
    return ""


def _deliver(link: BrokerOptions, topics: Topics, letters: Sequence[tuple[str, bytes]]) -> None:
    """Send `letters` at QoS 1 over a connection of its own.

    Raises:
        OutriderError: the broker has not acknowledged all of them in time.
    """
    from outrider_agent import mqtt5  # noqa: PLC0415 - 10 MB of a library that only a link needs

    client, there = mqtt5.client(link, f"outrider-{topics.fleet}-{topics.device}-safe"), Event()
    client.on_connect = lambda *_: there.set()
    client.loop_start()
    try:
        if not there.wait(PATIENCE_S):
            raise OutriderError(f"The broker {link.url} does not answer")
        sent = [client.publish(topic, payload, qos=1) for topic, payload in letters]
        for one in sent:
            one.wait_for_publish(PATIENCE_S)
        if not all(one.is_published() for one in sent):
            raise OutriderError(f"The broker {link.url} does not acknowledge")
    finally:
        client.disconnect()
        client.loop_stop()
