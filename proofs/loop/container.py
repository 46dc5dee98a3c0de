"""A real systemd with the agent's unit, in a container on a throw-away copy of this system.

systemd-nspawn boots it on an overlay of `/`, whose changes are in memory, straight into the unit. Network and
clock are this system's. Nothing of it is left: the mounts are in a namespace of their own, the container ends
with the process that started it, by SIGTERM, since SIGKILL would leave its systemd behind.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from proofs.agent.runs import OUTRIDER
from proofs.agent.video import ROOT
from proofs.loop.unit import CONFIG, PROGRAM, SYSUSERS, TMPFILES, UNIT, running, searched

PROGRAMS = ("systemd-nspawn", "systemd-sysusers", "systemd-tmpfiles", "unshare", "setpriv", "nsenter")
INIT = Path("/lib/systemd/systemd")
HOMES = (Path("/root"), Path("/home"))
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - where nspawn and PrivateTmp put empty ones
CGROUPS, GROUPS = Path("/sys/fs/cgroup"), ("payload", "supervisor")
ENDS_S, LOOK_S = 20.0, 0.05
TAIL = 2000
ARGUMENTS = (f"systemd.unit={UNIT.name}", "systemd.journald.forward_to_console=1")
APART = ("setpriv", "--pdeathsig", "TERM", "unshare", "--mount", "--propagation", "private")
BOOT = """
set -e
mount -t tmpfs tmpfs /run
mkdir /run/up /run/work /run/root
cp -a "$1/." /run/up/
name="$2" bind="$3" users="$4" files="$5"
shift 5
mount -t overlay overlay -o lowerdir=/,upperdir=/run/up,workdir=/run/work /run/root
systemd-sysusers --root=/run/root "$users"
systemd-tmpfiles --root=/run/root --create "$files"
exec systemd-nspawn --quiet --directory=/run/root --machine="$name" --register=no --keep-unit \
    ${bind:+"--bind-ro=$bind"} /lib/systemd/systemd "$@"
"""


def missing() -> str:
    """Return why there can be no container here; empty if there is no reason known."""
    if os.geteuid() != 0:
        return "it needs root"
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if not INIT.exists():
        lacking.append("systemd")
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def version() -> str:
    """Return what systemd calls itself."""
    told = subprocess.run([INIT, "--version"], check=True, capture_output=True, text=True).stdout
    return " ".join(told.split()[:2])


class Container:
    """The container.

    Args:
        folder: private to it.
        config: the agent's, for `CONFIG`.
        files: further ones, by their paths in the container.
        paths: folders in the container where the agent's Python looks first.
        lines: further ones of the unit's section Service, in a drop-in.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        files: dict[str, Path],
        paths: Sequence[str | Path] = (),
        lines: Sequence[str] = (),
    ) -> None:
        """Lay out what is other than on this system."""
        self.log, self._tree = folder / "container.log", folder / "tree"
        self._name = f"outrider-proof-{os.getpid()}"
        self.relaxed = _relaxed()
        units = Path("/etc/systemd/system")
        python = [f"Environment=PYTHONPATH={searched(*paths)}"] if searched(*paths) else []
        drop_in = ["[Service]", *self.relaxed, *python, *lines, ""]
        texts: dict[str | Path, str] = {
            CONFIG: config,
            units / UNIT.name: UNIT.read_text(encoding="utf-8"),
            units / f"{UNIT.name}.d" / "proof.conf": "\n".join(drop_in),
            "/etc/machine-id": "",
        }
        for place, text in texts.items():
            self._made(place).write_text(text, encoding="utf-8")
        for place, path in files.items():
            shutil.copy(path, self._made(place))
        self._made(PROGRAM).symlink_to(OUTRIDER)
        for path in [self._tree, *self._tree.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)

    def __enter__(self) -> Self:
        """Boot it; the unit is started as soon as systemd can."""
        bind = str(ROOT) if _within(ROOT, TEMPORARY) else ""
        layout = [str(self._tree), self._name, bind, str(SYSUSERS), str(TMPFILES)]
        command = [*APART, "sh", "-c", BOOT, "boot", *layout, *ARGUMENTS]
        self._before = _cgroups()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, whatever it takes, and remove the control groups that it leaves behind."""
        init = self._init()
        self._process.terminate()
        try:
            self._process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            if init is not None:
                with suppress(ProcessLookupError):
                    os.kill(init, signal.SIGKILL)  # the kernel ends all others in it
            self._process.kill()
            self._process.wait()
        end_s = time.monotonic() + ENDS_S
        while (made := _cgroups() - self._before) and time.monotonic() < end_s:
            for group in sorted(made, reverse=True):  # the innermost first
                with suppress(OSError):  # who was in it may not be gone yet
                    group.rmdir()
            time.sleep(LOOK_S)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def agent(self) -> int | None:
        """Return the process id of the agent in it, as it is on this system; None if there is none."""
        return running(self._process.pid, ["agent", "run", "--config", CONFIG])

    def inside(self, place: str | Path) -> Path:
        """Return where a file of the container is to be found from here.

        Raises:
            RuntimeError: it has not booted.
        """
        if (init := self._init()) is None:
            raise RuntimeError("the container has no systemd")
        return Path(f"/proc/{init}/root") / str(place).lstrip("/")

    def show(self, *names: str) -> dict[str, str]:
        """Return properties of the unit as its systemd tells them; none while it does not answer."""
        told = self.call("systemctl", "show", UNIT.name, f"--property={','.join(names)}").stdout
        return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root, as a person there would; it fails if there is no systemd yet."""
        inside = ["nsenter", "--target", str(self._init() or ""), "--mount", "--pid", "--root", "--wd"]
        return subprocess.run([*inside, *command], check=False, capture_output=True, text=True)

    def said(self) -> str:
        """Return all it wrote: its systemd's own log and that of the units."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def words(self) -> str:
        """Return what it wrote last."""
        return self.said()[-TAIL:]

    def _init(self) -> int | None:
        return running(self._process.pid, [*ARGUMENTS])

    def _made(self, place: str | Path) -> Path:
        path = self._tree / str(place).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _relaxed() -> list[str]:
    """Return what of the unit cannot be as it is: this checkout and its Python may lie where it hides all."""
    needed = sorted({Path(sys.base_prefix), Path(sys.prefix), ROOT})
    homes = ["ProtectHome=tmpfs"] if any(_within(path, HOMES) for path in needed) else []
    hidden = [path for path in needed if _within(path, (*HOMES, *TEMPORARY))]
    return [*homes, *(f"BindReadOnlyPaths={path}" for path in hidden)]


def _within(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _cgroups() -> set[Path]:
    """Return the control groups that nspawn makes of its own, with all below them."""
    made = [group for name in GROUPS for group in CGROUPS.rglob(name) if group.is_dir()]
    return {path for group in made for path in (group, *group.rglob("*")) if path.is_dir()}
