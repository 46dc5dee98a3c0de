"""What distillation adds: the same student, steps and batches, with and without the teacher's answers.

The settings are chosen on validation data by the search step, with a seed of its own; then each further seed
trains both ways. The test split is read at the end only.
"""

import statistics
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace
from torch import nn

from outrider_bundle.bars import Row
from outrider_converter import measure, seeding
from outrider_converter.dataset import Dataset, Split, load_dataset
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import DistillOptions, Recipe, read_recipe
from outrider_converter.reference import load_teacher
from outrider_converter.steps.distill import plan
from outrider_converter.students import build_student
from outrider_converter.training import train
from outrider_converter.views import Views
from proofs.converter.runs import EXAMPLE, POINTS, say

SEEDS = (1, 2, 3, 4, 5, 6)
CHOOSING = 0
GRID = tuple((temperature, alpha) for temperature in (1.0, 2.0, 4.0) for alpha in (0.5, 0.9))
"""Temperature and weight of the teacher; one and the same student learns with each."""


class Bench(Struct, frozen=True, kw_only=True):
    """What all trainings share."""

    recipe: Recipe
    data: Dataset
    teacher: nn.Module
    views: Views

    def accuracy(self, options: DistillOptions, seed: int, split: Split) -> float:
        """Train a new student from `seed` and return its accuracy on `split`."""
        with seeding.seeded(seed, "student"):
            student = build_student(self.recipe, len(self.data.labels), EXAMPLE, self.teacher)
        model = train(student, self.views, plan(options, seed), NullReporter().start("", 0))
        return measure.accuracy(measure.logits(model, split.prepared, self.views.normalize), split.labels)


def rows() -> tuple[Row, ...]:
    """Train all students and return the bar."""
    recipe = read_recipe(EXAMPLE / "gain.toml")
    data = load_dataset(recipe, EXAMPLE)
    teacher = load_teacher(recipe, len(data.labels), EXAMPLE)
    views = Views(recipe, data, teacher, NullReporter())
    bench = Bench(recipe=recipe, data=data, teacher=teacher, views=views)
    chosen = choose(bench)
    gains = [POINTS * gain for gain in _gains(bench, chosen)]
    mean, spread = statistics.mean(gains), statistics.stdev(gains)
    how = (
        f"mean of seeds {SEEDS[0]} to {SEEDS[-1]}, {recipe.student.family} of width {recipe.student.width}, "
        f"{recipe.distill.epochs} epochs, {len(data.test):,} test images; "
        f"T={chosen.temperature:g}, alpha={chosen.alpha:g} chosen on validation; "
        f"each {', '.join(f'{g:+.2f}' for g in gains)}; deviation {spread:.2f}, "
        f"standard error {spread / len(gains) ** 0.5:.2f}"
    )
    return (Row(id="kd.gain", value=mean, sense=">=", limit=0.1, unit="points", how=how),)


def choose(bench: Bench) -> DistillOptions:
    """Return the settings with the best validation accuracy."""
    tried: dict[DistillOptions, float] = {}
    for temperature, alpha in GRID:
        options = replace(bench.recipe.distill, temperature=temperature, alpha=alpha)
        tried[options] = bench.accuracy(options, CHOOSING, bench.data.validation)
        say(f"gain: T={temperature:g}, alpha={alpha:g}: {tried[options]:.4f} on validation")
    return max(tried, key=lambda options: tried[options])


def _gains(bench: Bench, chosen: DistillOptions) -> Iterator[float]:
    """Return accuracy with the teacher less accuracy without, of each seed, on the test split."""
    control = replace(chosen, alpha=0.0)
    for seed in SEEDS:
        alone, taught = (bench.accuracy(options, seed, bench.data.test) for options in (control, chosen))
        say(f"gain: seed {seed}: cross-entropy {alone:.4f}, distilled {taught:.4f}")
        yield taught - alone
