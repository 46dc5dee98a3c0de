"""One run of the agent as systemd sees it: started, served by the main thread, stopped."""

import gc
import logging
from collections.abc import Callable, Mapping

from msgspec import Struct

from outrider_agent.config import Config
from outrider_agent.control.server import Handler, Server
from outrider_agent.control.wire import NAME as SOCKET
from outrider_agent.crash import CrashError
from outrider_agent.notify import Notifier
from outrider_agent.signals import Signals
from outrider_agent.supervisor import Agent
from outrider_bundle.errors import OutriderError

TURN_S = 0.5
LEAST_TURN_S = 0.05
LOADING_S = 120.0
"""What each step of the start may take before systemd gives up."""

log = logging.getLogger(__name__)


class Post(Struct, frozen=True, kw_only=True):
    """Where the main thread stands: what it hears, and whom it tells."""

    signals: Signals
    notifier: Notifier

    def progress(self, text: str) -> None:
        """Say how far the start is, and ask for time for the next step."""
        self.notifier.extend(LOADING_S)
        self.notifier.status(text)


def serve(
    agent: Agent,
    config: Config,
    handlers: Mapping[str, Handler],
    post: Post,
    turn: Callable[[], bool] = lambda: True,
) -> OutriderError | None:
    """Start `agent`, serve until it ends, a signal comes or `turn` says so, and stop it.

    Args:
        agent: not yet started.
        config: what it was made of.
        handlers: of its control socket.
        post: of this thread.
        turn: called about twice a second once the agent runs; False ends it, and the process goes on.

    Returns:
        What ended it, if that was a fault.
    """
    server = Server(config.device.state_dir / SOCKET, handlers)
    log.info("Run %s of device %s", agent.run, config.device.id)
    server.start()
    error, goes_on = _live(agent, post, turn)
    server.close()
    reason = "resumed" if goes_on else _reason(post.signals, error)
    log.info("Stopping: %s", reason)
    if goes_on:
        post.notifier.status(reason)
    else:
        post.notifier.stopping(reason)
    agent.stop(reason, error)
    return error


def _live(agent: Agent, post: Post, turn: Callable[[], bool]) -> tuple[OutriderError | None, bool]:
    """Start and serve; return what ended it, if that was a fault, and whether `turn` did."""
    try:
        agent.start(lambda: post.signals.received is not None)
        # What lives now lives long: the collector need not walk through it, now or ever.
        gc.freeze()
        post.notifier.ready(agent.status())
        if _turns(agent, post, turn):
            return None, True
    except OutriderError as error:
        return error, False
    except Exception as error:
        log.exception("The agent failed")
        return CrashError(f"The agent failed: {error!r}"), False
    return agent.error, False


def _turns(agent: Agent, post: Post, turn: Callable[[], bool]) -> bool:
    """Report and feed the watchdog, by the loops' progress only, until there is nothing left to do.

    Returns:
        Whether `turn` ended it.
    """
    signals, notifier = post.signals, post.notifier
    turn_s = min(TURN_S, notifier.watchdog_s / 4) if notifier.watchdog_s else TURN_S
    said = ""
    while agent.running and signals.received is None:
        due_s = min(agent.due_s(), agent.watch())
        signals.wait(min(turn_s, max(LEAST_TURN_S, due_s)))
        agent.watch()
        agent.tick()
        if notifier.watchdog_s and agent.progressed():
            notifier.alive()
        if not turn():
            return signals.received is None
        status = agent.status()
        if status != said:
            notifier.status(said := status)
    return False


def _reason(signals: Signals, error: OutriderError | None) -> str:
    if error is not None:
        return error.what
    return signals.received.name if signals.received else "the input ended"
