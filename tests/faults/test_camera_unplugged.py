"""The camera is unplugged and plugged in again: outputs are safe meanwhile, and it goes on by itself."""

import threading
import time
from pathlib import Path

import pytest

from outrider_agent.config import Config
from outrider_agent.parts import Part
from outrider_agent.seams import Context
from outrider_agent.sources.camera import CameraOptions, CameraSource
from outrider_runtime.session import Array
from tests.fakes import null_bundle, running
from tests.fakes.camera import Capture, Plug
from tests.fakes.running import BELT, NoOptions, Noted

STALE_S = 0.5
FRAME_S = 0.01
MANY = 1_000_000


class Cable:
    """Between camera and agent; it can be pulled."""

    def __init__(self) -> None:
        """Be plugged in."""
        self._plug = Plug([MANY] * 1000)
        self.tries = 0
        self.connected = threading.Event()
        self.connected.set()

    def __call__(self, options: object) -> "Held":
        """Open the device."""
        self.tries += 1
        return Held(self._plug(options), self.connected)


class Held:
    """A capture at a steady rate, while it is connected."""

    def __init__(self, capture: Capture, connected: threading.Event) -> None:
        """Hold both."""
        self._capture, self._connected = capture, connected

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Whether there is a device."""
        return self._connected.is_set() and self._capture.isOpened()

    def read(self, image: Array | None = None, /) -> tuple[bool, Array]:
        """Return the next frame, or that there is none."""
        time.sleep(FRAME_S)
        found, image = self._capture.read(image)
        return found and self._connected.is_set(), image

    def release(self) -> None:
        """Close the device."""
        self._capture.release()


@pytest.mark.parametrize("times", [1, 3])
def test_a_camera_that_is_unplugged_is_told_and_opened_again(tmp_path: Path, times: int) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    cable, output = Cable(), Noted()

    def camera(_options: object, context: Context) -> CameraSource:
        return CameraSource(CameraOptions(retry_s=0.1), context, cable)

    def with_camera(written: Config) -> Config:
        source = Part(kind="camera", plugin=camera, options=NoOptions())
        return running.with_parts(written, source, {"output": output})

    with running.running(tmp_path, pipeline={"stale_s": STALE_S}, change=with_camera) as line:
        first = line.says("RUNNING", reason="")
        for _ in range(times):
            cable.connected.clear()
            tries = cable.tries
            line.says("DEGRADED", "perception: none for 0.5 s; outputs are in their safe state")
            assert output.safe
            line.until(lambda tries=tries: cable.tries >= tries + 2)
            decisions = line.agent.totals()[BELT].decisions
            no_input = line.agent.totals()[BELT].no_input
            line.until(lambda before=no_input: line.agent.totals()[BELT].no_input > before)
            assert line.agent.totals()[BELT].decisions == decisions
            assert line.agent.progressed()  # a camera that is away is no reason to restart the agent
            cable.connected.set()
            line.recovers()
            line.until(lambda: not output.safe)
        last = line.status
        assert (last["pid"], last["restarts"], last["errors"]) == (first["pid"], 0, 0)
        assert line.agent.error is None
        line.until(lambda: len(line.events("fault", "perception")) >= 2 * times)
        states = [told["state"] for told in line.events("fault", "perception")]
        assert states[: 2 * times] == ["failed", "restored"] * times
    assert output.safe
