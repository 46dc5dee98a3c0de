"""Short trainings choose settings of the distillation by validation accuracy."""

from dataclasses import dataclass, field

from msgspec.structs import replace

from outrider_bundle.errors import DataError
from outrider_converter import sampling
from outrider_converter.accuracy import wilson
from outrider_converter.artifact import Artifact, Context
from outrider_converter.plan import Plan, steps_per_epoch
from outrider_converter.progress import Task
from outrider_converter.recipe import BUILT_IN_STUDENTS, DistillOptions, SearchOptions
from outrider_converter.sampling import NAMES, Choices, Setting
from outrider_converter.steps.distill import plan
from outrider_converter.training import learn

DIVERGED = -1.0
"""What counts as the accuracy of a training whose loss is no longer a number."""


def search(artifact: Artifact, params: SearchOptions | None, context: Context) -> Artifact:
    """Return the artifact with the settings that did best, or as it was without a table `search`.

    The recipe's own settings are tried first and win ties: another has to be better. All trials start from
    the same weights and see the same batches.

    Raises:
        MissingExtraError: the search library is not installed.
        DataError: the recipe's own settings cannot be trained with.
    """
    idle = _idle(params, context)
    if params is None or idle:
        return replace(artifact, note=idle)
    options = context.recipe.distill
    own, choices = _setting(options), _choices(params, options)
    trials = _trials(artifact, params, context, sampling.size(own, choices, params.trials))
    best = sampling.choose(trials.accuracy, own, choices, params.trials, context.recipe.seed)
    count = f"{len(trials.tried)} settings"
    texts = [f"{_told(setting)}: {_rated(value)}" for setting, value in trials.tried.items()]
    texts.append(f"{_told(best)} is chosen of {count}, {trials.interval(best)}")
    found = {name: value for name, value, old in zip(NAMES, best, own, strict=True) if value != old}
    artifact = replace(artifact, chosen={**artifact.chosen, **found}, note=f"{count}, {_told(best)}")
    return artifact.decided("search", *texts)


def _idle(params: SearchOptions | None, context: Context) -> str:
    """Return why there is nothing to search for."""
    student = context.recipe.student
    if params is None:
        return "no table 'search'"
    if student.callable is None and student.family in BUILT_IN_STUDENTS:
        return f"the student is the teacher ({student.family}), nothing to distil"
    if not any(getattr(params, name) for name in NAMES):
        return "no values to choose from"
    return ""


def _setting(options: DistillOptions) -> Setting:
    return options.temperature, options.alpha, options.learning_rate


def _choices(params: SearchOptions, options: DistillOptions) -> Choices:
    """Return the values of each name, the recipe's own where the search leaves it alone."""
    return tuple(getattr(params, name) or (getattr(options, name),) for name in NAMES)


@dataclass
class _Trials:
    """Trainings that differ in their setting only, and how each did."""

    artifact: Artifact
    context: Context
    how: Plan
    task: Task
    tried: dict[Setting, float] = field(default_factory=dict)

    def accuracy(self, setting: Setting) -> float:
        """Train with `setting` and return the validation accuracy.

        Raises:
            DataError: the first of all cannot be trained with.
        """
        name = f"search {_told(setting)}"
        how = replace(self.how, kept_as=name, **dict(zip(NAMES, setting, strict=True)))
        context = self.context
        try:
            trained = learn(self.artifact.model, context.views, how, self.task, context.checkpoints)
            self.tried[setting] = context.views.accuracy(trained.model)
        except DataError:
            if not self.tried:
                raise
            self.tried[setting] = DIVERGED
        self.task.advance(0, f"{_told(setting)}: {_rated(self.tried[setting])}")
        return self.tried[setting]

    def interval(self, setting: Setting) -> str:
        count = len(self.context.data.validation)
        low, high = wilson(round(self.tried[setting] * count), count)
        return f"95 % interval {100 * low:.2f} to {100 * high:.2f} % of {count} validation samples"


def _trials(artifact: Artifact, params: SearchOptions, context: Context, size: int) -> _Trials:
    how = replace(
        plan(context.recipe.distill, context.recipe.seed, "search"), epochs=params.epochs, patience=0
    )
    steps = params.epochs * steps_per_epoch(len(context.data.train), how)
    return _Trials(
        artifact=artifact, context=context, how=how, task=context.reporter.start("search", size * steps)
    )


def _told(setting: Setting) -> str:
    temperature, alpha, rate = setting
    return f"T={temperature:g}, alpha={alpha:g}, learning rate {rate:g}"


def _rated(accuracy: float) -> str:
    return "diverged" if accuracy == DIVERGED else f"{100 * accuracy:.2f} %"
