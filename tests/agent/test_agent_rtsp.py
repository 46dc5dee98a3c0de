"""The source `camera` over a network, through OpenCV's own readers, against cameras on loopback.

The cameras are simulated, their protocols are not: HTTP with JPEG after JPEG, and RTSP with JPEG over RTP.
H.264 is not served here.
"""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from outrider_agent.feeder import Feeder
from outrider_agent.mailbox import Mailbox
from outrider_agent.seams import Context, Frame, NullPublisher
from outrider_agent.sources.camera import CameraOptions, CameraSource, masked
from outrider_bundle.topics import Topics
from tests.fakes.mjpeg import MjpegServer
from tests.fakes.rtsp import PASSWORD, RtspServer

CONTEXT = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher())
TIMEOUT_S = 1.0

both = pytest.mark.parametrize("kind", [MjpegServer, RtspServer])


def source(url: str) -> CameraSource:
    return CameraSource(CameraOptions(device=url, timeout_s=TIMEOUT_S, retry_s=0.1), CONTEXT)


def read(made: CameraSource, count: int) -> list[Frame]:
    frames: list[Frame] = []
    end_s = time.monotonic() + 30
    for frame in made.frames(0.1):
        assert time.monotonic() < end_s
        if frame is not None:
            frames.append(frame)
        if len(frames) == count:
            break
    return frames


@pytest.fixture
def silent() -> Iterator[int]:
    """Give the port of a host that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@both
def test_pictures_arrive_whole_and_in_order(kind: type[MjpegServer]) -> None:
    with kind([40]) as server:
        frames = read(source(server.url), 12)
    assert [round(float(frame.array.mean())) for frame in frames] == [20 * n for n in range(12)]
    assert {frame.array.shape for frame in frames} == {(48, 64, 3)}
    assert [frame.seq for frame in frames] == list(range(12))


@both
def test_a_camera_that_drops_the_connection_is_opened_again(
    kind: type[MjpegServer], caplog: pytest.LogCaptureFixture
) -> None:
    with kind([30, 30]) as server:
        frames = read(source(server.url), 40)
    assert [frame.seq for frame in frames] == list(range(40))
    said = [record.message for record in caplog.records]
    assert ["gives no frames" in said[0], "is back" in said[1]] == [True, True]


@both
def test_a_camera_that_hangs_is_given_up_and_opened_again(kind: type[MjpegServer]) -> None:
    with kind([0, 30]) as server:
        begun = time.monotonic()
        assert len(read(source(server.url), 5)) == 5
        assert TIMEOUT_S / 2 < time.monotonic() - begun < 20.0


@both
def test_closing_while_it_opens_returns_at_once_and_leaves_no_thread(
    kind: type[MjpegServer], silent: int
) -> None:
    before = set(threading.enumerate())
    made = source(f"{kind.scheme}://127.0.0.1:{silent}/stream")
    feeder = Feeder(made, Mailbox(), "belt")
    feeder.start()
    begun = time.monotonic()
    made.close()
    assert time.monotonic() - begun < 0.5
    feeder.stop()
    feeder._thread.join(TIMEOUT_S + 10)
    assert set(threading.enumerate()) <= before
    assert feeder.error is None


@both
def test_a_host_that_refuses_is_tried_again_until_it_is_closed(kind: type[MjpegServer]) -> None:
    with kind([]) as server:
        url = server.url
    made = source(url)
    turns = made.frames(0.02)
    assert [next(turns) for _ in range(20)] == [None] * 20
    made.close()
    assert list(turns) == []


def test_user_and_password_are_used_and_never_said(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with RtspServer([30]) as server:
        made = source(server.url)
        read(made, 30)
        turns = made.frames(0.02)
        for _ in range(10):  # it is gone now
            next(turns)
    assert b"Authorization: Basic" in b"".join(server.requests)
    said = caplog.text + "".join(capfd.readouterr())
    assert "rtsp://***@127.0.0.1" in said
    assert PASSWORD not in said


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_nor_are_they_said_of_a_host_that_is_not_there(
    scheme: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    turns = source(f"{scheme}://viewer:{PASSWORD}@127.0.0.1:9/stream?key={PASSWORD}").frames(0.02)
    assert [next(turns) for _ in range(5)] == [None] * 5
    assert PASSWORD not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (0, "0"),
        ("/dev/video0", "/dev/video0"),
        ("rtsp://camera:554/stream", "rtsp://camera:554/stream"),
        ("rtsp://user:pass@camera/stream", "rtsp://***@camera/stream"),
        ("rtsp://user:p@ss/w#rd?@camera/stream", "rtsp://***@camera/stream"),
        ("http://user@camera/video?key=secret", "http://***@camera/video?***"),
        ("http://camera/video?key=secret#part", "http://camera/video?***"),
    ],
)
def test_what_a_camera_is_called_holds_no_secret(device: int | str, said: str) -> None:
    assert masked(device) == said
