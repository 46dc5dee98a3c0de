"""Remove whole channels and let the network recover on the teacher's answers.

Source: Fang et al., "DepGraph: Towards Any Structural Pruning", arXiv 2301.12900, by its own library.
Removed channels leave the graph: parameters, multiply-accumulates and bytes shrink with them.
"""

import copy
import warnings

import torch
from msgspec.structs import replace
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter.artifact import Artifact, Context
from outrider_converter.loading import describe
from outrider_converter.measure import cost
from outrider_converter.recipe import PruneOptions
from outrider_converter.steps.distill import plan
from outrider_converter.training import steps_per_epoch, train

FINENESS = 50
"""In how many small steps the pruner may approach the goal; it stops as soon as it is there."""


def prune(artifact: Artifact, params: PruneOptions | None, context: Context) -> Artifact:
    """Return the artifact with a narrower network; nothing is done without a table `prune`.

    Raises:
        DataError: the network cannot be pruned that far.
    """
    if params is None:
        return replace(artifact, note="no table 'prune'")
    shape, recipe = context.recipe.input.shape, context.recipe
    before = cost(artifact.model, shape)
    how = replace(
        plan(recipe.distill, recipe.seed, "prune"), epochs=params.epochs, learning_rate=params.learning_rate
    )
    per_round = _shares(params.epochs, params.rounds)
    task = context.reporter.start(
        "prune, recover", params.epochs * steps_per_epoch(len(context.data.train), how)
    )
    model = artifact.model
    for index, epochs in enumerate(per_round, 1):
        goal = before.macs * (1 - params.macs * index / params.rounds)
        model = narrow(model, shape, goal, params)
        model = train(model, context.views, replace(how, purpose=f"prune {index}", epochs=epochs), task)
    after = cost(model, shape)
    saved = 1 - after.macs / before.macs, 1 - after.params / before.params
    note = f"{saved[0]:.0%} of MACs and {saved[1]:.0%} of parameters removed"
    return Artifact(model=model, note=note)


def narrow(model: nn.Module, shape: tuple[int, ...], goal: float, params: PruneOptions) -> nn.Module:
    """Return a copy with the least important channels removed until it costs at most `goal` MACs.

    Raises:
        DataError: the library cannot follow the network, or it cannot become that small.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of the library's own imports
        import torch_pruning  # noqa: PLC0415 - slow to import, and only this step needs it

    model = copy.deepcopy(model).eval()
    kinds = nn.Linear | nn.Conv2d | nn.Conv1d
    layers: list[nn.Module] = [*(m for m in model.modules() if isinstance(m, kinds))]
    try:
        pruner = torch_pruning.pruner.BasePruner(
            model,
            torch.zeros(shape),
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            global_pruning=params.scope == "global",
            pruning_ratio=1.0,
            max_pruning_ratio=0.9,
            iterative_steps=FINENESS,
            ignored_layers=layers[-1:],
            round_to=params.round_to,
        )
        for _ in range(FINENESS):
            for group in pruner.step(interactive=True) or ():
                group.prune()
                if cost(model, shape).macs <= goal:
                    return model
    except Exception as error:
        raise DataError(
            f"The network cannot be pruned: {describe(error)}", "Leave the table 'prune' out of the recipe"
        ) from error
    raise DataError(
        f"Pruning cannot reach {goal:.0f} MACs with channels in multiples of {params.round_to}",
        "Lower prune.macs or prune.round_to",
    )


def _shares(epochs: int, rounds: int) -> list[int]:
    """Split `epochs` over `rounds` as evenly as whole numbers allow, the rest to the last."""
    return [epochs // rounds] * (rounds - 1) + [epochs - epochs // rounds * (rounds - 1)]
