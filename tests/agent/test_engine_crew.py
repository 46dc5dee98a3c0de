"""The crew: what is said of variants that do not run, and which are worth another try."""

from pathlib import Path

import pytest

from outrider_agent.engine.crew import Crew, NoneProvenError
from outrider_agent.summary import Skipped
from outrider_bundle.errors import EngineError, MissingExtraError, OutriderError, ProofError
from tests.fakes import keepers, null_bundle
from tests.fakes.keepers import TABLE


@pytest.fixture
def crew(tmp_path: Path) -> Crew:
    variants = [null_bundle.variant(name, rank) for rank, name in enumerate(("a", "b", "c"))]
    return Crew(keepers.bundle(tmp_path, *variants), TABLE)


def reasons(crew: Crew) -> dict[str, str]:
    return {one.variant: one.reason for one in crew.skipped}


def test_what_was_missed_is_said_in_order_until_it_runs(crew: Crew) -> None:
    first, second, _ = crew.variants
    crew.missed(second, EngineError("busy", "Wait"))
    crew.missed(first, EngineError("gone"))
    assert crew.skipped == (Skipped(variant="a", reason="gone"), Skipped(variant="b", reason="busy. Wait."))
    crew.runs(second)
    assert reasons(crew) == {"a": "gone"}
    crew.runs(first)
    assert crew.skipped == ()


def test_worse_variants_do_not_matter_to_one_that_runs(tmp_path: Path) -> None:
    best, worst = null_bundle.variant("a", 0), null_bundle.variant("b", 1, "nonesuch")
    crew = Crew(keepers.bundle(tmp_path, best, worst), TABLE)
    assert "nonesuch" in reasons(crew)["b"]
    crew.runs(crew.variants[0])
    assert crew.skipped == ()


def test_one_that_ran_and_gave_way_is_said(crew: Crew) -> None:
    crew.runs(crew.variants[1])
    crew.failed(crew.variants[1], "it crashed thrice")
    assert reasons(crew) == {"b": "it crashed thrice"}
    crew.runs(crew.variants[2])
    assert reasons(crew) == {"b": "it crashed thrice"}


@pytest.mark.parametrize(
    ("error", "hopeful"),
    [
        (EngineError("the device is busy"), True),
        (ProofError("it differs by 3 steps"), False),
        (MissingExtraError("there is no library", "onnx"), False),
    ],
)
def test_what_computes_wrong_or_has_no_library_is_not_tried_again(
    crew: Crew, error: OutriderError, *, hopeful: bool
) -> None:
    crew.missed(crew.variants[0], error)
    crew.runs(crew.variants[2])
    assert crew.hopeful(0) is hopeful
    assert [one.id for one in crew.better()] == (["a", "b"] if hopeful else ["b"])


def test_what_has_computed_right_before_may_do_so_again(crew: Crew) -> None:
    crew.runs(crew.variants[0])
    crew.missed(crew.variants[0], ProofError("it differs by 3 steps"))
    crew.runs(crew.variants[1])
    assert [one.id for one in crew.better()] == ["a"]


def test_nothing_is_better_than_the_best(crew: Crew) -> None:
    crew.runs(crew.variants[0])
    assert crew.better() == ()


def test_if_none_is_left_each_reason_is_in_the_error(crew: Crew) -> None:
    for variant in crew.variants:
        crew.missed(variant, EngineError(f"{variant.id} is broken"))
    error = NoneProvenError(crew.admitted, crew.skipped)
    assert "a: a is broken; b: b is broken; c: c is broken" in str(error)
    assert "outrider prove" in error.cure
