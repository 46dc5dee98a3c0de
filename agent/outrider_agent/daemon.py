"""The agent as a process: one instance, crashes counted, the summary, and one way out."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from outrider_agent import heap, lock, records, summary
from outrider_agent.config import Config
from outrider_agent.control.handlers import handlers
from outrider_agent.crash import CrashError
from outrider_agent.engine.crew import NoneProvenError
from outrider_agent.notify import Notifier
from outrider_agent.reload.reloader import Reloader
from outrider_agent.safemode.crashes import Crashes, fingerprint
from outrider_agent.serving import LOADING_S, Post, serve
from outrider_agent.signals import Signals
from outrider_agent.summary import Summary, loop_ms
from outrider_agent.supervisor import Agent
from outrider_bundle.errors import OutriderError


def run(
    config: Config, summary_path: Path | None = None, path: Path | None = None, *, resume: bool = False
) -> int:
    """Run the agent until its input ends or it is told to stop; return 0.

    Args:
        config: what to run.
        summary_path: where to write what the run came to.
        path: of the configuration file, to read it again; None if there is none.
        resume: run even if the last starts crashed.

    Raises:
        OutriderError: it could not start, or a pipeline failed; its exit code is the process's.
    """
    heap.give_back()
    with lock.held(config.device.state_dir), lock.alone(config), Signals() as signals:
        post = Post(signals=signals, notifier=Notifier())
        crashes = Crashes(config.device.state_dir, config.safe_mode.crashes)
        crashes.see(fingerprint(config, path))
        if resume:
            crashes.forget()
        loaded: Callable[[], None] = _nothing
        if crashes.reason:
            from outrider_agent.safemode.resting import Rest, feeding  # noqa: PLC0415 - for a start in a thousand

            after = Rest(config, path, crashes.reason, post).run()
            if after is None:
                return 0
            config = after
            crashes.see(fingerprint(config, path))
            crashes.forget()
            loaded = feeding(post.notifier, LOADING_S * len(config.pipelines))
        return _Run(config, path, post, crashes).run(summary_path, loaded)


class _Run:
    """A run with its loop."""

    def __init__(self, config: Config, path: Path | None, post: Post, crashes: Crashes) -> None:
        self._config, self._post, self._crashes = config, post, crashes
        self._run = secrets.token_hex(8)
        records.tell_run(self._run)
        self._agent = Agent(config, self._run, post.signals.wake, post.progress)
        self._reloader = Reloader(self._agent, path)
        self._stable_s: float | None = None
        self._loaded: Callable[[], None] = _nothing

    def run(self, summary_path: Path | None, loaded: Callable[[], None]) -> int:
        """Serve until the end, call `loaded` after the start; return 0.

        Raises:
            OutriderError: what ended it.
        """
        self._crashes.begin()
        agent, self._loaded = self._agent, loaded
        error = serve(agent, self._config, handlers(agent, self._reloader.command), self._post, self._turn)
        loaded()
        if error is None:
            self._crashes.forget()
        elif not isinstance(error, CrashError):
            self._crashes.excuse()
        if summary_path is not None:
            summary.write(summary_path, summarize(agent, error))
        if error is not None:
            raise error
        return 0

    def _turn(self) -> bool:
        if self._stable_s is None:
            self._loaded()
            self._stable_s = time.monotonic() + self._config.safe_mode.stable_s
        if time.monotonic() >= self._stable_s:
            self._crashes.forget()
        if self._post.signals.reload():
            self._reloader.begin()
        return True


def _nothing() -> None:
    """Do nothing."""


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
