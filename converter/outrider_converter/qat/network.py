"""A float network made to round like its int8 file, and the float network taken out of it again."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from outrider_converter.qat.rounding import RoundedInputs, RoundedWeights
from outrider_converter.targets import Scheme

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
"""What quantizers round the weights and inputs of."""

INPUTS = "rounded_inputs"
WEIGHT = "parametrizations.weight.original"


def rounded(model: nn.Module, scheme: Scheme, inputs: tuple[Tensor, ...]) -> nn.Module:
    """Return a copy in evaluation mode that computes as after quantization.

    Args:
        model: with normalizations folded; it is not changed.
        scheme: how weights are rounded.
        inputs: normalized batches from which the first ranges come.
    """
    model = copy.deepcopy(model).eval()
    layers = [module for module in model.modules() if isinstance(module, LAYERS)]
    watches = []
    for layer in layers:
        watch = RoundedInputs()
        layer.add_module(INPUTS, watch)
        layer.register_forward_pre_hook(watch.before)
        watches.append(watch)
    _observe(model, watches, inputs)
    for layer in layers:
        groups = getattr(layer, "groups", 1)
        parametrize.register_parametrization(layer, "weight", RoundedWeights(scheme, groups))
    return model


@torch.no_grad()
def _observe(model: nn.Module, watches: list[RoundedInputs], inputs: tuple[Tensor, ...]) -> None:
    """Show the float network `inputs`."""
    for watch in watches:
        watch.observing = True
    for batch in inputs:
        model(batch)
    for watch in watches:
        watch.observing = False


def take_weights(model: nn.Module, trained: nn.Module) -> None:
    """Give `model` the float weights under the rounded ones of `trained`, a rounded copy of it."""
    state = {
        name.replace(WEIGHT, "weight"): value
        for name, value in trained.state_dict().items()
        if f"{INPUTS}." not in name
    }
    model.load_state_dict(state)
