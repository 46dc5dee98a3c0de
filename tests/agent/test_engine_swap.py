"""Swaps under a running loop: what is decided on which frame, and what stays when one fails."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider_agent import config
from outrider_agent.admission import Admitted
from outrider_agent.config import Trust
from outrider_agent.engine.keeper import Keeper
from outrider_agent.engine.order import Mode, Order, Swapped, Wish
from outrider_agent.engine.swap import swap
from outrider_agent.supervisor import Agent
from outrider_bundle import signing
from outrider_bundle.errors import (
    BundleError,
    EngineError,
    IncompatibleError,
    OutriderError,
    ProofError,
    SignatureError,
    UsageError,
)
from tests.fakes import agents, faulty_runtime, keepers, null_bundle
from tests.fakes.children import eventually, living
from tests.fakes.faulty_runtime import tell
from tests.fakes.keepers import (
    INLINE,
    PATIENCE_S,
    TABLE,
    Belt,
    Heard,
    children,
    kept,
    kill_loading,
    pid,
    seated,
)
from tests.fakes.provable import write_provable


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty_runtime.use(monkeypatch, tmp_path / "site")


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    """Check that no engine is left behind."""
    before = children()
    yield
    assert soon(lambda: not {pid for pid in children() - before if living(pid)})


@pytest.fixture
def trigger(tmp_path: Path) -> Path:
    return tmp_path / "trigger"


@pytest.fixture
def old(tmp_path: Path) -> Admitted:
    return keepers.bundle(tmp_path / "old", keepers.faulty("old", 0))


@pytest.fixture
def new(tmp_path: Path, trigger: Path) -> Admitted:
    """Return a bundle that answers as the old one does, and fails by `trigger`."""
    return keepers.bundle(tmp_path / "new", keepers.faulty("new", 0, trigger), version="1.3.0")


def soon(condition: Callable[[], object]) -> bool:
    return eventually(lambda: bool(condition()), PATIENCE_S)


class Asked:
    """A swap in a thread of its own, as the control socket does it."""

    def __init__(self, keeper: Keeper, admitted: Admitted, **wish: object) -> None:
        self.said: list[str] = []
        self.done: Swapped | None = None
        self.fault: OutriderError | None = None
        order = Order(admitted=admitted, wish=replace(Wish(), **wish), progress=self.said.append)
        self._thread = threading.Thread(target=self._swap, args=(keeper, order))
        self._thread.start()

    def _swap(self, keeper: Keeper, order: Order) -> None:
        try:
            self.done = swap(keeper, order)
        except OutriderError as error:
            self.fault = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def end(self, belt: Belt | None = None) -> Swapped:
        """Feed until it has ended; return what it did."""
        self.wait(belt)
        if self.fault is not None:
            raise self.fault
        assert self.done is not None
        return self.done

    def wait(self, belt: Belt | None = None) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while self.running and time.monotonic() < end_s:
            if belt is None:
                self._thread.join(0.05)
            else:
                belt.feed()
        assert not self.running


def switched(belt: Belt) -> None:
    """Check that every frame was decided, first as the old model and then as the new one sees them."""
    assert belt.failed == 0
    assert belt.decided.keys() == belt.images.keys()
    known = [belt.decided[name] in null_bundle.LABELS for name in belt.images]
    news = [belt.decided[n] == keepers.small_label_of(belt.images[n]) for n in belt.images]
    olds = [belt.decided[n] == null_bundle.label_of(belt.images[n]) for n in belt.images]
    first = next(at for at, right in enumerate(olds) if not right)
    assert all(olds[:first])
    assert all(news[first:])
    assert not all(known)


@pytest.mark.parametrize("isolation", ["child", "inline"])
def test_an_overlap_to_another_shape_other_labels_and_another_runtime_loses_no_frame(
    tmp_path: Path, old: Admitted, isolation: str
) -> None:
    heard = Heard()
    table = TABLE if isolation == "child" else INLINE
    with kept(old, table, heard) as keeper, Belt(keeper) as belt:
        before = keeper.seat.mounted
        asked = Asked(keeper, keepers.small(tmp_path))
        done = asked.end(belt)
        for _ in range(50):
            belt.feed()
        switched(belt)
        assert before is not None
        if isolation == "child":
            assert not living(before.engine.pid)
        assert (done.before, done.after, done.variant) == ("sorter 1.2.0", "small 2.0.0", "null-small")
        assert (done.mode, done.shadow, done.note) == ("overlap", None, "")
        assert keeper.crew.admitted.manifest.name == "small"
        assert (keeper.reason, keeper.restarts) == ("", 0)
    assert [news for news, _ in heard.news] == ["loaded", "loaded"]
    assert asked.said == ["proving null-small", "seating null-small"]


def test_swaps_forth_and_back_lose_no_frame_and_keep_nothing(tmp_path: Path, old: Admitted) -> None:
    small = keepers.small(tmp_path)
    with kept(old) as keeper, Belt(keeper) as belt:
        for number in range(6):
            Asked(keeper, old if number % 2 else small).end(belt)
            assert belt.feed()
            assert len([child for child in children() if living(child)]) == 1
        assert belt.failed == 0
        assert belt.decided.keys() == belt.images.keys()


def test_to_real_runtimes(tmp_path: Path, old: Admitted) -> None:
    path = tmp_path / "tiny.orb"
    write_provable(path)
    tiny = keepers.admitted(path, app="sorter")
    with kept(old) as keeper, Belt(keeper) as belt:
        assert Asked(keeper, tiny).end(belt).variant == "onnx-float32"
        assert belt.feed()
        assert set(belt.decided.values()) & {"a", "b", "c"}
        assert belt.failed == 0


def test_a_replacement_ends_the_old_model_first(tmp_path: Path, old: Admitted) -> None:
    heard = Heard()
    with kept(old, tell=heard) as keeper, Belt(keeper) as belt:
        belt.feed()
        asked = Asked(keeper, keepers.small(tmp_path), mode="replace", frames=5)
        done = asked.end()
        assert belt.decides()
        assert (done.mode, done.shadow) == ("replace", None)
        assert "shadow" in done.note
        assert seated(keeper) == "null-small"
    assert [news for news, _ in heard.news] == ["loaded", "vacated", "loaded"]
    assert asked.said == ["ending the old model", "proving null-small"]


def test_the_shadow_is_kept_and_decides_nothing(old: Admitted, new: Admitted) -> None:
    with kept(old) as keeper, Belt(keeper) as belt:
        asked = Asked(keeper, new, frames=30, share=0.5, agreement=0.95)
        assert soon(lambda: keeper.seat.shadow is not None)
        done = asked.end(belt)
        shadow = done.shadow
        assert shadow is not None
        assert (shadow.frames, shadow.agreement, shadow.errors) == (30, 1.0, 0)
        assert 0.0 < shadow.p50_ms <= shadow.p95_ms < 1000.0
        assert keeper.seat.shadow is None
        assert seated(keeper) == "new"
        assert belt.failed == 0
        assert len(belt.seen(null_bundle.label_of)) == len(belt.images)
        assert "shadowing new on 50% of the frames" in asked.said


def test_too_little_agreement_leaves_the_old_one(tmp_path: Path, old: Admitted) -> None:
    with kept(old) as keeper, Belt(keeper) as belt:
        asked = Asked(keeper, keepers.small(tmp_path), frames=30, agreement=0.9)
        with pytest.raises(ProofError, match=r"agrees on .* asked for were 90.0%"):
            asked.end(belt)
        _unchanged(keeper, belt)


def test_one_that_dies_in_the_shadow_leaves_the_old_one(old: Admitted, new: Admitted, trigger: Path) -> None:
    with kept(old) as keeper, Belt(keeper) as belt:
        asked = Asked(keeper, new, frames=1000)
        assert soon(lambda: keeper.seat.shadow is not None)
        belt.feed()
        tell(trigger, "segfault")
        with pytest.raises(EngineError, match=r"failed in the shadow: .*SIGSEGV"):
            asked.end(belt)
        _unchanged(keeper, belt)


@pytest.mark.parametrize("fault", ["refuse", "nan", "raise"])
def test_one_that_only_fails_in_the_shadow_is_not_seated_though_no_agreement_was_asked_for(
    old: Admitted, new: Admitted, trigger: Path, fault: str
) -> None:
    with kept(old) as keeper, Belt(keeper) as belt:
        asked = Asked(keeper, new, frames=20)
        assert soon(lambda: keeper.seat.shadow is not None)
        tell(trigger, fault)
        with pytest.raises(EngineError, match=r"was late \d+ times, and answered 0; the last time: ."):
            asked.end(belt)
        _unchanged(keeper, belt)


@pytest.mark.parametrize("fault", ["hang", "hang-gil"])
def test_one_that_hangs_in_the_shadow_makes_no_frame_late(
    old: Admitted, new: Admitted, trigger: Path, fault: str
) -> None:
    with kept(old) as keeper, Belt(keeper) as belt:
        asked = Asked(keeper, new, frames=1000)
        assert soon(lambda: keeper.seat.shadow is not None)
        tell(trigger, fault)
        with pytest.raises(EngineError, match="failed in the shadow: The engine hangs"):
            asked.end(belt)
        _unchanged(keeper, belt)
        _, slowest_ns = belt.loop.meters.stages["loop"].quantiles(0.5, 1.0)
        assert slowest_ns < 0.4e9


def test_without_input_the_old_one_stays(old: Admitted, new: Admitted) -> None:
    with kept(old) as keeper, Belt(keeper) as belt:
        with pytest.raises(EngineError, match=r"saw 0 of 5 frames in 0\.3 s"):
            Asked(keeper, new, frames=5, patience_s=0.3).end()
        _unchanged(keeper, belt)


@pytest.mark.parametrize(
    ("fault", "why"),
    [("load-refuse", "refuses the model"), ("load-segfault", "SIGSEGV"), ("wrong", "differs by")],
)
@pytest.mark.parametrize("mode", ["overlap", "replace"])
def test_one_that_does_not_prove_itself_leaves_the_old_one(
    old: Admitted, new: Admitted, trigger: Path, fault: str, why: str, mode: Mode
) -> None:
    tell(trigger, fault)
    with kept(old) as keeper, Belt(keeper) as belt:
        with pytest.raises(ProofError, match=f"No variant of sorter 1.3.0 can be run here .*{why}"):
            Asked(keeper, new, mode=mode).end(belt if mode == "overlap" else None)
        if mode == "replace":
            assert belt.decides()
            assert (seated(keeper), keeper.reason) == ("old", "")
        else:
            _unchanged(keeper, belt)
        assert Asked(keeper, old).end(belt).after == "sorter 1.2.0"  # another can be asked for


def test_an_old_one_that_cannot_be_restored_is_tried_again(
    tmp_path: Path, new: Admitted, trigger: Path
) -> None:
    own = tmp_path / "own"
    old = keepers.bundle(tmp_path / "old", keepers.faulty("old", 0, own))
    with kept(old) as keeper, Belt(keeper) as belt:
        for path in (trigger, own):
            tell(path, "load-refuse")
        with pytest.raises(ProofError):
            Asked(keeper, new, mode="replace").end()
        assert "refuses the model" in keeper.reason
        tell(own, "")
        assert belt.decides()
        assert (seated(keeper), keeper.reason) == ("old", "")


def test_two_at_once_are_refused(old: Admitted, new: Admitted) -> None:
    with kept(old) as keeper, Belt(keeper) as belt:
        asked = Asked(keeper, new, frames=10)
        assert soon(lambda: keeper.seat.shadow is not None)
        with pytest.raises(OutriderError, match="Another swap of this pipeline is on its way"):
            swap(keeper, Order(admitted=new))
        assert asked.end(belt).variant == "new"


def test_an_old_one_that_crashes_meanwhile_is_mended(old: Admitted, new: Admitted) -> None:
    with kept(old) as keeper, Belt(keeper) as belt:
        asked = Asked(keeper, new, frames=40)
        assert soon(lambda: keeper.seat.shadow is not None)
        first = pid(keeper)
        os.kill(first, signal.SIGKILL)
        assert belt.decides()
        assert (seated(keeper), keeper.restarts) == ("old", 1)
        assert asked.end(belt).variant == "new"
        assert belt.decides()
        assert seated(keeper) == "new"


def test_one_that_dies_just_before_it_is_seated_is_replaced_by_itself(old: Admitted, new: Admitted) -> None:
    with kept(old) as keeper, Belt(keeper) as belt:
        asked = Asked(keeper, new)
        assert soon(lambda: "seating new" in asked.said)
        asked.wait()
        os.kill(pid(keeper), signal.SIGKILL)
        assert belt.decides()
        assert (seated(keeper), keeper.restarts) == ("new", 1)


def test_the_new_bundle_has_a_ladder_of_its_own(tmp_path: Path, old: Admitted, trigger: Path) -> None:
    tell(trigger, "load-refuse")
    variants = [keepers.faulty("best", 0, trigger), null_bundle.variant("next", 1)]
    new = keepers.bundle(tmp_path / "new", *variants, version="1.3.0")
    with kept(old) as keeper, Belt(keeper) as belt:
        assert Asked(keeper, new).end(belt).variant == "next"
        assert "best was skipped" in keeper.reason
        tell(trigger, "")
        assert soon(lambda: seated(keeper) == "best")
        assert keeper.reason == ""


@pytest.mark.parametrize("frames", [0, 1000])
def test_a_stop_in_the_middle_ends_both(old: Admitted, new: Admitted, trigger: Path, frames: int) -> None:
    with kept(old) as keeper:
        if not frames:
            tell(trigger, "load-hang")
        asked = Asked(keeper, new, frames=frames)
        assert soon(lambda: keeper.seat.shadow is not None or not frames)
        keeper.stop()
        for child in children():
            os.kill(child, signal.SIGKILL)  # what hangs in its load; after the stop nobody waits for it
        asked.wait()
        assert asked.fault is not None
        assert frames == 0 or asked.fault.what == "The agent stops"


def test_who_asked_may_be_gone(old: Admitted, new: Admitted) -> None:
    def gone(_: str) -> None:
        raise BrokenPipeError

    with kept(old) as keeper, Belt(keeper) as belt:
        for mode in ("overlap", "replace"):
            wish = Wish(mode="overlap" if mode == "overlap" else "replace")
            assert swap(keeper, Order(admitted=new, wish=wish, progress=gone)).variant == "new"
        assert belt.decides()


def test_a_swap_waits_for_a_climb(tmp_path: Path, new: Admitted) -> None:
    own = tmp_path / "own"
    old = keepers.bundle(tmp_path / "old", keepers.faulty("a", 0, own), null_bundle.variant("b", 1))
    with kept(old, replace(TABLE, failures=1)) as keeper, Belt(keeper) as belt:
        tell(own, "load-hang")
        os.kill(pid(keeper), signal.SIGKILL)
        belt.feed()
        assert soon(lambda: seated(keeper) == "b")
        assert soon(lambda: bool([t for t in threading.enumerate() if t.name == "climb-belt"]))
        asked = Asked(keeper, new)
        for _ in range(10):
            assert belt.feed()
        assert asked.said == []
        kill_loading(keeper)
        assert asked.end(belt).variant == "new"
        assert soon(lambda: not [t for t in threading.enumerate() if t.name == "climb-belt"])
        assert seated(keeper) == "new"
        assert belt.decides()


class Device:
    """Bundles that hold one device, old and new, and a trigger for the new one."""

    def __init__(self, folder: Path) -> None:
        self.trigger = folder / "trigger"
        worse = null_bundle.variant("none", 1)
        best = keepers.faulty("old", 0, runtime="faulty-exclusive")
        self.old = keepers.bundle(folder / "old", best, worse)
        mine = keepers.faulty("new", 0, self.trigger, runtime="faulty-exclusive")
        self.new = keepers.bundle(folder / "new", mine, version="1.3.0")


def test_two_that_hold_one_device_are_swapped_by_replacement_and_another_serves_meanwhile(
    tmp_path: Path,
) -> None:
    device = Device(tmp_path)
    with kept(device.old) as keeper, Belt(keeper) as belt:
        asked = Asked(keeper, device.new, frames=5)
        done = asked.end(belt)
        assert (done.mode, done.variant, done.shadow) == ("replace", "new", None)
        assert "holds its device alone" in done.note
        assert belt.decides()
        assert (seated(keeper), keeper.reason) == ("new", "")
        assert belt.failed == 0
        assert len(belt.seen(null_bundle.label_of)) == len(belt.images)


def test_if_that_fails_the_old_one_has_its_device_again(tmp_path: Path) -> None:
    device = Device(tmp_path)
    tell(device.trigger, "load-refuse")
    with kept(device.old) as keeper, Belt(keeper) as belt:
        with pytest.raises(ProofError, match="refuses the model"):
            Asked(keeper, device.new).end(belt)
        assert (seated(keeper), keeper.reason) == ("old", "")
        assert belt.decides()
        assert belt.failed == 0


def _unchanged(keeper: Keeper, belt: Belt) -> None:
    """Check that the old model is at work as before and nothing is left of the new one."""
    assert keeper.seat.shadow is None
    assert belt.feed()
    assert (seated(keeper), keeper.reason, keeper.restarts) == ("old", "", 0)
    assert belt.failed == 0
    assert len(belt.seen(null_bundle.label_of)) == len(belt.images)
    assert soon(lambda: {child for child in children() if living(child)} == {pid(keeper)})
    assert not keeper.swapping.locked()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """Yield an agent that decides on images for ever."""
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 7)
    endless = {"source": {"kind": "images", "path": str(tmp_path / "images"), "fps": 100.0, "loop": True}}
    path = agents.write(tmp_path / "agent.toml", agents.document(tmp_path, None, endless))
    made = Agent(config.read(path), "0" * 16)
    made.start()
    try:
        yield made
    finally:
        made.stop("the test has ended")


def test_an_agent_swaps_and_says_what_it_runs(agent: Agent, tmp_path: Path) -> None:
    small = keepers.small(tmp_path)
    assert soon(lambda: agent.totals()["belt"].decisions > 0)
    done = agent.swap("belt", tmp_path / "small-2.0.0.orb", Wish(frames=10, share=0.5))
    assert (done.after, done.variant) == ("small 2.0.0", "null-small")
    belt = agent.describe()["pipelines"]["belt"]
    assert (belt["bundle"], belt["version"], belt["digest"]) == ("small", "2.0.0", small.slot.digest)
    assert (belt["variant"], belt["state"], belt["reason"], belt["shadow"]) == (
        "null-small",
        "RUNNING",
        "",
        None,
    )
    before = agent.totals()["belt"].decisions
    assert soon(lambda: agent.totals()["belt"].decisions > before + 5)
    assert (belt["errors"], belt["late"]) == (0, 0)
    assert set(agent.totals()["belt"].classes) & {*keepers.SMALL_LABELS} - {*null_bundle.LABELS}


def test_a_bundle_that_is_not_admitted_changes_nothing(agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "other.orb"
    null_bundle.write(path, app="another")
    with pytest.raises(IncompatibleError):
        agent.swap("belt", path, Wish())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BundleError):
        agent.swap("belt", path, Wish())
    with pytest.raises(UsageError, match="There is no pipeline 'shaft'"):
        agent.swap("shaft", path, Wish())
    belt = agent.describe()["pipelines"]["belt"]
    assert (belt["version"], belt["state"], belt["reason"]) == ("1.2.0", "RUNNING", "")


def test_a_bad_signature_changes_nothing(agent: Agent, tmp_path: Path) -> None:
    path, key, public = tmp_path / "other.orb", tmp_path / "a.key", tmp_path / "a.pub"
    null_bundle.write(path)
    signing.generate(key, public)
    agent._config = replace(agent._config, trust=Trust(keys=(public,)))
    with pytest.raises(SignatureError):
        agent.swap("belt", path, Wish())
    assert agent.describe()["pipelines"]["belt"]["version"] == "1.2.0"
