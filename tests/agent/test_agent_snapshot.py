"""Taps, and `outrider agent snapshot`: what a loop sees reaches a person, and the loop does not wait."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from outrider_agent import cli, config, tap
from outrider_agent.control import watching, wire
from outrider_agent.control.handlers import handlers
from outrider_agent.control.server import Reply, Server
from outrider_agent.supervisor import Agent
from outrider_agent.tap import Tap, Taps, View
from outrider_agent.viewing.annotate import LINES, annotated, said, words
from outrider_agent.viewing.received import Received, received
from outrider_bundle.errors import MessageError, OutriderError, UsageError
from outrider_runtime.perception import Classification, Detection, Detections, Perception, Regression
from tests.fakes import agents, null_bundle

PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def view(**changed: Any) -> View:  # noqa: ANN401 - fields of a view
    plain = View(frame="7", seq=7, time_s=time.monotonic(), array=PICTURE)
    return replace(plain, **changed)


def sent(seen: View, form: Any = "png") -> Received:  # noqa: ANN401 - a literal
    """Return a view as it arrives."""
    return received(wire.decode(wire.encode({"item": watching.packed(seen, form)}))["item"])


def test_a_tap_keeps_what_it_has_room_for_and_counts_the_rest() -> None:
    one = Tap(room=2)
    for number in range(5):
        if one.wants():
            one.see(view(seq=number))
    assert one.dropped == 3
    taken = [one.take(0.0), one.take(1.0), one.take(0.0)]
    assert [found.seq if found else None for found in taken] == [0, 1, None]
    assert one.wants()
    assert one.take(0.01) is None


def test_a_tap_may_want_no_more_than_some_frames_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr(tap, "monotonic", lambda: now_s[0])
    slow, wanted = Tap(room=1000, interval_s=0.1), 0
    for number in range(1000):  # 33 a second, none of them even
        now_s[0] = 100.0 + number * 0.03 + 0.005 * (number % 3)
        if slow.wants():
            slow.see(view())
            wanted += 1
    assert 295 <= wanted <= 301
    now_s[0] += 60.0
    assert [slow.wants(), slow.wants()] == [True, False]


def test_taps_come_and_go_while_a_loop_reads_them() -> None:
    taps, first, second = Taps(), Tap(), Tap()
    assert taps.wanted == ()
    taps.add(first)
    taps.add(second)
    assert taps.wanted == (first, second)
    taps.remove(first)
    taps.remove(first)
    assert taps.wanted == (second,)


@pytest.mark.parametrize(
    ("array", "form"),
    [
        (PICTURE, "png"),
        (PICTURE[..., 0], "png"),
        (np.ones((64, 2), np.float32), "npy"),
        (np.array([0.5, -1.0]), "npy"),
        (np.ones((4, 4, 2), np.uint8), "npy"),
    ],
)
def test_a_frame_arrives_as_it_was(array: Any, form: str) -> None:  # noqa: ANN401
    arrived = sent(view(array=array))
    assert arrived.format == form
    np.testing.assert_array_equal(arrived.array(), array)
    assert arrived.array().dtype == array.dtype


def test_a_frame_that_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_BYTES", 40)
    with pytest.raises(OutriderError, match="48 bytes and at most 40"):
        watching.packed(view(), "png")


@pytest.mark.parametrize("form", ["png", "npy"])
def test_what_is_no_view_is_refused(form: str) -> None:
    broken = replace(sent(view()), data=b"no picture", format=form)
    with pytest.raises(MessageError, match=r"frame|picture"):
        broken.array()
    with pytest.raises(MessageError, match="no view"):
        received({"frame": 3})


FOUND = Detections(
    objects=(
        Detection(
            label="person",
            index=0,
            score=0.9,
            box=(10.0, 20.0, 30.0, 40.0),
            detail=Classification(index=0, label="helmet", score=0.8, margin=0.1),
        ),
        Detection(label="Hünd", index=1, score=0.5, box=(0.0, 0.0, 5.0, 5.0)),
    ),
    frame=(640, 480),
)


@pytest.mark.parametrize(
    ("perception", "text"),
    [
        (None, "nothing: there is no perception"),
        (Classification(index=0, label="bag", score=0.913, margin=0.5), "bag 0.91"),
        (FOUND, "person 0.90 (helmet 0.80), Hünd 0.50"),
        (Detections(), "no objects"),
        (Regression(names=("load",), values=(1.25,)), "names [load], values [1.25]"),
    ],
)
def test_a_perception_is_told_in_few_words(perception: Perception | None, text: str) -> None:
    assert said(msgspec.to_builtins(perception)) == text


def test_objects_are_drawn_where_they_are_and_words_below() -> None:
    black = np.zeros((480, 640, 3), np.uint8)
    drawn = annotated(sent(view(array=black, perception=FOUND)))
    assert drawn.shape[0] > 480
    assert drawn.shape[1] == 640
    box = drawn[20:61, 10:41]
    assert box[0].any(axis=1).all()
    assert box[:, 0].any(axis=1).all()
    assert not drawn[100:480, 100:].any()
    assert drawn[480:].max() > 200


def test_a_small_picture_is_enlarged_and_a_sample_is_drawn() -> None:
    small = annotated(sent(view(array=np.full((8, 8), 77, np.uint8))))
    assert small.shape[1] >= 400
    assert (small[: small.shape[1]] == 77).all()
    swing = np.stack([np.sin(np.arange(64) / 5), np.arange(64)], axis=1).astype(np.float32)
    for sample in (swing, swing[:, 0], swing[None], swing[:1], np.zeros((0, 2), np.float32), swing * np.nan):
        assert annotated(sent(view(array=sample))).shape[2] == 3


def test_all_strips_have_one_height_however_much_there_is_to_say() -> None:
    few, many = view(), view(why=("rule",) * 20, error="broken", decisions=({"label": "x" * 500},))
    assert annotated(sent(few)).shape == annotated(sent(many)).shape
    assert len(words(sent(many))) > LINES


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Run an agent in this process, with a control socket; return its configuration."""
    ends: list[Callable[[], None]] = []

    def start(changed: dict[str, Any] | None = None, *, begin: bool = True) -> Path:
        null_bundle.write(tmp_path / "sorter.orb")
        null_bundle.write_images(tmp_path / "images", 5)
        source = {"kind": "images", "path": str(tmp_path / "images"), "fps": 50.0, "loop": True}
        engine = {"isolation": "inline", "deadline_ms": 5000.0}
        document = agents.document(tmp_path, None, {"source": source, "engine": engine, **(changed or {})})
        document["device"]["state_dir"] = str(tmp_path)
        path = agents.write(tmp_path / "agent.toml", document)
        agent = Agent(config.read(path), "0123456789abcdef")
        server = Server(tmp_path / wire.NAME, handlers(agent))
        server.start()
        ends.extend([lambda: agent.stop("the test is over"), server.close])
        if begin:
            agent.start()
        return path

    yield start
    for end in reversed(ends):
        end()


