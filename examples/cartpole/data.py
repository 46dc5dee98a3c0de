"""States of the plant as the recipe uses them: what the teacher sees while it is pushed about.

Nothing is labelled: what the teacher does in each state is what a student learns. No seed is in two parts,
and none is among those that the closed loop is judged by, 0 to 19.
"""

import models
import plant

NOISE = 0.25
"""Share of the actions that are drawn: the states beside the teacher's own path, from which it comes back."""

TRAIN, VALIDATION, TEST = range(1_000, 1_160), range(2_000, 2_030), range(3_000, 3_030)


def split() -> dict[str, tuple[plant.States, None]]:
    """Return `train`, `validation` and `test`: states `(n, 4)` float32 without labels."""
    act = models.policy()
    parts = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    return {part: (plant.states(act, seeds, NOISE), None) for part, seeds in parts.items()}
