"""A mosquitto of one's own: a private configuration, a free loopback port, and no survivor.

For the demo, for tests and for trying things out; a real fleet brings its own MQTT 5 broker.
"""

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from outrider_bundle.errors import LinkError, UsageError
from outrider_fleet import lifeline

HOST = "127.0.0.1"
STANDARD_PORT = 1883
# Below the range that Linux takes client ports from: a client that keeps trying to reach a dead
# broker on a port of that range can one day be given this very port and connect to itself.
PORTS = range(20_000, 30_000)
PORT_TRIES = 100
START_TRIES = 3
PROBE_TIMEOUT_S = 1.0
POLL_S = 0.02
STOP_TIMEOUT_S = 5.0
LOG_LINES = 5

# MQTT 5, sections 3.1, 3.2 and 3.14: CONNECT (clean start, no client id), CONNACK, DISCONNECT.
CONNECT = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x05\x00\x00\x00"
CONNACK = 0x20
DISCONNECT = b"\xe0\x00"


def program() -> Path:
    """Return the path of mosquitto.

    Raises:
        LinkError: it is not installed.
    """
    # Debian puts it into /usr/sbin, which is not on every user's PATH.
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise LinkError("mosquitto is not installed", "Install it: sudo apt-get install mosquitto")
    return Path(found)


def free_port() -> int:
    """Return a loopback port that nothing listens on now; never 1883.

    Raises:
        LinkError: none was found.
    """
    for port in random.sample(PORTS, PORT_TRIES):
        if is_free(port):
            return port
    raise LinkError(f"No free port among {PORT_TRIES} tried from {PORTS.start} up", "Stop what listens there")


def is_free(port: int) -> bool:
    """Whether nothing listens on loopback's `port`; connections that are about to end do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def configuration(folder: Path, port: int, autosave_interval_s: int, extra: Sequence[str] = ()) -> str:
    """Return the text of mosquitto.conf.

    Args:
        folder: where the broker keeps its state.
        port: to listen on, loopback only.
        autosave_interval_s: how much a SIGKILL may lose; the broker's default is 1800.
        extra: further lines.
    """
    lines = [
        f"listener {port} {HOST}",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {folder}/",
        f"autosave_interval {autosave_interval_s}",
        "set_tcp_nodelay true",  # without it a round trip may wait 40 ms for a delayed ACK
        "max_inflight_messages 64",
        "max_queued_messages 100000",  # beyond this messages are dropped without a word
        "max_queued_bytes 67108864",
        "max_packet_size 2097152",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
    ]
    if os.geteuid() == 0:
        # Else it becomes another user, who cannot write here and whom the death of its parent
        # no longer reaches: the kernel forgets that wish when credentials change.
        lines.append("user root")
    return "\n".join([*lines, *extra]) + "\n"


def answers(port: int, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
    """Whether an MQTT broker on loopback answers a CONNECT."""
    try:
        with socket.create_connection((HOST, port), timeout_s) as probe:
            probe.sendall(CONNECT)
            reply = probe.recv(1)
            probe.sendall(DISCONNECT)
    except OSError:
        return False
    return reply == bytes([CONNACK])


class Broker:
    """A managed mosquitto, as a context manager; its log is `mosquitto.log` in `folder`.

    Start it from a thread that outlives it, see `lifeline`.

    Args:
        folder: private to this broker; made if it is not there. What lies there is taken up again.
        port: of loopback; a free one if None.
        autosave_interval_s: the most that `kill` may lose, in seconds.
        timeout_s: for it to accept connections.
        extra: further lines of configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        autosave_interval_s: int = 1,
        timeout_s: float = 10.0,
        extra: Sequence[str] = (),
    ) -> None:
        """Choose the port; nothing is started yet."""
        if port == STANDARD_PORT:
            raise UsageError(
                f"Port {STANDARD_PORT} belongs to the system's broker",
                "Choose another one, or none for a free one",
            )
        self.folder = folder.resolve()
        self.port = port or free_port()
        self.log = self.folder / "mosquitto.log"
        self._fixed = port is not None
        self._autosave_interval_s = autosave_interval_s
        self._timeout_s = timeout_s
        self._extra = tuple(extra)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for a `[link]` section."""
        return f"mqtt://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id, None if it does not run."""
        return self._process.pid if self.alive and self._process else None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        """Start the broker."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the broker."""
        self.stop()

    def start(self) -> None:
        """Start and wait until a connection is really accepted; does nothing if it runs.

        Raises:
            LinkError: it is not installed, ended at once or never accepted; with its last words.
        """
        for attempt in range(1, START_TRIES + 1):
            try:
                self._start()
            except LinkError:
                # Between choosing a port and listening on it somebody else may take it.
                if self._fixed or attempt == START_TRIES or is_free(self.port):
                    raise
                self.port = free_port()
            else:
                self._fixed = True  # clients know it from now on
                return

    def restart(self) -> None:
        """Start again on the same port with what was saved; stops it first if it runs."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End it with SIGKILL, as a power cut would: what was not saved is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it with SIGTERM, on which it saves its state; idempotent."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def _start(self) -> None:
        if self.alive:
            return
        if not is_free(self.port):  # whoever is there would answer in our broker's place
            raise LinkError(f"Port {self.port} is taken", "Stop what listens there, or take another port")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        config = self.folder / "mosquitto.conf"
        text = configuration(self.folder, self.port, self._autosave_interval_s, self._extra)
        config.write_text(text, encoding="utf-8")
        with self.log.open("ab") as log:
            self._process = lifeline.spawn([program(), "-c", config], stdout=log, stderr=log)
        deadline_s = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline_s:
            if answers(self.port):
                return
            if not self.alive:
                self._process = None
                raise LinkError(f"mosquitto ended at once: {self._last_words()}", f"Its log is {self.log}")
            time.sleep(POLL_S)
        self.kill()
        raise LinkError(
            f"mosquitto does not accept connections on port {self.port} after {self._timeout_s:g} s",
            f"Its log is {self.log}",
        )

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(lines[-LOG_LINES:]) or "it said nothing"
