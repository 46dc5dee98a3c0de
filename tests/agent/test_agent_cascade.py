"""Objects that a detector finds, looked at by a second model."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from outrider_agent.cascade import crop, wanted
from outrider_agent.cli import main
from outrider_agent.config import CascadeTable
from outrider_agent.control.client import ask
from outrider_bundle.container import Bundle
from outrider_bundle.errors import OutriderError
from outrider_runtime.perception import Classification, Detection
from tests.fakes import agents, finder, null_bundle
from tests.fakes.agents import AgentProcess
from tests.fakes.broker import Broker, Listener, eventually
from tests.fakes.running import BELT

PICTURE = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
DETAIL = Classification(index=0, label="red", score=1.0, margin=1.0)


def frames(state_dir: Path) -> int:
    """Return how many frames the running agent has seen."""
    try:
        seen: int = ask(state_dir, {"command": "status"})["pipelines"][BELT]["frames"]
    except (OutriderError, KeyError):  # it is not up yet
        return 0
    return seen


def thing(label: str, score: float, detail: Classification | None = None) -> Detection:
    return Detection(label=label, index=0, score=score, box=(1.0, 2.0, 3.0, 4.0), detail=detail)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, (0, 1, 3)),
        ({"most": 2}, (0, 1)),
        ({"labels": ("boot",)}, (1, 3)),
        ({"labels": ("boot",), "min_score": 0.5}, (1,)),
        ({"labels": ("coat",)}, ()),
        ({"min_score": 0.95}, ()),
    ],
)
def test_the_surest_objects_that_match_are_looked_at(
    options: dict[str, Any], chosen: tuple[int, ...]
) -> None:
    objects = [thing("bag", 0.9), thing("boot", 0.8), thing("boot", 0.7, DETAIL), thing("boot", 0.4)]
    assert wanted(CascadeTable(bundle=Path("b.orb"), **options), objects) == chosen


@pytest.mark.parametrize(
    ("box", "margin", "shape"),
    [
        ((8.0, 16.0, 24.0, 32.0), 0.0, (32, 24, 3)),
        ((8.0, 16.0, 24.0, 32.0), 0.25, (48, 36, 3)),
        ((0.0, 0.0, 64.0, 64.0), 1.0, (64, 64, 3)),
        ((63.9, 63.9, 0.1, 0.1), 0.0, (1, 1, 3)),
        ((10.2, 10.2, 0.1, 0.1), 0.0, (1, 1, 3)),
    ],
)
def test_a_crop_is_within_the_picture_and_never_empty(
    box: tuple[float, float, float, float], margin: float, shape: tuple[int, ...]
) -> None:
    part = crop(PICTURE, box, margin)
    assert part.shape == shape
    assert np.shares_memory(part, PICTURE)


def test_a_detectors_crops_feed_a_classifier(tmp_path: Path) -> None:
    finder.write(tmp_path / "finder.orb")
    digest = null_bundle.write(tmp_path / "sorter.orb")
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "0.png"), PICTURE)
    changed = {
        "bundle": str(tmp_path / "finder.orb"),
        "policy": {"kind": "passthrough"},
        "cascade": [{"bundle": str(tmp_path / "sorter.orb"), "labels": ["boot"]}],
    }
    with Broker(tmp_path / "broker") as broker, Listener(broker.port) as ears:
        written = agents.document(tmp_path, f"mqtt://127.0.0.1:{broker.port}", changed)
        with AgentProcess(tmp_path, written) as agent:
            assert agent.wait() == 0, agent.log
        acts = [json.loads(h.payload) for h in ears.heard if h.topic.endswith(f"/up/act/{BELT}")]
        reports = [json.loads(h.payload) for h in ears.heard if h.topic.endswith("/up/rep")]
    bag, boot = acts[0]["objects"]
    assert (bag["label"], bag["detail"], boot["label"]) == ("bag", None, "boot")
    part = crop(PICTURE, tuple(boot["box"]), 0.0)
    small = cv2.cvtColor(cv2.resize(part, (8, 8)), cv2.COLOR_BGR2GRAY)
    assert boot["detail"]["label"] == null_bundle.label_of(small)
    (second,) = reports[-2]["pipelines"][BELT]["cascade"]
    assert (second["bundle"], second["digest"], second["variant"]) == ("sorter", digest, "null-a")


def test_a_cascade_behind_a_classifier_is_refused(tmp_path: Path) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 1)
    changed = {"cascade": [{"bundle": str(tmp_path / "sorter.orb")}]}
    with AgentProcess(tmp_path, agents.document(tmp_path, None, changed)) as agent:
        assert agent.wait() == 12, agent.log
    assert "Put a detector before a cascade" in agent.log


def test_a_label_that_is_never_found_is_refused(tmp_path: Path) -> None:
    finder.write(tmp_path / "finder.orb")
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 1)
    changed = {
        "bundle": str(tmp_path / "finder.orb"),
        "cascade": [{"bundle": str(tmp_path / "sorter.orb"), "labels": ["hat"]}],
    }
    with AgentProcess(tmp_path, agents.document(tmp_path, None, changed)) as agent:
        assert agent.wait() == 12, agent.log
    assert "finder never finds hat" in agent.log


def test_a_swap_to_a_model_that_the_cascade_cannot_follow_is_refused(tmp_path: Path) -> None:
    finder.write(tmp_path / "finder.orb")
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 2)
    changed = {
        "bundle": str(tmp_path / "finder.orb"),
        "source": {"kind": "images", "path": str(tmp_path / "images"), "fps": 20.0, "loop": True},
        "cascade": [{"bundle": str(tmp_path / "sorter.orb")}],
    }
    with AgentProcess(tmp_path, agents.document(tmp_path, None, changed)) as agent:
        eventually(lambda: frames(tmp_path / "state") > 0)
        with pytest.raises(OutriderError, match="Put a detector before a cascade"):
            main(["swap", str(tmp_path / "sorter.orb"), "--config", str(agent.config)])


def test_the_finder_is_a_detector(tmp_path: Path) -> None:
    finder.write(tmp_path / "finder.orb")
    with Bundle.open(tmp_path / "finder.orb") as bundle:
        assert bundle.manifest.task == "detection"
