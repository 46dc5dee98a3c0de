"""Remove whole channels, in rounds, and let the network recover on the teacher's answers after each."""

from msgspec.structs import replace
from torch import nn

from outrider_bundle.errors import OutriderError
from outrider_converter.artifact import Artifact, Context
from outrider_converter.measure import Cost, cost
from outrider_converter.plan import Plan, steps_per_epoch
from outrider_converter.pruning.importance import Score, magnitude, taylor
from outrider_converter.pruning.narrow import Rules, narrow
from outrider_converter.pruning.proof import prove
from outrider_converter.recipe import PruneOptions
from outrider_converter.steps.distill import chosen, plan
from outrider_converter.targets import channel_multiple
from outrider_converter.training import train


def prune(artifact: Artifact, params: PruneOptions | None, context: Context) -> Artifact:
    """Return the artifact with a narrower network and the proof of what that has gained.

    Nothing is done without a table `prune`, or to a student that is the teacher as it is.

    Raises:
        DataError: the network cannot be pruned that far, or the recovery diverged.
    """
    student = context.recipe.student
    if params is None:
        return replace(artifact, note="no table 'prune'")
    if student.callable is None and student.family == "as-is":
        return replace(artifact, note="the student is the teacher as it is, nothing is pruned")
    before = artifact.model
    model = _narrowed(before, params, _recovery(artifact, params, context), context)
    artifact = replace(artifact, model=model, exports=(), left_out=(), pruning=None)
    shape = context.recipe.input.shape
    note = _removed(cost(before, shape), cost(model, shape))
    try:
        proof = prove(before, model, context.recipe, context.folder, context.reporter)
    except OutriderError as error:
        return replace(artifact, note=f"{note}; how much faster that is could not be measured: {error}")
    return replace(artifact, pruning=proof, note=f"{note}, {proof.faster:.2f} times as fast")


def _narrowed(before: nn.Module, params: PruneOptions, how: Plan, context: Context) -> nn.Module:
    """Return a copy of `before`, narrowed and recovered in rounds."""
    shape = context.recipe.input.shape
    most = cost(before, shape).macs
    total = params.epochs * steps_per_epoch(len(context.data.train), how)
    task = context.reporter.start("prune, recover", total)
    model = before
    for index, epochs in enumerate(_shares(params.epochs, params.rounds), 1):
        goal = most * (1 - params.macs * index / params.rounds)
        rules = Rules(
            multiple=channel_multiple(context.recipe, context.targets),
            scope=params.scope,
            score=_score(params, replace(how, purpose=f"taylor {index}"), context),
        )
        model = narrow(model, shape, goal, rules)
        recovery = replace(how, purpose=f"prune {index}", epochs=epochs)
        model = train(model, context.views, recovery, task, context.checkpoints)
    return model


def _recovery(artifact: Artifact, params: PruneOptions, context: Context) -> Plan:
    """Return how to recover: as the distillation does, at the table's own rate and length."""
    recipe = context.recipe
    how = plan(chosen(recipe.distill, artifact), recipe.seed, "prune")
    return replace(how, epochs=params.epochs, learning_rate=params.learning_rate)


def _score(params: PruneOptions, how: Plan, context: Context) -> Score:
    return taylor(context.views, how) if params.importance == "taylor" else magnitude


def _shares(epochs: int, rounds: int) -> list[int]:
    """Split `epochs` over `rounds` as evenly as whole numbers allow, the rest to the last."""
    return [epochs // rounds] * (rounds - 1) + [epochs - epochs // rounds * (rounds - 1)]


def _removed(before: Cost, after: Cost) -> str:
    saved = 1 - after.macs / before.macs, 1 - after.params / before.params
    return f"{saved[0]:.0%} of MACs and {saved[1]:.0%} of parameters removed"
