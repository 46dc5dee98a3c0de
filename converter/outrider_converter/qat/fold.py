"""Fold batch normalization into the layer before it, as every exporter does.

No tracing: a normalization whose input is what a layer has just given is folded on trial, and put back if
that changes an answer, because something else reads the layer as well or lies in between.
"""

import copy
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from outrider_converter.equivalence import Probe, alike

FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def fold(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Return a copy in evaluation mode with folded normalizations; identities stand in their places.

    Args:
        model: takes inputs of `shape` with any batch.
        shape: of one input, batch 1 included.
    """
    model, probe = copy.deepcopy(model).eval(), Probe(shape)
    for layer_name, norm_name in _pairs(model, probe):
        layer, norm = model.get_submodule(layer_name), model.get_submodule(norm_name)
        before = probe.ask(model)
        model.set_submodule(layer_name, _fused(layer, norm))
        model.set_submodule(norm_name, nn.Identity())
        if not alike(before, probe.ask(model)):
            model.set_submodule(layer_name, layer)
            model.set_submodule(norm_name, norm)
    return model


def _pairs(model: nn.Module, probe: Probe) -> list[tuple[str, str]]:
    """Return the names of layers and of the normalizations that take the very tensors they give."""
    given: dict[int, tuple[Tensor, str]] = {}
    found: dict[str, str] = {}

    def give(name: str) -> Any:  # noqa: ANN401 - a hook, typed by torch
        def hook(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
            given[id(output)] = output, name  # the tensor as well, or its number would be another's soon

        return hook

    def take(name: str) -> Any:  # noqa: ANN401 - see above
        def hook(_norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if id(inputs[0]) in given:
                found.setdefault(given[id(inputs[0])][1], name)

        return hook

    handles = []
    for name, module in model.named_modules():
        if isinstance(module, FOLDABLE):
            handles.append(module.register_forward_hook(give(name)))
        elif isinstance(module, _BatchNorm) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(take(name)))
    try:
        probe.ask(model)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.items())


def _fused(layer: Any, norm: Any) -> nn.Module:  # noqa: ANN401 - torch has one function a kind of layer
    fuse: Any = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
    fused: nn.Module = fuse(layer, norm)
    return fused
