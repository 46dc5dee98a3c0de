"""Safe mode: outputs made safe, then a link and a control socket until somebody lets the loop run again."""

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from outrider_agent import config, safing
from outrider_agent.config import Config
from outrider_agent.control.server import Handler, Reply
from outrider_agent.events import AGENT
from outrider_agent.notify import Notifier
from outrider_agent.serving import Post, serve
from outrider_agent.supervisor import MAX_REASON, Agent
from outrider_bundle.errors import OutriderError, UsageError

CURE = "'outrider agent resume' lets it, and so does another configuration or bundle"

log = logging.getLogger(__name__)


class Rest:
    """The time in safe mode.

    Args:
        settings: what would run.
        path: of its file; None if it has none.
        reason: why it does not run.
        post: of the main thread.
    """

    def __init__(self, settings: Config, path: Path | None, reason: str, post: Post) -> None:
        """Prepare an agent without a loop."""
        self._settings, self._path, self._reason, self._post = settings, path, reason, post
        self._agent = Agent(settings, secrets.token_hex(8), post.signals.wake, post.progress, reason)
        self._resumed = threading.Event()

    def run(self) -> Config | None:
        """Return what to run when somebody asks for that; None to end.

        Raises:
            OutriderError: even this does not work.
        """
        log.error("Safe mode, the loop does not run: %s. %s", self._reason, CURE)
        self._post.progress("safe mode: outputs are made safe")
        for made in safing.make_own_safe(self._settings):
            if made.reason:
                log.error("The output %s of %s is not safe: %s", made.action, made.pipeline, made.reason)
        error = serve(self._agent, self._settings, self._handlers(), self._post, self._turn)
        if error is not None:
            raise error
        return self._settings if self._resumed.is_set() else None

    def _turn(self) -> bool:
        if self._post.signals.reload():
            self._reload()
        return not self._resumed.is_set()

    def _reload(self) -> None:
        """Read the configuration again; a good one is worth another try."""
        if self._path is None:
            return
        try:
            self._settings = self._read(self._path)
        except OutriderError as error:
            log.error("The configuration is not taken: %s", error)  # noqa: TRY400 - it says all itself
            self._agent.note = f"reload refused: {error.what}"[:MAX_REASON]
            fault = {"part": "reload", "state": "refused", "reason": str(error)[:MAX_REASON]}
            self._agent.events.emit(AGENT, "fault", fault)
        else:
            self._resumed.set()

    def _read(self, path: Path) -> Config:
        settings = config.read(path)
        if settings.device.state_dir != self._settings.device.state_dir:
            raise UsageError("device.state_dir is another one", "Restart the agent for that")
        return settings

    def _handlers(self) -> Mapping[str, Handler]:
        def status(_request: dict[str, Any], _reply: Reply) -> dict[str, Any]:
            return self._agent.describe()

        def resume(_request: dict[str, Any], _reply: Reply) -> dict[str, Any]:
            log.warning("Safe mode ends: somebody lets the loop run again")
            self._resumed.set()
            self._post.signals.wake()
            return {"resumed": True}

        return {"status": status, "resume": resume} | dict.fromkeys(
            ("swap", "snapshot", "record", "reload"), _refused
        )


def _refused(_request: dict[str, Any], _reply: Reply) -> dict[str, Any]:
    raise OutriderError("The agent is in safe mode, and its loop does not run", "Run 'outrider agent resume'")


def feeding(notifier: Notifier, limit_s: float) -> Callable[[], None]:
    """Feed the watchdog from another thread while models are loaded; return what ends that.

    After READY systemd knows no EXTEND_TIMEOUT, so a start behind safe mode is fed so, up to `limit_s`.
    """
    over, period_s = threading.Event(), notifier.watchdog_s / 4

    def feed() -> None:
        for _ in range(int(limit_s / period_s)):
            notifier.alive()
            if over.wait(period_s):
                return

    if period_s > 0:
        threading.Thread(target=feed, name="loading", daemon=True).start()
    return over.set
