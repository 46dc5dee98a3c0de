"""Plug-ins of third parties: found by their entry points, held to the same contract, usable by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from outrider_agent import config

ROOT = Path(__file__).parents[2]
ENTRY_POINTS = """
[outrider.sources]
noise = gadget:NoiseSource
[outrider.policies]
always = gadget:AlwaysPolicy
[outrider.actions]
tally = gadget:TallyAction
"""
GADGET = '''
"""Somebody else's plug-ins."""
import time
import numpy as np
from msgspec import Struct
from outrider_agent.seams import Decision, Frame

class SizeOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    size: int

class NoOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass

class NoiseSource:
    Options = SizeOptions
    def __init__(self, options, context):
        self.size, self.open = options.size, True
    @staticmethod
    def example(folder):
        return {"size": 6}
    def frames(self, wait_s):
        for seq in range(40):
            if not self.open:
                return
            time.sleep(0.005)
            image = np.full((self.size, self.size), seq, np.uint8)
            yield Frame(id=f"n{seq}", time_s=time.monotonic(), array=image, seq=seq)
    def close(self):
        self.open = False

class AlwaysPolicy:
    Options = NoOptions
    def __init__(self, options):
        pass
    def initial(self):
        return 0
    def decide(self, perception, state, now):
        return [Decision(data={"label": list(perception.labels), "count": state})], state + 1

class TallyAction:
    Options = NoOptions
    needs_link = True
    def __init__(self, options, context):
        self.count = 0
    def apply(self, decision):
        self.count += 1
    def safe_state(self):
        self.count = 0
    def close(self):
        pass
'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder with an installed distribution in it."""
    metadata = tmp_path / "site" / "gadget-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: gadget\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "site" / "gadget.py").write_text(GADGET)
    return tmp_path / "site"


def test_the_suites_pick_them_up_and_they_pass(site: Path) -> None:
    names = {"sources": "noise", "policies": "always", "actions": "tally"}
    suites = [str(ROOT / "tests/contract" / f"test_contract_{group}.py") for group in names]
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *suites, "-k"]
    command.append(" or ".join(names.values()))
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(f"[{name}] PASSED" in done.stdout for name in names.values())
    assert "14 passed" in done.stdout


def test_a_configuration_names_them_like_our_own(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site))
    text = """
device = {id = "a", fleet = "b", app = "c", hardware = "d", state_dir = "e"}
trust = {allow_unsigned = true}
link = {url = "mqtt://127.0.0.1:2"}
[[pipelines]]
id = "belt"
bundle = "x.orb"
source = {kind = "noise", size = 8}
policy = {kind = "always"}
actions = [{kind = "tally"}]
"""
    path = tmp_path / "agent.toml"
    path.write_text(text)
    (pipeline,) = config.read(path).pipelines
    assert (pipeline.source.kind, pipeline.policy.kind, pipeline.actions[0].kind) == (
        "noise",
        "always",
        "tally",
    )
    path.write_text(text.replace("link = ", "# ").replace("size = 8", 'size = "big"'))
    with pytest.raises(config.UsageError) as caught:
        config.read(path)
    assert "pipelines[0].source.size: expected int, got str" in str(caught.value)
    assert "'tally' needs a broker" in str(caught.value)
