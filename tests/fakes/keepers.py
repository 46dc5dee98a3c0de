"""Keepers over real bundles of the runtimes `faulty` and `null`, and loops that run on what they seat."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from msgspec.structs import replace

from outrider_agent.admission import Admitted, admit
from outrider_agent.config import Device, Engine, Trust
from outrider_agent.engine.crew import Crew
from outrider_agent.engine.keeper import Keeper, News
from outrider_agent.events import Kind
from outrider_agent.loop import Limits, Loop, Stages
from outrider_agent.mailbox import Mailbox
from outrider_agent.perceiver import Perceiver
from outrider_agent.policies.rules import Rule, RulesOptions, RulesPolicy
from outrider_agent.seams import Frame
from outrider_bundle.manifest import (
    ClassificationDecoder,
    ImagePreprocess,
    Input,
    Output,
    Scalar,
    Tensor,
    Variant,
)
from outrider_bundle.messages.event import Event
from outrider_bundle.writer import write_bundle
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import expected_outputs
from outrider_runtime.session import Array
from tests.fakes import children as processes
from tests.fakes import null_bundle
from tests.fakes.children import eventually, living

TABLE = Engine(
    isolation="child", deadline_ms=1000.0, hang_ms=500.0, load_s=60.0, retry_s=0.2, retry_max_s=1.0
)
INLINE = replace(TABLE, isolation="inline")
SMALL_LABELS = ("cap", "coat", "glove", "sock", "belt")
PATIENCE_S = 60.0
"""A load beside another model is at idle priority: it may take long on a busy machine."""


def faulty(
    name: str, rank: int, trigger: Path | str = "", runtime: str = "faulty", **more: Scalar
) -> Variant:
    """Return a variant of the runtime `faulty`, which fails as the file `trigger` says."""
    options = {**null_bundle.OPTIONS, "trigger": str(trigger), **more}
    return replace(null_bundle.variant(name, rank, runtime), options=options)


def admitted(path: Path, table: Engine = TABLE, app: str = "sorting") -> Admitted:
    """Let the bundle at `path` in, unsigned; its slots are kept beside it."""
    device = Device(id="line-1", fleet="plant", app=app, hardware="bench", state_dir=path.parent)
    return admit(path, device, Trust(allow_unsigned=True), table)


def bundle(
    folder: Path, *variants: Variant, table: Engine = TABLE, version: str = "1.2.0", wrong: Sequence[str] = ()
) -> Admitted:
    """Return a bundle of 8x8 images and the labels of `null_bundle`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{version}.orb"
    null_bundle.write(path, variants, wrong, version=version)
    return admitted(path, table)


def small(folder: Path, version: str = "2.0.0") -> Admitted:
    """Return a bundle with another input shape (4x4), other labels (five) and the runtime `null`."""
    given = {**null_bundle.OPTIONS, "input": "1,1,4,4", "output": "1,5"}
    like = null_bundle.variant("null-small", 0)
    variant = replace(
        like,
        inputs=(replace(like.inputs[0], shape=(1, 1, 4, 4)),),
        outputs=(Tensor(name="output", shape=(1, 5), dtype="float32"),),
        options=given,
    )
    shrink = ImagePreprocess(color="gray", interpolation="nearest")
    manifest = replace(
        null_bundle.manifest((variant,)),
        name="small",
        version=version,
        inputs=(Input(name="image", shape=(1, 1, 4, 4), layout="NCHW", preprocess=shrink),),
        outputs=(
            Output(
                name="scores",
                shape=(1, 5),
                decoder=ClassificationDecoder(labels=SMALL_LABELS, activation="none"),
            ),
        ),
    )
    model_file = folder / "small.model"
    model_file.write_bytes(b"nothing to see here")
    answers = expected_outputs(Model.open(manifest, variant, {"model": model_file}), null_bundle.SAMPLES)
    blobs = {"golden": null_bundle.SAMPLES.tobytes(), "model": model_file.read_bytes()}
    path = folder / f"small-{version}.orb"
    write_bundle(path, manifest, {**blobs, "expected-null-small": answers})
    return admitted(path)


def small_label_of(image: Array) -> str:
    """Return what that bundle sees in an 8x8 image."""
    return SMALL_LABELS[int(image[::2, ::2].sum()) % len(SMALL_LABELS)]


