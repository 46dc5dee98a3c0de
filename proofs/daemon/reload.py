"""What a SIGHUP with a faulty configuration changes of a running agent: nothing.

A real agent decides on two pipelines, acts on a Modbus server and is linked to a real mosquitto. For each of
the faulty files it is told to reload, and once it has refused, everything about it is held against before.
"""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from outrider_agent.control.client import ask
from outrider_bundle.bars import Row
from outrider_bundle.errors import OutriderError
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import Reported
from outrider_bundle.messages.state import State
from proofs.agent.runs import family, say
from proofs.loop import outputs
from proofs.loop.agents import PIPELINE, Agent, document, write
from proofs.loop.registers import ACTIVE, POLL_S, Registers
from tests.fakes import null_bundle
from tests.fakes.broker import Broker, Listener

SECOND = "second"
FPS = 50.0
DECISIONS = 25
"""So many more of each pipeline after a refusal."""
PATIENCE_S = 30.0
GAP_S = 1.0
"""A pipeline that decides 50 times a second and is silent for so long was held up."""

Table = dict[str, Any]


def _pipeline(written: Table, number: int = 0) -> Table:
    table: Table = written["pipelines"][number]
    return table


def _broken(written: Table) -> None:
    path = Path(_pipeline(written)["bundle"]).with_name("broken.orb")
    path.write_bytes(b"no bundle at all")
    _pipeline(written)["bundle"] = path


def _unproven(written: Table) -> None:
    """A sound file that computes something else here than it says; the other pipeline changes as well."""
    path = Path(_pipeline(written)["bundle"]).with_name("wrong.orb")
    null_bundle.write(path, wrong=("null-a", "null-b"), app="proof", hardware=("any",))
    _pipeline(written, 1)["bundle"] = path
    _pipeline(written)["idle_s"] = 0.7


def _strange(written: Table) -> None:
    path = Path(_pipeline(written)["bundle"]).with_name("strange.orb")
    null_bundle.write(path, app="another", hardware=("any",))
    _pipeline(written)["bundle"] = path


FAULTS: Mapping[str, Callable[[Table], object]] = {
    "an unknown key": lambda w: w["device"].update(colour="red"),
    "a missing table": lambda w: w.pop("device"),
    "a value out of its limits": lambda w: _pipeline(w).update(idle_s=-1.0),
    "no pipeline": lambda w: w.update(pipelines=[]),
    "two pipelines of one name": lambda w: _pipeline(w, 1).update(id=PIPELINE),
    "an unknown plug-in": lambda w: _pipeline(w).update(policy={"kind": "oracle"}),
    "a wrong option": lambda w: _pipeline(w)["source"].update(fps="fast"),
    "a folder that is not there": lambda w: _pipeline(w, 1)["source"].update(path="/no/such/folder"),
    "a bundle that is not there": lambda w: _pipeline(w).update(bundle="/no/such.orb"),
    "a broken bundle": _broken,
    "a bundle that does not prove itself": _unproven,
    "a bundle of another app": _strange,
    "nobody to trust": lambda w: w.update(trust={"allow_unsigned": False}),
    "a source that is not there": lambda w: _pipeline(w, 1).update(source="nowhere"),
    "a label that no model has": lambda w: _pipeline(w).update(
        policy={"kind": "rules", "rules": [{"label": "unicorn"}]}
    ),
}
TEXTS: Mapping[str, bytes] = {
    "an empty file": b"",
    "no TOML": b"[device\nid = 1",
    "no text": b"\xff\xfe\x00",
    "too long": b"#" * (2 << 20),
}


