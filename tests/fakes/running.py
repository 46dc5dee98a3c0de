"""A real agent at work in this process, heard through a real broker, while a test breaks something.

faulty_bundle(tmp_path, [trigger])
with running(tmp_path) as line:
    tell(trigger, "segfault")
    line.says("DEGRADED", "SIGSEGV")
    tell(trigger, "")
    line.recovers()
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from outrider_agent import config
from outrider_agent.config import Config
from outrider_agent.parts import Part
from outrider_agent.supervisor import Agent
from outrider_bundle.manifest import Scalar
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import PipelineReport, Reported
from outrider_bundle.messages.telemetry import PipelineMetrics, Telemetry
from tests.fakes import agents, null_bundle
from tests.fakes.broker import Broker, Listener
from tests.fakes.keepers import faulty

BELT = "belt"
FPS = 50.0
PATIENCE_S = 30.0
TURN_S, POLL_S = 0.05, 0.01

ENGINE: Mapping[str, Any] = {
    "isolation": "child",
    "deadline_ms": 300.0,
    "hang_ms": 200.0,
    "load_s": 10.0,
    "retry_s": 0.2,
    "retry_max_s": 0.5,
}


class NoOptions(Struct, frozen=True):
    """There are none."""


class Noted:
    """An action that notes what is done with it: `decided` or `safe`, and when."""

    def __init__(self) -> None:
        """Have noted nothing."""
        self.notes: list[tuple[str, float]] = []

    @property
    def safe(self) -> bool:
        """Whether its output is in the safe state now."""
        return bool(self.notes) and self.notes[-1][0] == "safe"

    def apply(self, _decision: Event) -> None:
        """Note it."""
        self.notes.append(("decided", time.monotonic()))

    def safe_state(self) -> None:
        """Note it."""
        self.notes.append(("safe", time.monotonic()))

    def close(self) -> None:
        """Do nothing."""


class Line:
    """The agent, and all that it tells.

    Args:
        agent: it runs.
        listener: on its broker.
    """

    def __init__(self, agent: Agent, listener: Listener) -> None:
        """Hold both."""
        self.agent, self._listener = agent, listener

    @property
    def status(self) -> dict[str, Any]:
        """What `outrider agent status` shows of the pipeline."""
        shown: dict[str, Any] = self.agent.describe()["pipelines"][BELT]
        return shown

    @property
    def reported(self) -> PipelineReport:
        """The last reported state."""
        return self._listener.messages("reported", Reported)[-1].pipelines[BELT]

    @property
    def telemetry(self) -> PipelineMetrics | None:
        """The last telemetry; None before the first."""
        heard = self._listener.messages("telemetry", Telemetry)
        return heard[-1].pipelines[BELT] if heard else None

    def events(self, kind: str, part: str = "") -> list[dict[str, Any]]:
        """Return what events of a kind said so far, of one part if it is named."""
        heard = [event.data for event in self._listener.messages("events", Event) if event.kind == kind]
        return [data for data in heard if not part or data["part"] == part]

    def until(self, true: Callable[[], object], within_s: float = PATIENCE_S) -> None:
        """Wait for it."""
        end_s = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < end_s, f"it did not come to that: {self.status}"
            time.sleep(POLL_S)

    def decides(self, count: int = 5) -> None:
        """Wait for so many more decisions."""
        before = self.agent.totals()[BELT].decisions
        self.until(lambda: self.agent.totals()[BELT].decisions >= before + count)

    def says(self, state: str, *words: str, **fields: object) -> dict[str, Any]:
        """Wait until status and reported state agree, in this state; return the status.

        Args:
            state: of the pipeline.
            words: all of them are in the reason.
            fields: of the report, that have these values.
        """
        seen: list[dict[str, Any]] = []

        def true() -> bool:
            status = self.status
            seen[:] = [status]
            wanted = {"state": state, **fields}
            right = all(status[key] == value for key, value in wanted.items())
            heard = msgspec.to_builtins(self.reported)
            same = all(status[key] == value for key, value in heard.items())
            return right and same and all(word in status["reason"] for word in words)

        self.until(true)
        return seen[0]

    def recovers(self) -> dict[str, Any]:
        """Wait until it decides and is well again, and says so everywhere; return the status."""
        status = self.says("RUNNING", reason="")
        self.decides()
        return status


def document(
    folder: Path, url: str, engine: Mapping[str, Any], pipeline: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a configuration that decides on images for ever; the bundle is `sorter.orb`."""
    null_bundle.write_images(folder / "images", 7)
    changed = {
        "source": {"kind": "images", "path": str(folder / "images"), "fps": FPS, "loop": True},
        "engine": {**ENGINE, **engine},
        "idle_s": 0.1,
        **(pipeline or {}),
    }
    link = {"url": url, "telemetry_interval_s": 0.2, "retry_s": 1.0}
    return agents.document(folder, url, changed, link=link)


def faulty_bundle(folder: Path, triggers: Sequence[Path], **options: Scalar) -> None:
    """Write `sorter.orb`: variants `a`, `b`, ... of the runtime `faulty`, each with its trigger."""
    like = [faulty("abcd"[rank], rank, trigger) for rank, trigger in enumerate(triggers)]
    variants = [replace(variant, options={**variant.options, **options}) for variant in like]
    null_bundle.write(folder / "sorter.orb", variants)


def with_parts(
    written: Config, source: Part | None = None, actions: Mapping[str, object] | None = None
) -> Config:
    """Return the configuration with plug-ins that are built already beside or in place of its own."""
    (pipeline,) = written.pipelines
    more = tuple(part(kind, action) for kind, action in (actions or {}).items())
    changed = replace(pipeline, source=source or pipeline.source, actions=(*pipeline.actions, *more))
    return replace(written, pipelines=(changed,))


def part(kind: str, plugin: object) -> Part:
    """Return `plugin`, which is built already, as a configuration would name it."""

    def ready(*_options: object) -> object:
        return plugin

    return Part(kind=kind, plugin=ready, options=NoOptions())


@contextmanager
def running(
    folder: Path,
    engine: Mapping[str, Any] | None = None,
    pipeline: Mapping[str, Any] | None = None,
    change: Callable[[Config], Config] = lambda written: written,
) -> Iterator[Line]:
    """Run the agent on `sorter.orb` in `folder` until the block ends; it decides when the block begins.

    Args:
        folder: for all its files.
        engine: entries of `[pipelines.engine]` that are other than `ENGINE`.
        pipeline: entries of the pipeline's table that are other.
        change: what else is done to the configuration.
    """
    with Broker(folder / "broker") as broker, Listener(broker.port) as listener:
        path = agents.write(folder / "agent.toml", document(folder, broker.url, engine or {}, pipeline))
        ended, wake = threading.Event(), threading.Event()
        agent = Agent(change(config.read(path)), "0" * 16, wake.set)

        def turn() -> None:
            while not ended.is_set():
                wake.wait(TURN_S)
                wake.clear()
                agent.watch()
                agent.tick()

        thread = threading.Thread(target=turn, name="main-of-agent", daemon=True)
        try:
            agent.start()
            thread.start()
            line = Line(agent, listener)
            line.decides()
            yield line
        finally:
            ended.set()
            if thread.ident is not None:
                thread.join(PATIENCE_S)
            agent.stop("the test ends")
