"""The size of a teacher's numbers, by which a student learns and its int8 file stores them.

Outputs of different units share one int8 scale, so a student answers each in its own deviations; the decoder
in the manifest turns them back.
"""

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor, nn

from outrider_bundle.manifest import RegressionDecoder
from outrider_converter import measure
from outrider_converter.recipe import BUILT_IN_STUDENTS, Recipe
from outrider_converter.tensors import Normalizer

MOST = 10_000
"""Training samples that are looked at."""


class Scale(Struct, frozen=True, kw_only=True):
    """Mean and deviation of each of the teacher's numbers."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def standard(self, answers: Tensor) -> Tensor:
        """Return answers `(n, k)` of the teacher as the student gives them."""
        return (answers - torch.tensor(self.mean)) / torch.tensor(self.std)

    def undone(self, reading: RegressionDecoder) -> RegressionDecoder:
        """Return the decoder of the student's answers where `reading` is that of the teacher's."""
        count = len(reading.names)
        means, stds = _spread(reading.mean, count), _spread(reading.std, count)
        return replace(
            reading,
            mean=tuple(m * s + mean for m, s, mean in zip(self.mean, stds, means, strict=True)),
            std=tuple(d * s for d, s in zip(self.std, stds, strict=True)),
        )


def scale_of(teacher: nn.Module, recipe: Recipe, prepared: Tensor, normalize: Normalizer) -> Scale | None:
    """Return the scale of what a student of `recipe` learns; None if it answers in the teacher's units.

    Args:
        teacher: in evaluation mode.
        recipe: of the conversion.
        prepared: training samples.
        normalize: of the recipe's input.
    """
    student = recipe.student
    as_teacher = student.callable is None and student.family in BUILT_IN_STUDENTS
    if not isinstance(recipe.output, RegressionDecoder) or as_teacher:
        return None
    rows = torch.linspace(0, len(prepared) - 1, min(MOST, len(prepared))).long()
    answers = measure.logits(teacher, prepared[rows], normalize).double()
    std = answers.std(0, correction=0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return Scale(mean=_rounded(answers.mean(0)), std=_rounded(std))


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(float(f"{float(value):.6g}") for value in values)


def _spread(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    return values * count if len(values) == 1 else values
