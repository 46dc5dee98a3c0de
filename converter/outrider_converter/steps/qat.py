"""Train the float network as if it were int8 already, so that quantizing it costs less.

Not a step of its own: `quantize` asks for it if nothing cheaper keeps the budget.
"""

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from outrider_bundle.errors import DataError
from outrider_converter import measure, seeding
from outrider_converter.artifact import Context
from outrider_converter.progress import Task
from outrider_converter.qat.fold import fold
from outrider_converter.qat.network import LAYERS, rounded, take_weights
from outrider_converter.recipe import QatOptions
from outrider_converter.steps.distill import plan
from outrider_converter.targets import Scheme, formats, plans
from outrider_converter.training import train

COARSENESS = ("full", "pair-safe", "reduced")
"""Schemes of weights, the finest first."""


def train_qat(model: nn.Module, options: QatOptions, context: Context, task: Task) -> nn.Module:
    """Return a float network that loses less by quantization than `model`.

    Batch normalizations are folded into the layers before them. Weights and inputs of convolutions and
    linear layers are rounded in training, by the coarsest scheme among the files that will be made.

    Args:
        model: a trained network; it is not changed.
        options: how long and how fast to train.
        context: of the step; the loss is the recipe's distillation.
        task: is told of every training step.

    Returns:
        A plain network in evaluation mode: no hook and no rounding is left in it.

    Raises:
        DataError: there is nothing in the network to round, or the training diverged.
    """
    recipe = context.recipe
    plain = fold(model, recipe.input.shape).requires_grad_(requires_grad=True)  # a teacher takes none
    if not any(isinstance(module, LAYERS) for module in plain.modules()):
        raise DataError(
            "The network has no layers to train for int8: no convolution and no linear layer of torch",
            "Leave quantize.qat out",
        )
    how = replace(
        plan(recipe.distill, recipe.seed, "qat"),
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        schedule="cosine",
        weight_decay=0.0,
        patience=0,
        hints=(),
        compile=False,
    )
    start = rounded(plain, coarsest(context), calibration(context))
    take_weights(plain, train(start, context.views, how, task, context.checkpoints))
    return plain


def coarsest(context: Context) -> Scheme:
    """Return a scheme no finer than that of any int8 file to be made."""
    recipe, targets = context.recipe, context.targets
    schemes = [plan.scheme for kind in formats(recipe, targets) for plan in plans(recipe, targets, kind)] or [
        Scheme()
    ]
    worst = max(schemes, key=lambda scheme: COARSENESS.index(scheme.weights))
    return replace(worst, per_channel=all(scheme.per_channel for scheme in schemes))


def calibration(context: Context) -> tuple[Tensor, ...]:
    """Return normalized batches of training samples, as many samples as quantization looks at."""
    values = context.data.train.prepared
    order = torch.randperm(len(values), generator=seeding.generator(context.recipe.seed, "qat", "ranges"))
    chosen = values[order[: context.recipe.quantize.samples]]
    return tuple(context.views.normalize(chunk) for chunk in torch.split(chosen, measure.CHUNK))
