"""The agent as a process: signals, systemd, the summary, and one way out."""

import gc
import logging
import secrets
from pathlib import Path

from outrider_agent import heap, lock, summary
from outrider_agent.config import Config
from outrider_agent.control.handlers import handlers
from outrider_agent.control.server import Server
from outrider_agent.control.wire import NAME as SOCKET
from outrider_agent.engine.crew import NoneProvenError
from outrider_agent.notify import Notifier
from outrider_agent.signals import Signals
from outrider_agent.summary import Summary, loop_ms
from outrider_agent.supervisor import Agent
from outrider_bundle.errors import OutriderError

TURN_S = 0.5
LEAST_TURN_S = 0.05
LOADING_S = 120.0
"""What each step of the start may take before systemd gives up."""

log = logging.getLogger(__name__)


def run(config: Config, summary_path: Path | None = None) -> int:
    """Run the agent until its input ends or it is told to stop; return 0.

    Raises:
        OutriderError: it could not start, or a pipeline failed; its exit code is the process's.
    """
    notifier = Notifier()
    heap.give_back()
    with lock.held(config.device.state_dir), Signals() as signals:

        def progress(text: str) -> None:
            notifier.extend(LOADING_S)
            notifier.status(text)

        agent = Agent(config, secrets.token_hex(8), signals.wake, progress)
        server = Server(config.device.state_dir / SOCKET, handlers(agent))
        log.info("Run %s of device %s", agent.run, config.device.id)
        server.start()
        error = _live(agent, signals, notifier)
        server.close()
        reason = _reason(signals, error)
        log.info("Stopping: %s", reason)
        notifier.stopping(reason)
        agent.stop(reason, error)
        if summary_path is not None:
            summary.write(summary_path, summarize(agent, error))
    if error is not None:
        raise error
    return 0


def summarize(agent: Agent, error: OutriderError | None) -> Summary:
    """Return what the run came to; call it when the agent has stopped."""
    totals = list(agent.totals().values())
    first = agent.pipelines[0] if agent.pipelines else None
    p50_ms, p99_ms = loop_ms(totals, 0.5, 0.99)
    skipped = error.skipped if isinstance(error, NoneProvenError) else ()
    return Summary(
        run=agent.run,
        frames=sum(t.frames for t in totals),
        dropped=sum(t.dropped for t in totals),
        late=sum(t.late for t in totals),
        no_input=sum(t.no_input for t in totals),
        errors=sum(t.errors for t in totals),
        decisions=sum(t.decisions for t in totals),
        events=agent.events.count,
        telemetry=agent.telemetry_count,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        variant=first.mounted.variant.id if first else "",
        placement=first.placement if first else {},
        exit=error.exit_code if error else 0,
        reconnects=agent.link.counts.reconnects if agent.link else 0,
        skipped=(*(one for p in agent.pipelines for one in p.keeper.crew.skipped), *skipped),
    )


def _live(agent: Agent, signals: Signals, notifier: Notifier) -> OutriderError | None:
    """Start and serve; return what ended it, if that was a fault."""
    try:
        agent.start(lambda: signals.received is not None)
        # What lives now lives long: the collector need not walk through it, now or ever.
        gc.freeze()
        notifier.ready(agent.status())
        _serve(agent, signals, notifier)
    except OutriderError as error:
        return error
    except Exception as error:
        log.exception("The agent failed")
        return OutriderError(f"The agent failed: {error!r}")
    return agent.error


def _serve(agent: Agent, signals: Signals, notifier: Notifier) -> None:
    """Report and feed the watchdog, by the loops' progress only, until there is nothing left to do."""
    turn_s = min(TURN_S, notifier.watchdog_s / 4) if notifier.watchdog_s else TURN_S
    said = ""
    while agent.running and signals.received is None:
        due_s = min(agent.due_s(), agent.watch())
        signals.wait(min(turn_s, max(LEAST_TURN_S, due_s)))
        agent.watch()
        agent.tick()
        if notifier.watchdog_s and agent.progressed():
            notifier.alive()
        status = agent.status()
        if status != said:
            notifier.status(said := status)


def _reason(signals: Signals, error: OutriderError | None) -> str:
    if error is not None:
        return error.what
    return signals.received.name if signals.received else "the input ended"
