"""Whether removed channels are the ones that their readers have lost.

torch-pruning follows a network by its operators and guesses which inputs of a layer read which channel. It
guesses wrong if `forward` reorders channels in a way of its own, and the result still runs. So before the
first cut at a layer the weights that would go are set to 0: taking them out must not change an answer.
"""

from typing import Any

import torch
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter.equivalence import Probe, alike
from outrider_converter.pruning.outputs import LAYERS

MIXING = (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm, nn.MultiheadAttention)
"""Layers in which a channel's value depends on all others, so that any cut changes the answers."""


class Knife:
    """Cuts groups of channels out of one network, and looks at its answers before and after."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        """Remember the network; `shape` is that of one input."""
        self._model, self._probe = model, Probe(shape)
        self._trusted: set[nn.Module] = set()
        self._blind = any(isinstance(module, MIXING) for module in model.modules())

    @torch.no_grad()
    def cut(self, group: Any) -> None:  # noqa: ANN401 - of a library without types
        """Take the channels of `group` out.

        Raises:
            DataError: their readers have lost others.
        """
        root = group[0].dep.target.module
        if self._blind or root in self._trusted:
            group.prune()
            return
        _silence(group)
        before = self._probe.ask(self._model)
        group.prune()
        if not alike(before, self._probe.ask(self._model)):
            raise DataError(
                "The network cannot be pruned: its forward() reorders channels, and that cannot be followed",
                "Flatten (n, c, h, w) as it is, with x.flatten(1), or leave the table 'prune' out",
            )
        self._trusted.add(root)


def _silence(group: Any) -> None:  # noqa: ANN401 - see above
    """Set the weights to 0 by which layers read the channels of a group."""
    for dep, indices in group:
        layer, reads = dep.target.module, dep.handler.__name__.endswith("in_channels")
        if reads and isinstance(layer, LAYERS):
            weight = layer.weight.data
            weight = weight.transpose(0, 1) if getattr(layer, "transposed", False) else weight
            weight[:, [index % weight.shape[1] for index in indices]] = 0