class Heard:
    """What a keeper has told."""

    def __init__(self) -> None:
        """Have heard nothing."""
        self.news: list[tuple[News, str]] = []

    def __call__(self, news: News, why: str) -> None:
        """Hear."""
        self.news.append((news, why))

    def count(self, news: News) -> int:
        """Return how often that was told."""
        return sum(one == news for one, _ in self.news)


@contextmanager
def kept(
    model: Admitted, table: Engine = TABLE, tell: Callable[[News, str], None] | None = None
) -> Iterator[Keeper]:
    """Open and start a keeper; it is stopped at the end."""
    keeper = Keeper("belt", Crew(model, table), table, model.slot.path.parent, tell or Heard())
    try:
        keeper.open()
        keeper.start()
        yield keeper
    finally:
        keeper.stop()


def seated(keeper: Keeper) -> str:
    """Return the id of the variant that is seated; empty if none is."""
    mounted = keeper.seat.mounted
    return mounted.variant.id if mounted else ""


def pid(keeper: Keeper) -> int:
    """Return the process of the seated model; 0 if there is none."""
    mounted = keeper.seat.mounted
    return mounted.engine.pid if mounted else 0


def children() -> set[int]:
    """Return the pids of this process's children, though its threads come and go meanwhile."""
    while True:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return processes.children()


def kill_loading(keeper: Keeper) -> None:
    """Kill the engine that is being loaded; the wait for it is over at once, without any deadline."""

    def loading() -> set[int]:
        return {child for child in children() - {pid(keeper)} if living(child)}

    assert eventually(lambda: bool(loading()))
    for child in loading():
        os.kill(child, signal.SIGKILL)


class Belt:
    """A loop that runs on a seat, and one frame after the other for it; decisions are kept by frame."""

    def __init__(self, keeper: Keeper) -> None:
        """Build the loop."""
        table = keeper.table
        self.mailbox = Mailbox()
        self.events: list[Event] = []
        self.decided: dict[str, str] = {}
        self.images: dict[str, Array] = {}
        self._count = 0
        self._random = np.random.default_rng(3)
        stages = Stages(
            mailbox=self.mailbox,
            perceiver=Perceiver(keeper.seat, table.deadline_ms / 1000.0, table.failures),
            policy=RulesPolicy(RulesOptions(rules=(Rule(),))),
            actions={},
        )
        self.loop = Loop("belt", stages, Limits(idle_s=0.05, stale_s=30.0), self._emit)
        self._thread = threading.Thread(target=self.loop.run, daemon=True)

    @property
    def failed(self) -> int:
        """How many frames were taken and not decided on."""
        return self.loop.meters.errors + self.loop.meters.late

    def __enter__(self) -> Self:
        """Start the loop."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.loop.end()
        self.mailbox.close()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def feed(self, within_s: float = PATIENCE_S) -> bool:
        """Put a frame; return whether it was decided on, when it has been taken through the loop."""
        name = f"f{self._count}"
        self._count += 1
        self.images[name] = self._random.integers(0, 256, (8, 8), np.uint8)
        before = self.loop.ticks, self.loop.meters.frames
        self.mailbox.put(Frame(id=name, time_s=time.monotonic(), array=self.images[name], seq=self._count))
        end_s = time.monotonic() + within_s
        while self.loop.meters.frames == before[1] or self.loop.ticks == before[0]:
            if time.monotonic() > end_s:
                raise TimeoutError(f"the loop has not taken {name}")
            time.sleep(0.0002)
        return eventually(lambda: name in self.decided, 0.0)

    def decides(self, within_s: float = PATIENCE_S) -> bool:
        """Feed until a frame is decided on."""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            if self.feed():
                return True
        return False

    def seen(self, label_of: Callable[[Array], str]) -> Sequence[str]:
        """Return the frames that were decided as `label_of` says."""
        return [name for name, label in self.decided.items() if label == label_of(self.images[name])]

    def _emit(self, kind: Kind, data: dict[str, Any], frame: str = "") -> Event:
        number = len(self.events)
        event = Event(run="0" * 16, seq=number, time=0.0, pipeline="belt", kind=kind, frame=frame, data=data)
        self.events.append(event)
        if kind == "decision":
            self.decided[frame] = data["label"]
        return event
