"""Weights and inputs of layers rounded as int8 has them; the gradient passes as if they were not.

Source: Jacob et al., arXiv 1712.05877, section 3; straight-through gradients: Bengio et al., arXiv 1308.3432.
"""

import numpy as np
import torch
from torch import Tensor, nn

from outrider_converter.quantization.safe import LARGEST_PAIR, depthwise, worst_pair
from outrider_converter.targets import Scheme

FULL, REDUCED = 127, 64
"""Largest weight of 8 bits and of 7."""

LEVELS = 255
"""Steps between the lowest and the highest input."""

PACE = 0.01
"""Share by which a range moves towards that of each batch in training."""

TINY = 1e-8


class RoundedWeights(nn.Module):
    """A parametrization of `weight`, `(channels out, ...)`: symmetric, one scale for each channel."""

    def __init__(self, scheme: Scheme, groups: int = 1) -> None:
        """Round as `scheme` has it; `groups` are those of a convolution."""
        super().__init__()
        self._scheme, self._groups = scheme, groups

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weights on the grid of int8."""
        steps = weight_steps(weight.detach(), self._scheme, self._groups)
        zeros = torch.zeros(len(weight), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, steps, zeros, 0, -FULL - 1, FULL)


def weight_steps(weight: Tensor, scheme: Scheme, groups: int = 1) -> Tensor:
    """Return the scale of each output channel, float32 `(channels,)`; see `quantization.safe`."""
    flat = weight.flatten(1)
    limit = REDUCED if scheme.weights == "reduced" else FULL
    steps = flat.abs().amax(1) / limit
    if scheme.weights == "pair-safe" and not depthwise(weight.numpy(), groups):
        walked = np.ascontiguousarray(weight.movedim(1, -1).flatten(1).numpy())
        pairs = torch.from_numpy(worst_pair(walked, weight.shape[1] if weight.ndim > 2 else 2))  # noqa: PLR2004
        steps = torch.maximum(steps, (pairs / (LARGEST_PAIR - 0.5)).float())
    if not scheme.per_channel:
        steps = steps.amax().expand(len(steps))
    return steps.clamp_min(TINY).contiguous()


class RoundedInputs(nn.Module):
    """Inputs of a layer on 256 levels from `low` to `high`, which always take in 0.

    While it is `observing`, values pass as they are and the range grows to hold them. In training the range
    is a moving average.
    """

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        """Begin with an empty range."""
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.observing = False

    def before(self, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Round the first input of a layer; a hook for before its forward pass."""
        return (self(inputs[0]), *inputs[1:])

    def forward(self, values: Tensor) -> Tensor:
        """Return values on the grid."""
        if self.observing or self.training:
            self._look(values.detach())
        if self.observing:
            return values
        step = ((self.high - self.low) / LEVELS).clamp_min(TINY)
        zero = torch.round(-self.low / step).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(values, step, zero, 0, LEVELS)

    def _look(self, values: Tensor) -> None:
        low, high = torch.aminmax(values)
        low, high = low.clamp_max(0), high.clamp_min(0)
        if self.observing:
            self.low.copy_(torch.minimum(self.low, low))
            self.high.copy_(torch.maximum(self.high, high))
        else:
            self.low.lerp_(low, PACE)
            self.high.lerp_(high, PACE)
