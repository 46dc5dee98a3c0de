"""Train the student on the teacher's softened answers."""

from outrider_converter.artifact import Artifact, Context
from outrider_converter.recipe import DistillOptions
from outrider_converter.training import Plan, steps_per_epoch, train


def plan(options: DistillOptions, seed: int, purpose: str = "distill") -> Plan:
    """Return how to train by the recipe's table."""
    return Plan(
        purpose=purpose,
        seed=seed,
        epochs=options.epochs,
        batch=options.batch,
        temperature=options.temperature,
        alpha=options.alpha,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        average=options.average,
        compile=options.compile,
    )


def distill(artifact: Artifact, params: DistillOptions, context: Context) -> Artifact:
    """Return the artifact with a trained network.

    Raises:
        DataError: the training diverged.
    """
    how = plan(params, context.recipe.seed)
    total = how.epochs * steps_per_epoch(len(context.data.train), how)
    for epoch in range(min(params.views, how.epochs)):
        context.views.get(epoch)  # now, so that the teacher's time is not the student's
    task = context.reporter.start("distill", total)
    model = train(artifact.model, context.views, how, task)
    return Artifact(model=model, note=f"{how.epochs} epochs, T={how.temperature:g}, alpha={how.alpha:g}")
