"""`outrider agent bench`, on the null bundle and on a tiny ONNX model; the figures are real, and small."""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from outrider_agent.bench import command, pictures
from outrider_agent.bench.bare import bare
from outrider_agent.bench.clock import Clock
from outrider_agent.bench.compare import interleave, ratio
from outrider_agent.bench.feed import Feed
from outrider_agent.bench.setup import Setup
from outrider_agent.bench.sides import AgentSide
from outrider_agent.engine.crew import NoneProvenError
from outrider_bundle.errors import EngineError, IncompatibleError, UsageError
from outrider_bundle.manifest import ArrayPreprocess, File, Input, RawDecoder, Tensor, Variant
from tests.fakes import models, null_bundle

FIELDS = {
    "bundle", "version", "variant", "runtime", "isolation", "placement", "frames", "pairs", "ratio",
    "agent_ms", "bare_ms", "machine", "trusted",
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Give logging back what the command sets for its process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    null_bundle.write(tmp_path / "sorter.orb")
    return tmp_path / "sorter.orb"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary files go to."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


def frames(count: int = 3) -> Sequence[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 8, 8), np.uint8))


@pytest.mark.parametrize("isolation", ["inline", "child"])
def test_json_has_both_figures_their_ratio_and_where_it_ran(
    bundle: Path, scratch: Path, capsys: pytest.CaptureFixture[str], isolation: str
) -> None:
    assert run(bundle, "--isolation", isolation, "--frames", 20, "--pairs", 3, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == FIELDS
    assert (result["bundle"], result["variant"], result["isolation"]) == ("sorter", "null-a", isolation)
    assert (result["pairs"], result["frames"], result["trusted"]) == (3, 20, False)
    assert result["placement"]["backend"] == "null"
    spread = result["ratio"]
    assert 0 < spread["least"] <= spread["low"] <= spread["median"] <= spread["high"] <= spread["most"]
    assert spread["median"] > 1  # the null runtime costs next to nothing, the loop something
    assert result["agent_ms"] > result["bare_ms"] > 0
    assert not list(scratch.iterdir())


def test_text_names_the_machine_and_says_that_trust_was_not_checked(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bundle, "--isolation", "inline", "--variant", "null-b", "--frames", 5, "--pairs", 2) == 0
    text = capsys.readouterr().out
    assert "sorter 1.2.0, null-b on null (null), inline, 1 thread\n" in text
    assert "on this machine" in text
    assert "signature was not checked" in text


def test_a_video_gives_the_frames(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for shade in range(0, 250, 40):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    images = pictures.video(path)
    assert [image.shape for image in images] == [(48, 64, 3)] * pictures.COUNT
    assert len({int(image.mean()) for image in images}) == pictures.COUNT
    assert run(bundle, "--isolation", "inline", "--video", path, "--frames", 5, "--pairs", 1, "--json") == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 1


@pytest.mark.parametrize("spoil", [lambda _path: None, lambda path: path.write_bytes(b"no video")])
def test_what_is_no_video_is_refused(tmp_path: Path, bundle: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(tmp_path / "line.avi")
    with pytest.raises(UsageError, match=r"line\.avi"):
        run(bundle, "--video", tmp_path / "line.avi")


@pytest.mark.parametrize(
    "wrong", [["--frames", "0"], ["--pairs", "many"], ["--threads", "-1"], ["--isolation", "vm"], ["--nice"]]
)
def test_wrong_arguments_end_with_2(bundle: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(bundle, *wrong)
    assert caught.value.code == 2


def test_a_bundle_that_does_not_prove_itself_ends_with_21(tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "wrong.orb"
    null_bundle.write(path, wrong=("null-a", "null-b"))
    with pytest.raises(NoneProvenError) as caught:
        run(path, "--isolation", "inline")
    assert caught.value.exit_code == 21
    assert not list(scratch.iterdir())


def test_a_variant_that_there_is_not_is_refused(bundle: Path, scratch: Path) -> None:
    with pytest.raises(IncompatibleError, match="null-a"):
        run(bundle, "--variant", "null-z")
    assert not list(scratch.iterdir())


def test_a_second_variant_runs_where_the_first_does_not_prove_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "half.orb"
    null_bundle.write(path, wrong=("null-a",))
    assert run(path, "--isolation", "inline", "--frames", 5, "--pairs", 1, "--json") == 0
    assert json.loads(capsys.readouterr().out)["variant"] == "null-b"


def test_a_block_is_as_many_turns_of_the_loop_as_asked_for(bundle: Path) -> None:
    with AgentSide(Setup(bundle=bundle, images=frames(), isolation="inline")) as agent:
        for count in (1, 7):
            before = int(agent.described["frames"])
            assert agent.block(count) > 0
            # One more, whose reading ends the block, has gone through as well by then.
            assert int(agent.described["frames"]) == before + count + 1


def test_the_engines_own_process_is_counted(bundle: Path) -> None:
    with AgentSide(Setup(bundle=bundle, images=frames(), isolation="child")) as agent:
        pid = int(agent.described["pid"])
        assert pid != os.getpid()
        agent.block(5)
        own_s, both_s = time.process_time(), Clock(pid, os.getpid()).read_s()
        assert both_s - own_s > 0.01  # it has started an interpreter, at least


def test_an_engine_that_is_replaced_meanwhile_is_an_error_and_no_figure(bundle: Path) -> None:
    with AgentSide(Setup(bundle=bundle, images=frames(), isolation="child")) as agent:
        agent.block(5)
        os.kill(int(agent.described["pid"]), signal.SIGKILL)
        with pytest.raises(EngineError, match="has ended"):
            agent.block(5)


def test_frames_that_fail_are_an_error_and_no_figure(bundle: Path, scratch: Path) -> None:
    wrong = [np.zeros((8, 8), np.float32)]
    agent = AgentSide(Setup(bundle=bundle, images=wrong, isolation="inline"))
    with pytest.raises(EngineError, match="failed on frames"), agent:
        agent.block(3)
    assert not list(scratch.iterdir())


def test_a_clock_of_a_process_that_has_ended_says_so() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        clock = Clock(process.pid, os.getpid())
        assert clock.read_s() > 0
        process.kill()
    with pytest.raises(EngineError, match="has ended"):
        clock.read_s()


def test_the_feed_reads_the_clock_after_the_first_and_after_the_last_frame() -> None:
    feed, ticks = Feed(frames()), iter(range(100))
    source = feed.frames(0.01)
    assert next(source) is None  # nothing is wanted yet
    feed.begin(2, lambda: float(next(ticks)))
    names = []
    for _ in range(3):
        frame = next(source)
        assert frame is not None
        names.append(frame.id)
        assert next(source) is None  # not before it was read
        frame.release()
    assert names == ["frame-0", "frame-1", "frame-2"]
    assert feed.wait(1)
    assert feed.spent_s == 1.0
    assert next(source) is None
    feed.close()
    feed.close()
    assert list(source) == []


def test_a_feed_that_ends_wakes_its_thread() -> None:
    feed = Feed(frames())
    thread = threading.Thread(target=lambda: list(feed.frames(60)))
    thread.start()
    feed.close()
    thread.join(10)
    assert not thread.is_alive()


class Counting:
    """A side that costs what it is told."""

    def __init__(self, name: str, seconds: float, log: list[str]) -> None:
        self._name, self._seconds, self._log = name, seconds, log

    def block(self, frames: int) -> float:
        self._log.append(f"{self._name}{frames}")
        return self._seconds


def test_sides_take_turns_after_a_warm_block() -> None:
    log: list[str] = []
    spent = interleave({"a": Counting("a", 3.0, log), "b": Counting("b", 2.0, log)}, 2, 30)
    assert log == ["a5", "b5", "a30", "b30", "a30", "b30"]
    assert spent == {"a": [3.0, 3.0], "b": [2.0, 2.0]}
    assert ratio(spent["a"], spent["b"]).median == 1.5


def test_a_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians() -> None:
    spread = ratio([10.0, 2.0, 6.0], [5.0, 1.0, 2.0])
    assert (spread.least, spread.median, spread.most) == (2.0, 2.0, 3.0)
    assert (spread.low, spread.high) == (2.0, 2.5)
    assert ratio([3.0], [2.0]).low == ratio([3.0], [2.0]).high == 1.5


@pytest.mark.parametrize("extra", [{}, {"threads": 1}, {"optimization": "disabled"}])
def test_the_bare_onnx_run_answers_what_the_runtime_answers(tmp_path: Path, extra: dict[str, object]) -> None:
    files, _ = models.onnx_files(tmp_path)
    variant = Variant(
        id="tiny",
        runtime="onnx",
        precision="float32",
        rank=0,
        files=(File(role="graph", blob="tiny-graph"), File(role="weights", blob="tiny-weights")),
        inputs=(Tensor(name="image", shape=(1, 1, 8, 8), dtype="float32", layout="NCHW"),),
        outputs=(Tensor(name="scores", shape=(1, 3), dtype="float32"),),
    )
    image = np.random.default_rng(1).random((1, 1, 8, 8), np.float32)
    weights = np.frombuffer((tmp_path / "tiny-weights").read_bytes(), np.float32).reshape(64, 3)
    answer = bare(variant, files, extra, [image])()
    assert isinstance(answer, Sequence)
    np.testing.assert_allclose(answer[0], image.reshape(1, 64) @ weights, rtol=1e-5)


def test_frames_are_what_the_bundle_takes() -> None:
    images = null_bundle.manifest([null_bundle.variant("null-a", 0)])
    assert {(one.shape, str(one.dtype)) for one in pictures.noise(images)} == {((480, 640, 3), "uint8")}
    entry = Input(name="features", shape=(1, 6), layout="NC", preprocess=ArrayPreprocess())
    numbers = pictures.noise(replace(images, inputs=(entry,)))
    assert {(one.shape, str(one.dtype)) for one in numbers} == {((6,), "float32")}


def test_the_daemon_starts_without_the_measurement() -> None:
    code = "import sys, outrider_agent.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("outrider_agent.bench.")}
    assert loaded <= {"outrider_agent.bench.command"}


def test_a_raw_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "raw.orb"
    plain = null_bundle.manifest([null_bundle.variant("null-a", 0)]).outputs[0]
    raw = (replace(plain, decoder=RawDecoder()),)
    null_bundle.write(path, [null_bundle.variant("null-a", 0)], task="raw", outputs=raw)
    with pytest.raises(IncompatibleError):
        run(path)
