"""A reload: everything is found, admitted, loaded and proven beside what runs; only then it is switched.

Whatever fails before leaves the agent as it was, and is said with all other faults at once.
"""

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from outrider_agent.engine.order import Progress
from outrider_agent.events import AGENT
from outrider_agent.supervisor import MAX_REASON, Agent
from outrider_bundle import settings
from outrider_bundle.errors import OutriderError, UsageError

if TYPE_CHECKING:
    from outrider_agent.admission import Admitted
    from outrider_agent.assembly import Assembly

CURE = "Nothing was changed; correct it and reload again"

log = logging.getLogger(__name__)


class Reloaded(Struct, frozen=True, kw_only=True):
    """What a reload came to: pipelines by what became of them, and what `restart` is needed for."""

    kept: tuple[str, ...]
    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    restart: tuple[str, ...]


class Reloader:
    """Reloads one agent; any thread may ask, one is served at a time.

    Args:
        agent: it runs.
        path: of its configuration; None if it was made without a file.
    """

    def __init__(self, agent: Agent, path: Path | None) -> None:
        """Do nothing yet."""
        self._agent, self._path = agent, path
        self._one, self._asked = threading.Lock(), threading.Event()

    def begin(self) -> None:
        """Reload in another thread; what is asked for while that works is done after it."""
        self._asked.set()
        threading.Thread(target=self._work, name="reload", daemon=True).start()

    def command(self, progress: Progress) -> dict[str, Any]:
        """Reload for a peer of the control socket.

        Raises:
            OutriderError: see `reload`.
        """
        done: dict[str, Any] = msgspec.to_builtins(self.reload(progress))
        return done

    def reload(self, progress: Progress = lambda _: None) -> Reloaded:
        """Read the configuration and let the agent run it.

        Raises:
            OutriderError: it has faults, or something in it cannot be had; the agent runs on as before.
        """
        with self._one:
            self._asked.clear()
            try:
                done = self._reload(progress)
            except OutriderError as error:
                self._refuse(error)
                raise
            except Exception as error:
                log.exception("The reload failed")
                fault = OutriderError(f"The reload failed: {error!r}")
                self._refuse(fault)
                raise fault from error
            self._agent.note = f"needs a restart: {', '.join(done.restart)}" if done.restart else ""
            log.info("Reloaded: %s", msgspec.json.encode(done).decode())
            self._agent.events.emit(AGENT, "phase", {"state": "RELOADED", **msgspec.to_builtins(done)})
            return done

    def _work(self) -> None:
        if self._asked.is_set():
            try:
                self.reload()
            except OutriderError:
                return  # it is said already

    def _refuse(self, error: OutriderError) -> None:
        """Say why nothing was changed, wherever somebody may look."""
        log.error("The reload is refused: %s", error)
        self._agent.note = f"reload refused: {error.what}"[:MAX_REASON]
        fault = {"part": "reload", "state": "refused", "reason": str(error)[:MAX_REASON]}
        self._agent.events.emit(AGENT, "fault", {**fault, "exit": error.exit_code})
        self._agent.poke()

    def _reload(self, progress: Progress) -> Reloaded:
        from outrider_agent import config  # noqa: PLC0415 - most agents never reload
        from outrider_agent.checking import check  # noqa: PLC0415
        from outrider_agent.reload import difference  # noqa: PLC0415

        if self._path is None:
            raise UsageError("The agent was made without a configuration file")
        progress(f"checking {self._path.name}")
        _refuse_if(str(self._path), [*check.check(self._path).faults])
        running, wanted = self._agent.config, config.read(self._path)
        _refuse_if(str(self._path), difference.contradictions(running, wanted))
        assembly = self._agent.beside(difference.effective(running, wanted), progress)
        try:
            kept = _fill(assembly, running.trust != wanted.trust)
            progress("switching")
            self._agent.switch(assembly)
        except BaseException:
            assembly.discard()
            raise
        before, after = ([one.table.id for one in tables.pipelines] for tables in (running, assembly.config))
        return Reloaded(
            kept=tuple(kept),
            changed=tuple(name for name in after if name in before and name not in kept),
            added=tuple(name for name in after if name not in before),
            removed=tuple(name for name in before if name not in after),
            restart=difference.restarts(running, wanted),
        )


def _fill(assembly: "Assembly", distrust: bool) -> list[str]:  # noqa: FBT001 - private
    """Admit all bundles, then keep or build each pipeline; return which were kept.

    Raises:
        OutriderError: some bundles are not admitted, or something cannot be built.
    """
    admitted: dict[str, tuple[Admitted, ...]] = {}
    faults: list[str] = []
    for config in assembly.config.pipelines:
        try:
            admitted[config.table.id] = assembly.admit(config)
        except OutriderError as error:
            faults.append(f"{config.table.id}: {error}")
    _refuse_if("The configuration", faults)
    kept: list[str] = []
    for config in assembly.config.pipelines:
        bundles = admitted[config.table.id]
        place = None if distrust else assembly.same(config, bundles)
        if place is None:
            assembly.build(config, bundles)
        else:
            assembly.keep(place)
            kept.append(config.table.id)
    return kept


def _refuse_if(what: str, faults: list[str]) -> None:
    if faults:
        raise UsageError(settings.summary(what, faults), CURE)
