"""A distilled int8 policy that really drives its plant, over the float teacher at the same plant.

The student's loop is a real agent: source gym in lockstep, engine in a child, policy argmax, action gym. The
teacher is stepped directly in gymnasium, from the same seeds. The bundle is converted here.
"""

import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any

import gymnasium
import msgspec

from outrider_bundle.bars import Row
from outrider_bundle.container import Bundle
from proofs.agent.runs import OUTRIDER, apart, say
from proofs.agent.video import ROOT
from proofs.loop.agents import Agent, document, scaled

EXAMPLE = ROOT / "examples" / "cartpole"
PLANT, APP = "CartPole-v1", "balance"
SEEDS = 20
CONVERT_S, PLAY_S = 300.0, 300.0


def rows() -> tuple[Row, ...]:
    """Convert, play and compare."""
    seeds = scaled(SEEDS)
    with tempfile.TemporaryDirectory() as name:
        bundle = _converted(Path(name) / "converted")
        begun_s = time.monotonic()
        episodes, summary = _played(Path(name), bundle, seeds)
        took_s = time.monotonic() - begun_s
        with Bundle.open(bundle) as opened:
            variant = opened.manifest.variant(summary["variant"])
    taught: list[float] = apart(__name__, "taught", seeds)
    student = mean(episode["reward"] for episode in episodes)
    teacher = mean(taught)
    steps = sum(episode["steps"] for episode in episodes)
    sound = (
        variant.precision == "int8"
        and [episode["seed"] for episode in episodes] == list(range(seeds))
        and summary["frames"] == summary["decisions"] == steps
        and not summary["errors"] + summary["late"] + summary["dropped"]
    )
    how = (
        f"{PLANT}, mean reward of seeds 0 to {seeds - 1}: {student:g} of {variant.id} ({variant.precision}, "
        f"runtime {variant.runtime}) by source gym, a child, argmax and action gym over {teacher:g} of the "
        f"float teacher stepped directly; {steps} steps, {summary['decisions']} decisions, "
        f"{1000 * took_s / steps:.2f} ms a step with the agent's start"
        f"{'' if sound else '; NOT SOUND: ' + str(summary)}"
    )
    value = student / teacher if sound else float("nan")
    return (Row(id="gym.closed", value=value, sense=">=", limit=0.95, unit="ratio", how=how),)


def taught(seeds: int) -> list[float]:
    """Return the teacher's reward from each seed; in a process of its own, since that needs torch."""
    sys.path.insert(0, str(EXAMPLE))
    act = import_module("models").policy()
    plant: Any = gymnasium.make(PLANT)
    rewards = []
    for seed in range(seeds):
        state, _ = plant.reset(seed=seed)
        rewards.append(0.0)
        over = False
        while not over:
            state, reward, terminated, truncated, _ = plant.step(act(state))
            rewards[-1] += float(reward)
            over = terminated or truncated
    plant.close()
    return rewards


def _converted(folder: Path) -> Path:
    """Return the bundle of the recipe, made as its first lines say."""
    say("gym: converting")
    command = [str(OUTRIDER), "convert", str(EXAMPLE / "recipe.toml"), "--out", str(folder)]
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=CONVERT_S, cwd=ROOT)
    (bundle,) = folder.glob("*.orb")
    return bundle


def _played(folder: Path, bundle: Path, seeds: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Let an agent play so many episodes; return what the source recorded and what the run came to."""
    say("gym: playing")
    record = folder / "episodes.jsonl"
    pipeline = {
        "bundle": bundle,
        "source": {"kind": "gym", "env": PLANT, "seed": 0, "episodes": seeds, "record": record},
        "policy": {"kind": "argmax"},
        "actions": [{"kind": "gym"}],
        "engine": {"isolation": "child"},
    }
    with Agent(folder, document(folder, [pipeline], app=APP)) as agent:
        summary = agent.summary(PLAY_S)
    lines = record.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=dict[str, Any]) for line in lines], summary