def test_a_snapshot_is_three_files(
    running: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = running(), tmp_path / "deep" / "down"
    assert cli.main(["snapshot", "--config", str(path), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    files = {what: Path(name) for what, name in told["files"].items()}
    assert sorted(files.values()) == sorted(out.iterdir())
    assert json.loads(files["view"].read_text()) == told
    assert (told["pipeline"], told["bundle"], told["variant"]) == ("belt", "sorter", "null-a")
    frame = cv2.imread(str(files["frame"]), cv2.IMREAD_UNCHANGED)
    assert frame is not None
    assert told["perception"]["label"] == null_bundle.label_of(frame)
    assert told["decisions"][0]["bin"] == "left"
    assert told["why"][0].startswith("*: fires")
    assert (told["shape"], told["dtype"], told["error"]) == ([8, 8], "uint8", "")
    assert 0 < told["took_ms"] < 5000
    assert "data" not in told
    assert cv2.imread(str(files["annotated"])) is not None


def test_a_snapshot_for_people(
    running: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = running()
    assert (
        cli.main(["snapshot", "--config", str(path), "--pipeline", "belt", "--out", str(tmp_path / "o")]) == 0
    )
    shown = capsys.readouterr().out
    for text in ("saw ", "decided label ", "why: *: fires", "frame: ", "annotated: ", "view: "):
        assert text in shown


@pytest.mark.parametrize(
    ("given", "message", "code"),
    [
        (("--pipeline", "bolt"), "The agent has no pipeline 'bolt'. There are: belt", 2),
        (("--wait", "0"), "--wait is 0", 2),
        (("--out", "{folder}/agent.toml"), "cannot be written", 1),
    ],
)
def test_what_cannot_be_done_is_one_message(
    given: tuple[str, str], message: str, code: int, running: Callable[..., Path]
) -> None:
    path = running()
    with pytest.raises(OutriderError) as caught:
        cli.main(["snapshot", "--config", str(path), given[0], given[1].format(folder=path.parent)])
    assert message in str(caught.value)
    assert caught.value.exit_code == code


def test_without_a_frame_the_wait_ends(running: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "slow").mkdir()
    source = {"kind": "camera", "device": str(tmp_path / "none.avi"), "retry_s": 60.0}
    path = running({"source": source})
    with pytest.raises(OutriderError, match=r"'belt' has looked at no frame within 0\.3 s") as caught:
        cli.main(["snapshot", "--config", str(path), "--wait", "0.3"])
    assert caught.value.exit_code == 1


def test_without_an_agent_there_is_one_message(tmp_path: Path) -> None:
    path = agents.write(tmp_path / "agent.toml", agents.document(tmp_path, None))
    with pytest.raises(OutriderError, match="No agent runs with the state directory"):
        cli.main(["snapshot", "--config", str(path)])


def test_an_agent_that_starts_has_no_pipelines_yet(running: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="none runs"):
        cli.main(["snapshot", "--config", str(running(begin=False))])


class Watched:
    """A pipeline as far as watching goes."""

    def __init__(self, *, finished: bool = False) -> None:
        self.id, self.finished, self.taps = "belt", finished, Taps()


@pytest.fixture
def reply() -> Iterator[Reply]:
    """Reply to nobody."""
    here, there = socket.socketpair()
    with here, there:
        yield Reply(here)


def test_a_pipeline_that_has_ended_is_not_waited_for(reply: Reply) -> None:
    with pytest.raises(OutriderError, match="'belt' has ended"):
        watching.snapshot([Watched(finished=True)], {"command": "snapshot", "pipeline": "belt"}, reply)
    with pytest.raises(UsageError, match="There are: belt"):
        watching.snapshot([Watched()], {"command": "snapshot", "pipeline": "lid"}, reply)
    with pytest.raises(UsageError, match="cannot do that"):
        watching.snapshot([Watched()], {"command": "snapshot", "pipeline": "belt", "wait_s": -1}, reply)


def test_no_tap_is_left_behind(reply: Reply) -> None:
    pipeline = Watched()
    with pytest.raises(OutriderError, match="no frame within"):
        watching.snapshot([pipeline], {"command": "snapshot", "pipeline": "belt", "wait_s": 0.2}, reply)
    assert pipeline.taps.wanted == ()


def test_a_running_agent_has_imported_nothing_of_it(tmp_path: Path) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 2)
    path = agents.write(tmp_path / "agent.toml", agents.document(tmp_path, None))
    code = "import sys; from outrider_agent.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "--config", str(path)], capture_output=True, text=True, check=True
    )
    parts = {name.split(".")[1] for name in done.stdout.split() if name.startswith("outrider_agent.")}
    assert not parts & {"viewing", "checking", "examples", "schema", "bench", "doctor"}
    loaded = {name for name in done.stdout.split() if name.startswith("outrider_agent.control")}
    assert loaded <= {f"outrider_agent.control{end}" for end in ("", ".handlers", ".server", ".wire")}
