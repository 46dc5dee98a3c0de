"""`outrider agent record`: a film in real time, made beside the loop."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from outrider_agent import cli
from outrider_agent.control import server as serving
from outrider_agent.control import watching, wire
from outrider_agent.control.client import ask
from outrider_agent.control.server import Reply, Server
from outrider_agent.tap import Taps, View
from outrider_agent.viewing.film import Film
from outrider_agent.viewing.received import Received, received
from outrider_bundle.errors import OutriderError, UsageError
from outrider_runtime.perception import Classification
from tests.fakes import agents


def view(number: int, time_s: float, shade: int = 100) -> View:
    return View(
        frame=str(number),
        seq=number,
        time_s=time_s,
        array=np.full((60, 501), shade, np.uint8),
        perception=Classification(index=0, label="bag", score=0.9, margin=0.5),
        decisions=({"label": "bag"},),
    )


def sent(seen: View) -> Received:
    return received(wire.decode(wire.encode({"item": watching.packed(seen, "jpg")}))["item"])


def film(path: Path) -> tuple[float, list[int]]:
    """Return the rate of a film and the shade of each of its pictures."""
    capture = cv2.VideoCapture(str(path))
    shades = []
    while (read := capture.read())[0]:
        shades.append(round(float(read[1][10:50, 10:400].mean())))
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return fps, shades


def about(shades: list[int], *wanted: int) -> bool:
    return len(shades) == len(wanted) and all(abs(a - b) <= 3 for a, b in zip(shades, wanted, strict=True))


def test_a_picture_stands_until_the_next_and_none_is_shown_twice_as_fast(tmp_path: Path) -> None:
    path = tmp_path / "belt.avi"
    with Film(path, 10.0) as made:
        for number, (at_s, shade) in enumerate([(0.0, 50), (0.1, 100), (0.4, 150), (0.42, 200), (0.5, 250)]):
            made.show(sent(view(number, 7.0 + at_s, shade)))
        assert (made.seen, round(made.seconds, 3)) == (5, 0.6)
        assert not path.exists()
    fps, shades = film(path)
    assert fps == 10.0
    assert about(shades, 50, 100, 100, 100, 150, 250)
    assert [one.name for one in tmp_path.iterdir()] == ["belt.avi"]


def test_a_film_is_kept_when_it_is_interrupted_and_one_without_pictures_is_none(tmp_path: Path) -> None:
    def interrupted(count: int) -> None:
        with Film(tmp_path / f"{count}.avi", 10.0) as made:
            for number in range(count):
                made.show(sent(view(number, number / 10)))
            raise KeyboardInterrupt

    for count in (0, 3):
        with pytest.raises(KeyboardInterrupt):
            interrupted(count)
    assert [one.name for one in tmp_path.iterdir()] == ["3.avi"]
    assert len(film(tmp_path / "3.avi")[1]) == 3


def test_pictures_of_another_size_are_fitted(tmp_path: Path) -> None:
    with Film(tmp_path / "a.avi", 5.0) as made:
        made.show(sent(view(0, 0.0)))
        made.show(sent(replace(view(1, 0.2), array=np.zeros((300, 700, 3), np.uint8))))
    assert len(film(tmp_path / "a.avi")[1]) == 2


def test_a_folder_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(OutriderError, match="Choose a folder"), Film(tmp_path / "no" / "a.avi", 5.0) as made:
        made.show(sent(view(0, 0.0)))


class Belt:
    """A pipeline whose loop shows a frame every hundredth of a second."""

    def __init__(self) -> None:
        self.id, self.finished, self.taps = "belt", False, Taps()
        self.turns = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.01):
            self.turns += 1
            for tap in self.taps.wanted:
                if tap.wants():
                    tap.see(view(self.turns, time.monotonic()))

    def end(self) -> None:
        """Turn no more."""
        self._ended.set()
        self._thread.join()
        self.finished = True


@pytest.fixture
def belt(tmp_path: Path) -> Iterator[Belt]:
    made = Belt()

    def record(request: dict[str, Any], reply: Reply) -> dict[str, Any]:
        return watching.record([made], request, reply)

    def status(_request: dict[str, Any], _reply: Reply) -> dict[str, Any]:
        return {"pipelines": {"belt": {"bundle": "sorter"}}}

    server = Server(tmp_path / wire.NAME, {"record": record, "status": status})
    server.start()
    yield made
    made.end()
    server.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    device = {**agents.document(tmp_path, None)["device"], "state_dir": str(tmp_path)}
    return agents.write(tmp_path / "agent.toml", agents.document(tmp_path, None, device=device))


Run = Callable[..., int]


@pytest.fixture
def run(config: Path) -> Run:
    def record(*arguments: object) -> int:
        return cli.main(["record", "--config", str(config), *map(str, arguments)])

    return record


def test_a_film_of_a_running_loop(
    belt: Belt, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "belt.avi"
    assert run("--seconds", 1.2, "--fps", 20, "--out", path) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("1 of 1.2 s, ")
    assert shown.out.startswith(f"{path}: ")
    fps, shades = film(path)
    assert fps == 20.0
    assert 12 <= len(shades) <= 26
    assert belt.taps.wanted == ()
    assert run("--seconds", 0.3, "--out", path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pipeline"], told["file"], told["bytes"]) == ("belt", str(path), path.stat().st_size)
    assert told["frames"] >= 1


def test_a_pipeline_that_ends_ends_the_film(belt: Belt, run: Run, tmp_path: Path) -> None:
    ending = threading.Timer(0.3, belt.end)
    ending.start()
    begun_s = time.monotonic()
    assert run("--seconds", 60, "--fps", 20, "--out", tmp_path / "belt.avi") == 0
    assert time.monotonic() - begun_s < 30
    assert film(tmp_path / "belt.avi")[1]
    ending.join()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--seconds", 0, "--out", "a.avi"), "--seconds is 0"),
        (("--fps", 1000, "--out", "a.avi"), "--fps is 1000"),
        (("--out", "a.mp4"), "call it NAME.avi"),
        (("--pipeline", "bolt", "--out", "a.avi"), "no pipeline 'bolt'"),
    ],
)
@pytest.mark.usefixtures("belt")
def test_what_cannot_be_meant_is_refused(given: tuple[object, ...], message: str, run: Run) -> None:
    with pytest.raises(UsageError) as caught:
        run(*given)
    assert message in str(caught.value)


def test_a_peer_that_leaves_or_does_not_read_ends_its_film(
    belt: Belt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "SEND_S", 0.05)
    request = {"command": "record", "pipeline": "belt", "seconds": 60.0, "fps": 100.0}

    def stalls(_item: dict[str, Any]) -> None:
        raise OutriderError("enough")

    with pytest.raises(OutriderError, match="enough"):
        ask(tmp_path, request, on_item=stalls)
    until_s = time.monotonic() + 20
    while belt.taps.wanted:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    turns = belt.turns
    while belt.turns == turns:  # the loop goes on
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_without_an_agent_there_is_one_message(run: Run, tmp_path: Path) -> None:
    with pytest.raises(OutriderError, match="No agent runs"):
        run("--out", tmp_path / "a.avi")
    assert not (tmp_path / "a.avi").exists()
