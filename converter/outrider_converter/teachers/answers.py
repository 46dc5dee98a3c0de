"""Whether a teacher answers logits or probabilities, as the recipe says; either way logits come out."""

import torch
from torch import Tensor, nn

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.teachers.framed import Framed

PROBES = 8
NEAR = 1e-3
"""How far from 1 a sum of probabilities may be."""

SMALLEST = 1e-12
"""What a probability of 0 counts as; its logarithm is -27.6."""


class Logarithm(nn.Module):
    """Probabilities `(n, classes)` of `inner` as logits; a black box stays one."""

    def __init__(self, inner: nn.Module) -> None:
        """Put the logarithm behind `inner`."""
        super().__init__()
        self.inner = inner
        for name in ("files", "cost", "file_digest", "fewest"):
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, up to a constant a row, which no softmax sees."""
        return torch.log(self.inner(x).clamp_min(SMALLEST))


def as_logits(model: nn.Module, told: str, name: str, shape: tuple[int, ...]) -> nn.Module:
    """Return `model` so that it gives logits.

    Args:
        model: takes `(n, ...)` and gives `(n, classes)`.
        told: `logits` or `probabilities`, as the recipe has it.
        name: of the model, for the message.
        shape: of its input, batch included.

    Raises:
        DataError: its answers to noise are of the other kind.
    """
    noise = torch.randn((PROBES, *shape[1:]), generator=seeding.generator(0, "probe"))
    with torch.inference_mode():
        answers = model.eval()(noise)
    found = "probabilities" if are_probabilities(answers) else "logits"
    if found != told:
        what = "sum to 1 and are not negative" if found == "probabilities" else "do not sum to 1"
        raise DataError(
            f"teacher.output is {told}, but the answers of {name} {what}", f'Set teacher.output = "{found}"'
        )
    if told == "logits" or (isinstance(model, Framed) and model.drop_softmax()):
        return model
    return Logarithm(model)


def are_probabilities(answers: Tensor) -> bool:
    """Return whether all rows of `(n, classes)` are distributions."""
    sums = answers.float().sum(1)
    return bool((answers >= 0).all()) and bool(((sums - 1).abs() <= NEAR).all())
