"""How long after a camera has come back the loop decides again, the longer it was away the longer it waits.

Two cameras behind the agent's own source: one on the network, a server of JPEG pictures that OpenCV really
opens and that really goes away, and a local one, a simulated capture device.
"""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from outrider_agent.config import Engine
from outrider_agent.parts import Part
from outrider_agent.seams import Context
from outrider_agent.sources.camera import CameraOptions, CameraSource, open_capture
from outrider_bundle.bars import Row
from outrider_fleet.broker import free_port
from outrider_runtime.session import Array
from proofs.agent.runs import apart, say
from proofs.agent.video import frames
from proofs.engine.plug_ins import Watch
from proofs.engine.running import Agent, Setting, bundles, play

AWAY_S = (1.0, 2.0, 5.0, 10.0, 25.0)
FPS = 25.0
BOUNDARY = "frame"
HEAD = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
Kind = Literal["network", "local"]


class Plug(Protocol):
    """What can be pulled."""

    def pull(self) -> None:
        """Make the camera vanish."""
        ...

    def put(self) -> None:
        """Make it return."""
        ...


def rows() -> tuple[Row, ...]:
    """Measure both cameras; the worst is the value."""
    bundle = str(bundles()["first"])
    found: dict[str, list[float]] = {
        kind: apart(__name__, "measured", bundle, kind) for kind in ("network", "local")
    }
    each = ", ".join(f"{kind} median {median(s):.2f}, worst {max(s):.2f} s" for kind, s in found.items())
    away = ", ".join(f"{s:g}" for s in AWAY_S)
    return (
        Row(
            id="fault.camera",
            value=max(s for several in found.values() for s in several),
            sense="<=",
            limit=5.0,
            unit="s",
            how=(
                f"from its return to the next decision, source's defaults, away for {away} s: {each} of "
                f"{len(AWAY_S)}; network: MJPEG over HTTP opened by OpenCV; local: a simulated capture device"
            ),
        ),
    )


def measured(bundle: str, kind: Kind) -> list[float]:
    """Return the seconds from each return to the next decision."""
    images: list[Array] = [*frames(4)]
    watch = Watch()
    plug, source = _network(images) if kind == "network" else _local(images)
    setting = Setting(
        bundle=Path(bundle), source=source, watches=(watch,), engine=Engine(isolation="child", threads=1)
    )

    def scenario(agent: Agent) -> list[float]:
        found = []
        for away_s in AWAY_S:
            plug.pull()
            time.sleep(away_s)
            begun_s = time.monotonic()
            plug.put()
            agent.until(lambda _, since_s=begun_s: watch.last_s > since_s)
            found.append(watch.first_after(begun_s) - begun_s)
            say(f"camera: {kind}, away {away_s:g} s, back after {found[-1]:.2f} s")
            agent.until(lambda status: status["state"] == "RUNNING")
        return found

    return play(setting, scenario)


def _local(images: list[Array]) -> tuple[Plug, Part]:
    device = Device(images)
    return device, _camera(CameraOptions(), lambda _: Capture(device))


def _network(images: list[Array]) -> tuple[Plug, Part]:
    server = Server(images)
    server.put()
    return server, _camera(CameraOptions(device=server.url), open_capture)


def _camera(options: CameraOptions, opener: Callable[[CameraOptions], Any]) -> Part:
    def build(given: CameraOptions, context: Context) -> CameraSource:
        return CameraSource(given, context, opener)

    return Part(kind="camera", plugin=build, options=options)


class Device:
    """A local camera that can be unplugged."""

    def __init__(self, images: list[Array]) -> None:
        """Be there."""
        self.images, self.there = images, True

    def pull(self) -> None:
        """Vanish."""
        self.there = False

    def put(self) -> None:
        """Return."""
        self.there = True


class Capture:
    """One session with it; once it was away it gives nothing any more."""

    def __init__(self, device: Device) -> None:
        """Open it if it is there."""
        self._device, self._lost, self._count = device, not device.there, 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Whether frames can be read."""
        return not self._lost

    def read(self, _image: Array | None = None, /) -> tuple[bool, Array]:
        """Wait for the next frame."""
        time.sleep(1 / FPS)
        self._lost |= not self._device.there
        self._count += 1
        images = self._device.images
        return (False, np.empty(0, np.uint8)) if self._lost else (True, images[self._count % len(images)])

    def release(self) -> None:
        """Do nothing."""


class Server:
    """A network camera: JPEG pictures over HTTP, one after another, as many such cameras send them."""

    def __init__(self, images: list[Array]) -> None:
        """Choose a port; nothing listens yet."""
        pictures = [cv2.imencode(".jpg", image)[1].tobytes() for image in images]
        self._port, self._gone = free_port(), threading.Event()
        self._handler = _handler(pictures, self._gone)
        self._http: ThreadingHTTPServer | None = None
        self.url = f"http://127.0.0.1:{self._port}/stream.mjpg"

    def put(self) -> None:
        """Listen."""
        self._gone.clear()
        self._http = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def pull(self) -> None:
        """Close the port and all connections."""
        self._gone.set()
        assert self._http is not None
        self._http.shutdown()
        self._http.server_close()


def _handler(pictures: list[bytes], gone: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
            self.end_headers()
            number = 0
            try:
                while not gone.wait(1 / FPS):
                    picture = pictures[number % len(pictures)]
                    head = f"{HEAD}Content-Length: {len(picture)}\r\n\r\n"
                    self.wfile.write(head.encode() + picture + b"\r\n")
                    number += 1
            except OSError:  # who looked has gone
                return

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    return Handler
