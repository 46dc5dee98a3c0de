"""install.sh and uninstall.sh, into the image of a device; nothing of this machine is touched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import wheelhouse

FOLDER = Path(__file__).parents[2] / "systemd"
UNITS = Path("etc/systemd/system")
NEEDED = ("systemctl", "systemd-sysusers", "systemd-tmpfiles")
MISSING = [name for name in NEEDED if shutil.which(name) is None]

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="files of a device belong to its root"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]


class Image:
    """A device's file system, mounted below `root`."""

    def __init__(self, folder: Path) -> None:
        self.root, self.wheels = folder / "image", wheelhouse.write(folder / "wheels", "first")
        self.root.mkdir()

    def run(self, script: str, *arguments: str, fails: bool = False) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        command = ["sh", FOLDER / script, "--root", self.root, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
        )
        assert (done.returncode != 0) == fails, done.stderr
        return done.stdout + done.stderr

    def install(self, *arguments: str, fails: bool = False) -> str:
        python = str(Path(sys._base_executable).resolve())
        given = ["--wheelhouse", str(self.wheels), "--python", python, *arguments]
        return self.run("install.sh", *given, fails=fails)

    def says(self) -> str:
        program = self.root / "opt" / "outrider" / "bin"
        command = [program / "python", "-I", program / "outrider"]  # as if PYTHONPATH were not set
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Return what there is, with when it was written: what is written again has changed."""
        return {
            str(path.relative_to(self.root)): (path.lstat().st_mtime_ns, path.read_bytes())
            for path in self.root.rglob("*")
            if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts
        }

    def drop_ins(self, unit: str = "agent") -> set[str]:
        return {path.name for path in (self.root / UNITS / f"outrider-{unit}.service.d").glob("*")}


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


def test_it_installs_a_program_that_runs_and_a_unit_that_starts(image: Image) -> None:
    told = image.install("--with", "camera,gpio")
    assert "agent.toml" in told
    assert image.says() == "first"
    assert (image.root / UNITS / "multi-user.target.wants" / "outrider-agent.service").is_symlink()
    assert image.drop_ins() == {"10-outrider-camera.conf", "10-outrider-gpio.conf"}
    users = (image.root / "etc/passwd").read_text()
    assert "outrider:" in users
    folder = image.root / "etc/outrider"
    assert (folder.stat().st_mode & 0o777, folder.stat().st_uid) == (0o750, 0)
    assert (image.root / "usr/local/bin/outrider").readlink() == Path("/opt/outrider/bin/outrider")


def test_nothing_in_it_names_where_the_image_was_mounted(image: Image) -> None:
    image.install("--with", "camera")
    named = [
        path for pattern in ("opt/*/bin/*", "opt/*/*.cfg", "etc/**/*") for path in image.root.glob(pattern)
    ]
    for path in named:
        told = str(path.readlink()) if path.is_symlink() else path.read_text() if path.is_file() else ""
        assert str(image.root) not in told


def test_again_it_changes_nothing_and_keeps_what_was_chosen(image: Image) -> None:
    image.install("--with", "camera,gpio")
    before = image.files()
    image.install()
    assert image.files() == before


def test_a_newer_wheelhouse_is_an_upgrade(image: Image) -> None:
    image.install("--with", "camera")
    wheelhouse.write(image.wheels, "second", "9.9.10")
    image.install()
    assert image.says() == "second"
    assert len(list(image.root.glob("opt/outrider-*"))) == 1
    assert image.drop_ins() == {"10-outrider-camera.conf"}


def test_an_install_that_was_cut_off_is_begun_again(image: Image) -> None:
    part = image.root / "opt" / ".outrider.part"
    part.mkdir(parents=True)
    (part / "half").touch()
    image.install()
    assert image.says() == "first"
    assert not part.exists()


def test_wheels_that_do_not_go_with_the_device_leave_the_old_program(image: Image) -> None:
    image.install()
    wheelhouse.write(image.wheels, "second", "9.9.10")
    (image.wheels / "other-1.0-cp27-cp27m-win32.whl").write_bytes(b"")
    assert "do not go with this device" in image.install(fails=True)
    assert not (image.root / "opt" / ".outrider.part").exists()
    assert image.says() == "first"


def test_a_damaged_wheelhouse_is_refused(image: Image) -> None:
    (image.wheels / "SHA256SUMS").write_text(f"{'0' * 64}  outrider-9.9.9-py3-none-any.whl\n")
    assert "damaged" in image.install(fails=True)
    assert not (image.root / "opt").exists()


def test_another_choice_takes_the_place_of_the_first(image: Image) -> None:
    image.install("--with", "camera,fpga")
    own = image.root / UNITS / "outrider-agent.service.d" / "site.conf"
    own.write_text("[Service]\nMemoryMax=1G\n")
    assert image.drop_ins("updater") == {"10-outrider-fpga.conf"}
    image.install("--with", "serial")
    assert image.drop_ins() == {"10-outrider-serial.conf", "site.conf"}
    assert image.drop_ins("updater") == set()
    image.install("--with", "none")
    assert image.drop_ins() == {"site.conf"}


@pytest.mark.parametrize("wrong", ["lidar", "../camera", "fpga-updater"])
def test_an_unknown_drop_in_is_refused_before_anything_is_done(image: Image, wrong: str) -> None:
    assert wrong in image.install("--with", wrong, fails=True)
    assert image.files() == {}


@pytest.mark.parametrize("updater", [False, True])
def test_the_updater_is_enabled_where_the_program_has_it(image: Image, updater: bool) -> None:  # noqa: FBT001
    wheelhouse.write(image.wheels, "first", updater=updater)
    image.install()
    for wants in ("multi-user.target.wants", "outrider-agent.service.wants"):
        assert (image.root / UNITS / wants / "outrider-updater.service").is_symlink() == updater


def test_a_dry_run_says_all_and_does_nothing(image: Image) -> None:
    told = image.install("--with", "camera", "--dry-run")
    for word in ("build", "turn", "outrider-agent.service", "10-outrider-camera.conf", "sysusers", "enable"):
        assert f"{word}" in told
    assert list(image.root.iterdir()) == []
    image.install()
    before = image.files()
    assert "rm" in image.run("uninstall.sh", "--dry-run", "--purge")
    assert image.files() == before


def test_uninstalling_keeps_state_and_configuration(image: Image) -> None:
    image.install("--with", "camera,fpga")
    for path in ("var/lib/outrider/outbox.db", "etc/outrider/agent.toml"):
        (image.root / path).parent.mkdir(parents=True, exist_ok=True)
        (image.root / path).touch()
    image.run("uninstall.sh")
    left = set(image.files())
    assert {"var/lib/outrider/outbox.db", "etc/outrider/agent.toml"} <= left
    assert "outrider:" in (image.root / "etc/passwd").read_text()
    assert not [name for name in left if name.startswith(("opt", "etc/systemd", "etc/udev", "usr"))]
    assert not list((image.root / "opt").iterdir())
    image.run("uninstall.sh", "--purge")
    assert not [name for name in image.files() if "outrider" in name]
    assert "outrider:" not in (image.root / "etc/passwd").read_text()


def test_uninstalling_twice_is_no_fault(image: Image) -> None:
    image.run("uninstall.sh", "--purge")
    assert image.files() == {}


def test_a_wheelhouse_for_an_unknown_machine_is_refused() -> None:
    script = FOLDER.parent / "requirements" / "wheelhouse.sh"
    done = subprocess.run(["sh", script, "m68k"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "aarch64, x86_64, armv7l" in done.stderr
