"""A distillation of the toy in a process of its own, which may kill itself: `killed.py FOLDER STEPS`."""

import itertools
import os
import signal
import sys
from pathlib import Path

import torch

from outrider_converter import measure, seeding
from outrider_converter.artifact import Artifact, Context
from outrider_converter.checkpoint import open_checkpoints
from outrider_converter.dataset import load_dataset
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import read_recipe
from outrider_converter.reference import load_teacher
from outrider_converter.steps.distill import distill
from outrider_converter.students import build_student
from outrider_converter.views import Views


class Fuse:
    """Kills the process before step `last`, as a power cut would."""

    def __init__(self, last: int) -> None:
        self.left = last

    def start(self, name: str, total: int) -> "Fuse":
        return self if name == "distill" else Fuse(total)

    def advance(self, count: int = 1, note: str = "") -> None:  # noqa: ARG002 - the seam's signature
        self.left -= count == 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, last: int) -> None:
    """Print the step's note and the digest of the weights."""
    torch.set_num_threads(1)
    recipe = read_recipe(folder / "recipe.toml")
    data, teacher = load_dataset(recipe, folder), load_teacher(recipe, 3, folder)
    with seeding.seeded(recipe.seed, "student"):
        student = build_student(recipe, 3, folder, teacher)
    clock = itertools.count(0, 1000)  # a state is due after every step
    with open_checkpoints(folder / "out", "key", sys.stderr.write, lambda: float(next(clock))) as checkpoints:
        context = Context(
            recipe=recipe,
            data=data,
            teacher=teacher,
            reference=None,  # type: ignore[arg-type]  # of no use to this step
            targets=(),
            views=Views(recipe, data, teacher, NullReporter()),
            checkpoints=checkpoints,
            folder=folder,
            reporter=Fuse(last),
        )
        made = distill(Artifact(model=student), recipe.distill, context)
    sys.stdout.write(f"{made.note}\n{measure.digest(made.model)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
