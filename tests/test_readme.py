"""README's commands, run in its order as a reader would, on a recipe that takes seconds."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest

from outrider_bundle import plugins
from outrider_converter.formats import onnx
from outrider_converter.recipe import read_recipe
from outrider_converter.reference import load_teacher
from tests.fakes.toy import write_toy

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
OUTRIDER = Path(sys.executable).with_name("outrider")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def write_model(folder: Path) -> None:
    """Write the toy's teacher as ONNX, photos to calibrate it on, and what a file does not say of itself."""
    recipe = read_recipe(folder / "recipe.toml")
    onnx.export(load_teacher(recipe, 3, folder), recipe, folder / "model.onnx")
    (folder / "photos").mkdir()
    for index, frame in enumerate(np.random.default_rng(0).integers(0, 256, (48, 12, 12), np.uint8)):
        frame[:, 4 * (index % 3) : 4 * (index % 3) + 4] = 255
        cv2.imwrite(str(folder / "photos" / f"{index:02}.png"), frame)
    (folder / "names.txt").write_text("left\nmiddle\nright\n", encoding="utf-8")
    (folder / "preprocess.toml").write_text(
        'kind = "image"\ncolor = "gray"\nresize = "stretch"\nscale = 0.00392156862745098\n'
        "mean = [0.4]\nstd = [0.25]\n",
        encoding="utf-8",
    )


def commands() -> Iterator[list[str]]:
    for block in blocks("sh"):
        for line in block.splitlines():
            yield shlex.split(line, comments=True)


@contextmanager
def running(folder: Path, config: str) -> Iterator[None]:
    """Let the agent run as long as its commands are asked, on images that begin again."""
    (folder / "again.toml").write_text(
        config.replace("fps = 50.0", "fps = 50.0\nloop = true"), encoding="utf-8"
    )
    with subprocess.Popen([OUTRIDER, "agent", "run", "--config", "again.toml"], cwd=folder) as agent:
        try:
            end_s = time.monotonic() + 60
            ask = [OUTRIDER, "agent", "status", "--config", "again.toml", "--json"]
            while b'"frames"' not in subprocess.run(ask, cwd=folder, capture_output=True, check=False).stdout:
                assert time.monotonic() < end_s
            yield
        finally:
            agent.terminate()


@pytest.mark.timeout(300)
def test_every_command_does_what_it_says(tmp_path: Path) -> None:
    write_toy(tmp_path, ('name = "toy"', 'name = "sorter"'), ('app = "test"', 'app = "sorter"'))
    write_model(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for index in range(5):
        frame = np.full((12, 12), 60, np.uint8)
        frame[:, 4 * (index % 3) : 4 * (index % 3) + 4] = 200
        cv2.imwrite(str(images / f"{index}.png"), frame)
    (config,) = blocks("toml")
    (tmp_path / "agent.toml").write_text(config, encoding="utf-8")
    ran = []
    for command in commands():
        assert command[0] == "outrider", command
        asks = command[2:3] in (["status"], ["snapshot"], ["swap"])
        with running(tmp_path, config) if asks else nullcontext():
            done = subprocess.run(
                [OUTRIDER, *command[1:]],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                timeout=200,
            )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        ran.append(tuple(command[1:3]))
    assert {("bundle", "inspect"), ("bundle", "sign"), ("agent", "run")} <= set(ran)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames"] + summary["dropped"] == 5
    assert summary["errors"] == 0


def test_every_make_target_exists() -> None:
    text = TEXT + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^ *|`)make ([a-z]+)", text, re.MULTILINE))
    assert {"demo", "test", "check", "prove", "bars"} <= targets
    assert shutil.which("make")
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / link).exists(), link


def test_every_plugin_that_is_installed_has_a_row() -> None:

    for group in ("runtimes", "sources", "policies", "actions"):
        for name in plugins.names(f"outrider.{group}"):
            assert f"`{name}`" in TEXT, f"README's table lacks {group} {name}"


def test_architecture_stays_short() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) < 150
