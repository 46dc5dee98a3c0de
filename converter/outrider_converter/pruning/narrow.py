"""Narrow a network to a number of multiply-accumulates by the least important channels.

Source: Fang et al., "DepGraph: Towards Any Structural Pruning", arXiv 2301.12900, by its own library.
Removed channels leave the graph: parameters, multiply-accumulates and bytes shrink with them.
"""

import copy
from typing import Literal

import torch
from msgspec import Struct
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.measure import cost
from outrider_converter.pruning.depgraph import library
from outrider_converter.pruning.faithful import Knife
from outrider_converter.pruning.importance import Score, magnitude
from outrider_converter.pruning.outputs import LAYERS, output_layers

FINENESS = 50
"""In how many small steps the pruner may approach the goal; it stops as soon as it is there."""

MOST = 0.9
"""Largest share of a layer's channels to remove."""


class Rules(Struct, frozen=True, kw_only=True):
    """How to choose channels.

    Args:
        multiple: channel counts of narrowed layers are multiples of it.
        scope: rank channels over the whole network or layer by layer.
        score: how much each matters.
    """

    multiple: int
    scope: Literal["global", "layer"] = "global"
    score: Score = magnitude


def narrow(model: nn.Module, shape: tuple[int, ...], goal: float, rules: Rules) -> nn.Module:
    """Return a copy with the least important channels removed until it costs at most `goal` MACs.

    Args:
        model: takes inputs of `shape` with any batch.
        shape: of one input, batch 1 included.
        goal: multiply-accumulates for one input.
        rules: which channels go.

    Raises:
        DataError: the library cannot follow the network, or it cannot become that small.
    """
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    model = copy.deepcopy(model).eval().requires_grad_(requires_grad=True)
    try:
        reached = _cut(model, shape, goal, rules)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"The network cannot be pruned: {describe(error)}",
            "Let its forward() follow the sizes of its tensors, as x.flatten(1) does, or leave the table "
            "'prune' out",
        ) from error
    if not reached:
        raise DataError(
            f"Pruning cannot reach {goal:.0f} MACs with channels in multiples of {rules.multiple}",
            "Lower prune.macs or set a smaller prune.round_to",
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learning).grad = None
    return model


def _cut(model: nn.Module, shape: tuple[int, ...], goal: float, rules: Rules) -> bool:
    """Remove channels from `model` itself; return whether the goal was reached."""
    if cost(model, shape).macs <= goal:
        return True
    example = torch.zeros((2, *shape[1:]))
    importance = rules.score(model)
    with library() as torch_pruning:
        pruner = torch_pruning.pruner.BasePruner(
            model,
            example,
            importance=importance,
            global_pruning=rules.scope == "global",
            pruning_ratio=1.0,
            max_pruning_ratio=MOST,
            iterative_steps=FINENESS,
            ignored_layers=output_layers(model, example),
            root_module_types=list(LAYERS),
            round_to=rules.multiple,
        )
        knife = Knife(model, shape)
        for _ in range(FINENESS):
            for group in pruner.step(interactive=True) or ():
                knife.cut(group)
                if cost(model, shape).macs <= goal:
                    return True
    return False
