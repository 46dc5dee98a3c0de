"""The systemd units say what the errors say, systemd reads them, and devices are opened by drop-ins only."""

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from outrider_bundle import errors

FOLDER = Path(__file__).parents[2] / "systemd"
AGENT, UPDATER = FOLDER / "outrider-agent.service", FOLDER / "outrider-updater.service"
DROP_INS = sorted((FOLDER / "drop-ins").glob("*.conf"))
ANALYZER = shutil.which("systemd-analyze") is None


def directives(path: Path) -> dict[str, list[str]]:
    """Return a unit's settings; one may come more than once."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text().splitlines():
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
    (listed,) = directives(AGENT)["RestartPreventExitStatus"]
    assert {int(code) for code in listed.split()} == {error.exit_code for error in hopeless}


def test_it_restarts_and_watches_everything_else() -> None:
    found = directives(AGENT)
    assert found["Type"] == ["notify"]
    assert found["Restart"] == ["on-failure"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert int(found["WatchdogSec"][0]) >= 10
    assert found["ExecStart"][0].endswith("outrider agent run --config /etc/outrider/agent.toml")
    assert found["ExecStopPost"][0].endswith("outrider agent safe-state --config /etc/outrider/agent.toml")
    assert found["ExecReload"][0].endswith("kill -HUP $MAINPID")
    assert errors.LinkError.exit_code not in map(int, found["RestartPreventExitStatus"][0].split())


def test_both_own_the_state_and_neither_requires_the_other() -> None:
    agent, updater = directives(AGENT), directives(UPDATER)
    for key in ("User", "Group", "StateDirectory", "StateDirectoryMode", "UMask"):
        assert agent[key] == updater[key]
    assert "outrider-updater.service" in agent["WantedBy"][0].split()
    assert "outrider-agent.service" in updater["WantedBy"][0].split()
    for found in (agent, updater):
        assert not {"Requires", "BindsTo", "PartOf", "Requisite"} & set(found)
        assert not any("outrider" in value for value in found["After"] + found["Before"])


def test_no_device_is_open_before_a_drop_in_opens_it() -> None:
    for unit in (AGENT, UPDATER):
        found = directives(unit)
        assert found["PrivateDevices"] == ["yes"]
        assert found["DevicePolicy"] == ["closed"]
        assert not {"DeviceAllow", "SupplementaryGroups"} & set(found)


def test_each_group_of_a_drop_in_is_made() -> None:
    made = re.findall(r"^[gu] (\S+)", (FOLDER / "outrider.sysusers.conf").read_text(), re.MULTILINE)
    for path in DROP_INS:
        assert set(" ".join(directives(path)["SupplementaryGroups"]).split()) <= set(made)


def test_a_drop_in_opens_devices_and_no_more_than_that() -> None:
    allowed = {"PrivateDevices", "DeviceAllow", "SupplementaryGroups", "RestrictAddressFamilies"}
    for path in DROP_INS:
        if not path.name.startswith("fpga"):
            assert set(directives(path)) - {"SupplementaryGroups", "RestrictAddressFamilies"} <= allowed
            assert directives(path)["PrivateDevices"] == ["no"]


def test_both_are_root_where_an_fpga_asks_for_it() -> None:
    agent = directives(FOLDER / "drop-ins" / "fpga.conf")
    updater = directives(FOLDER / "drop-ins" / "fpga-updater.conf")
    assert agent["User"] == updater["User"] == ["root"]
    assert agent["CapabilityBoundingSet"] == ["CAP_SYS_RAWIO"]
    assert "CapabilityBoundingSet" not in updater


@pytest.mark.skipif(ANALYZER, reason="systemd-analyze is not installed")
def test_systemd_reads_and_scores_all_of_them() -> None:
    done = subprocess.run(["sh", FOLDER / "check.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    scores = [float(score) for score in re.findall(r"score ([\d.]+)$", done.stdout, re.MULTILINE)]
    assert len(scores) == 2 + len(DROP_INS) + 2  # alone, with each drop-in, with all
    assert max(scores) <= 2.0


@pytest.mark.skipif(ANALYZER, reason="systemd-analyze is not installed")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("TasksMax=", "TaskMax=", "TaskMax"),
        ("ProtectSystem=strict", "ProtectSystem=no", "its score is above"),
    ],
)
def test_the_check_refuses(tmp_path: Path, old: str, new: str, said: str) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    unit = tmp_path / AGENT.name
    text = unit.read_text().replace(old, new)
    if "score" in said:
        text = "\n".join(line for line in text.splitlines() if not line.startswith(("Protect", "Private")))
    unit.write_text(text)
    done = subprocess.run(["sh", tmp_path / "check.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
