"""`outrider agent config --example`: what is printed is sound, what is written runs and ends by itself."""

import json
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import pytest

from outrider_agent import cli, parts
from outrider_agent.broker import BrokerOptions
from outrider_agent.config import CascadeTable, Document, Engine, Trust
from outrider_agent.discovery.options import DiscoveryOptions
from outrider_agent.examples import inputs, texts
from outrider_bundle import settings
from outrider_bundle.container import Bundle
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.slot import Slot, unpack
from outrider_runtime.perception import Control
from outrider_runtime.pipeline import Model

BUILDER = Path(__file__).parents[2] / "examples" / "agent"


def write(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert cli.main(["config", "--example", name, "--out", str(folder)]) == 0
    path = folder / "agent.toml"
    assert f"outrider agent run --config {path}\n" in capsys.readouterr().out
    return path


def run(path: Path) -> tuple[dict[str, Any], str]:
    """Run an agent in as little time as it takes; return its summary and its log."""
    text = re.sub(r"(?m)^fps = 10 ", "fps = 0 ", path.read_text())
    path.write_text(text.replace('isolation = "auto"', 'isolation = "inline"'))
    summary = path.with_name("summary.json")
    command = [sys.executable, "-c", "from outrider_bundle.dispatch import main; raise SystemExit(main())"]
    command += ["agent", "run", "--config", str(path), "--summary", str(summary)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(summary.read_text())
    return read, done.stderr


@pytest.mark.parametrize(
    ("name", "frames"), [("image", inputs.FRAMES), ("sensor", inputs.WINDOWS), ("control", 1500)]
)
def test_an_example_runs_and_ends_by_itself(
    name: str, frames: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(name, tmp_path / "a folder's", capsys)
    told, log = run(path)
    assert (told["frames"], told["dropped"], told["errors"], told["exit"]) == (frames, 0, 0, 0)
    assert told["decisions"] >= 2
    if name == "control":
        lines = (path.parent / "episodes.jsonl").read_text().splitlines()
        assert statistics.mean(json.loads(line)["reward"] for line in lines) >= 195
    if name == "sensor":
        decided = re.findall(r"(\d+) \{.*\"alarm\":(true|false)", log)
        assert decided == [(str(inputs.KNOCKS.start + 1), "true"), (str(inputs.KNOCKS.stop), "false")]


@pytest.fixture
def policy(tmp_path: Path) -> Iterator[Model]:
    with Bundle.open(texts.HERE / "control.orb") as bundle:
        manifest = bundle.manifest
        variant = manifest.ranked()[0]
        slot = Slot.open(unpack(bundle, [variant.id], tmp_path / "slots"))
    model = Model.open(manifest, variant, slot.files(variant.id))
    yield model
    model.close()


def test_the_policy_balances_the_pole(policy: Model) -> None:
    plant, rewards = gymnasium.make("CartPole-v1"), []
    for seed in range(20):
        seen, _ = plant.reset(seed=seed)
        reward, over = 0.0, False
        while not over:
            wanted = policy.perceive(seen)
            assert isinstance(wanted, Control)
            seen, gained, fallen, ended, _ = plant.step(wanted.index)
            reward, over = reward + float(gained), fallen or ended
        rewards.append(reward)
    plant.close()
    assert statistics.mean(rewards) >= 195


@pytest.mark.parametrize("name", texts.NAMES)
def test_without_a_folder_it_is_printed_with_a_line_on_how_to_get_the_rest(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["config", "--example", name]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].endswith(f"outrider agent config --example {name} --out DIR")
    assert "@" not in shown
    assert f'bundle = "{name}.orb"' in shown
    document, faults = settings.convert(tomllib.loads(shown), Document, "")
    assert not faults
    assert document is not None
    assert not document.device.state_dir.is_absolute()


def alternatives(text: str) -> Iterator[str]:
    """Yield the commented tables, ready to be read."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if re.match(r"#[^ #]", line) or (block and line.startswith("#  ")):
            block.append(line[1:])
        elif block:
            yield "\n".join(block)
            block = []


TABLES = {
    "link": BrokerOptions,
    "discovery": DiscoveryOptions,
    "trust": Trust,
    "engine": Engine,
    "cascade": CascadeTable,
}
GROUPS = {
    "source": parts.SOURCES,
    "policy": parts.POLICIES,
    "actions": parts.ACTIONS,
    "sources": parts.SOURCES,
}


def judged(block: str) -> tuple[str, list[str]]:
    """Return what a table is about, and what is wrong with it."""
    table = tomllib.loads(block)
    ((where, content),) = table.items()
    if where == "pipelines":
        entries = content[0] if isinstance(content, list) else content
        ((where, content),) = entries.items()
    entry: dict[str, Any] = content[0] if isinstance(content, list) else content
    if where in GROUPS:
        entry.pop("id", None)
        return f"{where} {entry['kind']}", parts.find(GROUPS[where], entry, where)[1]
    return where, settings.convert(entry, TABLES[where], where)[1]


@pytest.mark.parametrize("name", texts.NAMES)
def test_whatever_could_stand_there_is_right_as_well(name: str) -> None:
    found = [judged(block) for block in alternatives(texts.text(name))]
    assert [(what, faults) for what, faults in found if faults] == []
    said = {what for what, _ in found}
    assert {"link", "discovery", "trust", "engine", "sources camera"} <= said
    assert {f"actions {kind}" for kind in ("mqtt", "http", "gpio", "modbus", "command")} <= said
    assert {"image": "cascade", "sensor": "source mqtt", "control": "policy passthrough"}[name] in said


def test_a_configuration_that_is_there_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("image", tmp_path, capsys)
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        cli.main(["config", "--example", "image", "--out", str(tmp_path)])
    assert path.read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(OutriderError, match="cannot be written"):
        cli.main(["config", "--example", "control", "--out", str(tmp_path / "file")])


@pytest.mark.parametrize("folder", ['/a "b"', "/a\\b", "/a\nb", "/größe"])
def test_any_folder_can_stand_in_a_text(folder: str) -> None:
    read = tomllib.loads(texts.text("image", Path(folder)))
    assert read["pipelines"][0]["bundle"] == f"{folder}/image.orb"


def test_devices_carry_little_of_it() -> None:
    sizes = {path.name: path.stat().st_size for path in texts.HERE.iterdir() if path.is_file()}
    assert sum(sizes.values()) < 60_000
    assert all(size < 20_000 for size in sizes.values())


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BUILDER))
    import build_bundles  # noqa: PLC0415 - a script, found by its folder

    yield build_bundles
    sys.modules.pop("build_bundles", None)


@pytest.mark.parametrize("name", texts.NAMES)
def test_the_bundles_are_what_their_script_builds(name: str, builder: ModuleType, tmp_path: Path) -> None:
    built = builder.build(name, tmp_path)
    with Bundle.open(built) as new, Bundle.open(texts.HERE / f"{name}.orb") as old:
        same = {blob.name: blob.sha256 for blob in old.manifest.blobs if blob.name != "expected"}
        assert {blob.name: blob.sha256 for blob in new.manifest.blobs if blob.name != "expected"} == same
        assert (new.manifest.inputs, new.manifest.outputs) == (old.manifest.inputs, old.manifest.outputs)
        assert (new.manifest.variants, new.manifest.golden) == (old.manifest.variants, old.manifest.golden)
