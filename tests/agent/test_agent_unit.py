"""The systemd unit says what the errors say, and systemd reads it."""

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from outrider_bundle import errors

UNIT = Path(__file__).parents[2] / "systemd" / "outrider-agent.service"


def directives() -> dict[str, list[str]]:
    """Return the unit's settings; one may come more than once."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found[key].append(value)
    return found


def test_it_does_not_restart_where_trying_again_cannot_help() -> None:
    hopeless = (
        errors.UsageError,
        errors.MissingExtraError,
        errors.BundleError,
        errors.SignatureError,
        errors.IncompatibleError,
        errors.ProofError,
    )
    (listed,) = directives()["RestartPreventExitStatus"]
    assert {int(code) for code in listed.split()} == {error.exit_code for error in hopeless}


def test_it_restarts_and_watches_everything_else() -> None:
    found = directives()
    assert found["Type"] == ["notify"]
    assert found["Restart"] == ["on-failure"]
    assert int(found["WatchdogSec"][0]) >= 10
    assert found["ExecStart"][0].endswith("outrider agent run --config /etc/outrider/agent.toml")
    assert errors.LinkError.exit_code not in map(int, found["RestartPreventExitStatus"][0].split())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_reads_it_without_complaint(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    program = directives()["ExecStart"][0].split()[0]
    unit.write_text(UNIT.read_text().replace(program, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert complaints == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_it_is_exposed_no_more_than_it_must() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-400:]
