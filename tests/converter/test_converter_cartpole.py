"""The example of a policy: its numbers are the same everywhere, and its teacher balances."""

import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outrider_bundle.manifest import ArrayPreprocess, ControlDecoder
from outrider_converter.loading import load_object
from outrider_converter.recipe import read_recipe

pytest.importorskip("gymnasium")

FOLDER = Path(__file__).parents[2] / "examples" / "cartpole"
JUDGED_BY = range(20)
MODULES = ("data", "models", "plant")


@pytest.fixture
def found() -> Iterator[Any]:
    """Yield what finds a name in the example's modules; others of these names are let back in after it."""
    before = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    yield lambda name: load_object(name, FOLDER)
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.modules.update(before)


def test_the_recipe_is_of_the_teachers_own_numbers(found: Any) -> None:  # noqa: ANN401 - a function
    recipe = read_recipe(FOLDER / "recipe.toml")
    wanted = ArrayPreprocess(mean=found("models:MEAN"), std=found("models:STD"))
    assert recipe.input.preprocess == wanted
    assert recipe.output == ControlDecoder(names=found("models:ACTIONS"))
    assert found("models:WEIGHTS").stat().st_size < 100_000


def test_no_seed_is_in_two_parts(found: Any) -> None:  # noqa: ANN401 - a function
    parts = [set(found(f"data:{name}")) for name in ("TRAIN", "VALIDATION", "TEST")]
    assert not any(one & other for one, other in combinations([*parts, {*JUDGED_BY}], 2))


def test_the_teacher_balances_and_states_are_drawn_by_their_seeds(found: Any) -> None:  # noqa: ANN401 - a function
    act = found("models:policy")()
    assert found("plant:rewards")(act, range(7_000, 7_003)) == [500.0] * 3
    one, other = (found("plant:states")(act, range(7_000, 7_002), 0.25, 50) for _ in range(2))
    assert (one.dtype, one.shape[1], len(one) <= 100) == (np.float32, 4, True)
    assert np.array_equal(one, other)
