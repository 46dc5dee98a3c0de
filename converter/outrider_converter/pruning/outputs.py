"""Which layers give a network's outputs: their channels are not for the pruner to take."""

from typing import Any

import torch
from torch import Tensor, nn

from outrider_converter.equivalence import outputs

LAYERS = (nn.modules.conv._ConvNd, nn.Linear)  # noqa: SLF001 - the one base of all convolutions
"""What has channels of its own."""


@torch.enable_grad()
def output_layers(model: nn.Module, example: Tensor) -> list[nn.Module]:
    """Return the layers from which a path leads to an output without another such layer on it.

    Args:
        model: all of its parameters take gradients.
        example: a batch of at least 2; linear layers of torch give a view for a batch of 1.
    """
    makers: dict[Any, nn.Module] = {}

    def note(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        makers[output.grad_fn] = layer

    handles = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, LAYERS)]
    try:
        found = outputs(model(example))
    finally:
        for handle in handles:
            handle.remove()
    return _reached([output.grad_fn for output in found], makers)


def _reached(starts: list[Any], makers: dict[Any, nn.Module]) -> list[nn.Module]:
    """Walk back from `starts` and stop at what a layer has made."""
    found: list[nn.Module] = []
    seen, ahead = set(), starts
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in makers:
            found.append(makers[node])
        else:
            ahead += [source for source, _ in node.next_functions]
    return found