def rows() -> tuple[Row, ...]:
    """Try all of them on one agent."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images"
        null_bundle.write_images(images, 8)
        with (
            Broker(folder / "broker") as broker,
            Listener(broker.port) as ears,
            Registers(folder / "server.log") as registers,
            _Eye(registers) as eye,
        ):
            written = _document(folder, images, registers.port, broker.url)
            with Agent(folder, written) as agent:
                bench = _Bench(agent, ears, eye, folder / "state")
                effects = _all(bench, written)
                agent.stop()
    shown = f": {'; '.join(effects)}" if effects else ""
    how = (
        f"{len(FAULTS) + len(TEXTS)} faulty files, a SIGHUP for each to an agent with two pipelines; held "
        f"against before are processes, run, errors and restarts, reported state, phases and faults told, "
        f"births of the link, and every value of a Modbus register, read about every {1000 * POLL_S:g} ms; "
        f"each pipeline decides {DECISIONS} times more without a gap of {GAP_S:g} s{shown}"
    )
    return (Row(id="reload.bad", value=len(effects), sense="==", limit=0, unit="effects", how=how),)


def _document(folder: Path, images: Path, port: int, url: str) -> Table:
    null_bundle.write(folder / "proof.orb", app="proof", hardware=("any",))
    first = outputs.pipeline(folder / "proof.orb", images, port, FPS)
    second = {**first, "id": SECOND, "actions": [{"kind": "log"}]}
    link = {"url": url, "telemetry_interval_s": 5.0}
    return document(folder, [first, second], link=link)


def _all(bench: "_Bench", written: Table) -> list[str]:
    """Return the effects of all faults, by what was wrong with the file."""
    bench.decides()
    effects: list[str] = []
    for what, change in FAULTS.items():
        changed = deepcopy(written)
        change(changed)
        effects += bench.effects(what, lambda changed=changed: write(bench.agent.config, changed))
    for what, text in TEXTS.items():
        effects += bench.effects(what, lambda text=text: bench.agent.config.write_bytes(text))
    return effects


class _Eye:
    """Looks at the output all the time, in a thread of its own."""

    def __init__(self, registers: Registers) -> None:
        self._registers, self._over = registers, threading.Event()
        self.values: set[int] = set()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(POLL_S):
            self.values.add(self._registers.read())


class _Bench:
    """The agent and all that can be seen of it."""

    def __init__(self, agent: Agent, ears: Listener, eye: _Eye, state_dir: Path) -> None:
        self.agent, self._ears, self._eye = agent, ears, eye
        self._state_dir = state_dir

    def effects(self, what: str, put: Callable[[], object]) -> list[str]:
        """Have the file replaced and read; return what is other than before, but for time and counters."""
        say(what)
        self._until(lambda: self._eye.values)
        refused, before = self._refused(), self._seen()
        put()
        os.kill(self.agent.pid, signal.SIGHUP)
        self._until(lambda: self._refused() > refused)
        found = [] if self._decides_on() else [f"{what}: decisions stopped"]
        after = self._seen()
        found += [
            f"{what}: {key} was {before[key]}, is {after[key]}" for key in after if after[key] != before[key]
        ]
        if "reload refused" not in str(self._status().get("reason")):
            found.append(f"{what}: the status does not say it")
        return found

    def decides(self) -> None:
        """Wait until it decides and acts."""
        self.agent.until(lambda status: status.get("frames"), PIPELINE)
        self.agent.until(lambda status: status.get("frames"), SECOND)
        self._until(lambda: ACTIVE in self._eye.values)
        self._until(self._runs)
        self._eye.values.clear()

    def _runs(self) -> bool:
        """Whether both pipelines are reported at work."""
        told = self._ears.messages("reported", Reported)[-1].pipelines
        return [one.state for one in told.values()] == ["RUNNING", "RUNNING"]

    def _seen(self) -> dict[str, object]:
        status = self._status()
        return {
            "processes": sorted(family(self.agent.pid)),
            "run": status["run"],
            "link": status["link"],
            "births": len(self._ears.messages("state", State)),
            "reported": self._ears.messages("reported", Reported)[-1],
            "output": sorted(self._eye.values),
            "errors": {name: (one["errors"], one["restarts"]) for name, one in status["pipelines"].items()},
            "faults": [
                e.data for e in self._events() if e.kind == "fault" and e.data.get("part") != "reload"
            ],
            "phases": [e.data for e in self._events() if e.kind == "phase"],
        }

    def _decides_on(self) -> bool:
        """Whether both pipelines decide on, as evenly as before."""
        for name in (PIPELINE, SECOND):
            count = len(self._decisions(name))
            self._until(lambda name=name, count=count: len(self._decisions(name)) >= count + DECISIONS)
            times = [event.time for event in self._decisions(name)]
            if max(b - a for a, b in pairwise(times)) > GAP_S:
                return False
        return True

    def _status(self) -> Table:
        return ask(self._state_dir, {"command": "status"})

    def _events(self) -> list[Event]:
        return list(self._ears.messages("events", Event))

    def _decisions(self, pipeline: str) -> list[Event]:
        return [e for e in self._events() if e.kind == "decision" and e.pipeline == pipeline]

    def _refused(self) -> int:
        return sum(e.data.get("part") == "reload" for e in self._events())

    def _until(self, true: Callable[[], object]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not true():
            if time.monotonic() > end_s:
                raise OutriderError("it did not come to that", self.agent.log.read_text()[-2000:])
            time.sleep(0.05)
