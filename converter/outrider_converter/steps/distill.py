"""Train the student on the teacher's softened answers."""

from msgspec.structs import replace

from outrider_converter.artifact import Artifact, Context
from outrider_converter.plan import Plan, steps_per_epoch
from outrider_converter.recipe import BUILT_IN_STUDENTS, DistillOptions
from outrider_converter.training import learn


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
        schedule=options.schedule,
        patience=options.patience,
        online=options.teacher == "online",
        hints=options.hints,
        compile=options.compile,
    )


def chosen(options: DistillOptions, artifact: Artifact) -> DistillOptions:
    """Return `options` with what a search has found better."""
    return replace(options, **artifact.chosen)


def distill(artifact: Artifact, params: DistillOptions, context: Context) -> Artifact:
    """Return the artifact with a trained network; a teacher that is its own student is left as it is.

    Raises:
        DataError: the training diverged, or a hint cannot be taken.
    """
    student = context.recipe.student
    if student.callable is None and student.family in BUILT_IN_STUDENTS:
        return replace(artifact, note=f"the student is the teacher ({student.family}), nothing to distil")
    params = chosen(params, artifact)
    how = plan(params, context.recipe.seed)
    if how.alpha and not how.online and not how.hints:
        for epoch in range(min(params.views, how.epochs)):
            context.views.get(epoch)  # now, so that the teacher's time is not the student's
    task = context.reporter.start("distill", how.epochs * steps_per_epoch(len(context.data.train), how))
    trained = learn(artifact.model, context.views, how, task, context.checkpoints)
    settings = f"{how.epochs} epochs, T={how.temperature:g}, alpha={how.alpha:g}"
    return replace(artifact, model=trained.model, note="; ".join((settings, *trained.notes)))
