"""What is kept is decided on the validation split, variant by variant; the fastest comes first."""

from pathlib import Path

import numpy as np
import pytest
import torch

from outrider_bundle.manifest import Tensor
from outrider_converter import verify as verification
from outrider_converter.artifact import Candidate
from outrider_converter.dataset import Split
from outrider_converter.package import PER_CLASS, choose_golden, draft
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import read_recipe
from outrider_converter.verify import Answers, Verified, verify
from tests.fakes.toy import write_toy

TENSOR = Tensor(name="x", shape=(1, 1), dtype="float32")
LABELS = np.arange(90) % 3
FRAMES = np.zeros((90, 12, 12), np.uint8)
SPLIT = Split(frames=FRAMES, prepared=torch.from_numpy(FRAMES)[:, None], labels=LABELS)


def candidate(name: str, folder: Path) -> Candidate:
    path = folder / f"{name}-model"
    path.write_bytes(b"x")
    return Candidate(
        id=name, runtime="null", precision="int8", files={"model": path}, inputs=(TENSOR,), outputs=(TENSOR,)
    )


def wrong(count: int) -> Answers:
    """Answer all but the first `count` frames right."""
    indices = LABELS.copy()
    indices[:count] = (indices[:count] + 1) % 3
    return Answers(indices=indices, margins=np.ones(90))


def test_each_variant_is_judged_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"good": wrong(8), "bad": wrong(10)}
    monkeypatch.setattr(verification, "answer", lambda manifest, one, frames, task: answers[one.id])  # noqa: ARG005
    manifest = draft(read_recipe(write_toy(tmp_path)), ("a", "b", "c"))
    candidates = [candidate(name, tmp_path) for name in answers]
    kept, left_out = verify(manifest, candidates, SPLIT, 1.0, 10.0, NullReporter())
    assert [(v.candidate.id, pytest.approx(100 * 8 / 90)) for v in kept] == [("good", v.drop) for v in kept]
    assert [one.id for one in left_out] == ["bad"]
    assert "11.11 points under the teacher on the validation split, the budget is 10" in left_out[0].reason


def test_a_file_that_no_runtime_loads_is_left_out(tmp_path: Path) -> None:
    manifest = draft(read_recipe(write_toy(tmp_path)), ("a", "b", "c"))
    broken = Candidate(
        id="onnx-int8",
        runtime="onnx",
        precision="int8",
        files={"graph": tmp_path / "recipe.toml", "weights": tmp_path / "recipe.toml"},
        inputs=(TENSOR,),
        outputs=(TENSOR,),
    )
    kept, left_out = verify(manifest, [broken], SPLIT, 1.0, 100.0, NullReporter())
    assert kept == ()
    assert [one.id for one in left_out] == ["onnx-int8"]


def test_golden_samples_are_clear_to_every_variant(tmp_path: Path) -> None:
    first, second = wrong(0), wrong(6)
    first.margins[:12] = 0.1

    class Data:
        labels, validation = ("a", "b", "c"), SPLIT

    ranked = [
        Verified(candidate=candidate(name, tmp_path), drop=0.0, validation=answers)
        for name, answers in (("one", first), ("two", second))
    ]
    chosen = choose_golden(Data, ranked)  # type: ignore[arg-type]
    assert chosen == list(range(12, 12 + 3 * PER_CLASS))
