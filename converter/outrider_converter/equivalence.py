"""Whether a rewritten network still gives the same answers."""

import torch
from torch import Tensor, nn

TOLERANCE = 1e-3
"""Largest difference, relative to the largest answer: sums in another order, no more."""

Answers = tuple[Tensor, ...]


class Probe:
    """Two inputs of noise, always the same, to ask a network before and after it is rewritten."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Draw them; `shape` is that of one input, batch included."""
        source = torch.Generator().manual_seed(0)
        self._inputs = torch.randn((2, *shape[1:]), generator=source)

    @torch.no_grad()
    def ask(self, model: nn.Module) -> Answers:
        """Return the outputs of `model` in evaluation mode."""
        return outputs(model.eval()(self._inputs))


def outputs(answer: Tensor | Answers) -> Answers:
    """Return what a network answers as a tuple."""
    return (answer,) if isinstance(answer, Tensor) else tuple(answer)


def alike(one: Answers, other: Answers) -> bool:
    """Return whether all outputs agree in shape and, up to rounding, in values."""
    return len(one) == len(other) and all(_close(a, b) for a, b in zip(one, other, strict=True))


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not torch.equal(one.isfinite(), other.isfinite()):
        return False
    one, other = (part.nan_to_num(0.0, 0.0, 0.0) for part in (one, other))  # noise is no input for some
    return float((one - other).abs().max()) <= TOLERANCE * float(one.abs().max())
