"""Augmented copies of the training split; the teacher is asked once for each and its answers are kept.

They outlive a killed conversion, too: a teacher is many times as large as its student.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from outrider_bundle.errors import DataError
from outrider_converter import measure, seeding, tasks
from outrider_converter.accuracy import Accuracy, accuracy_of
from outrider_converter.checkpoint import Checkpoints, NullCheckpoints
from outrider_converter.dataset import Dataset
from outrider_converter.progress import Reporter
from outrider_converter.rating import r2
from outrider_converter.recipe import Recipe
from outrider_converter.scale import Scale
from outrider_converter.tensors import Normalizer, logical_input

CHUNK = 4096
"""Images moved at once."""


WORTH_KEEPING = 2**28
"""Bytes of answers that are kept on disk at most."""


class View(tuple[Tensor, Tensor]):
    """Prepared values `(n, ...)` and the teacher's logits `(n, classes)` on exactly these, or its numbers."""

    __slots__ = ()


def augment(images: Tensor, source: torch.Generator, *, flip: bool, shift: int) -> Tensor:
    """Mirror half of the images and move each by up to `shift` pixels; what comes in from outside is 0.

    Args:
        images: uint8 `(n, c, h, w)`.
        source: of all randomness.
        flip: whether to mirror.
        shift: largest distance in both directions.

    Returns:
        uint8 of the same shape.
    """
    n, _, height, width = images.shape
    across, down = torch.arange(width)[None], torch.arange(height)[None]
    if flip:
        mirrored = torch.rand(n, 1, generator=source) < 0.5  # noqa: PLR2004 - every second one
        across = torch.where(mirrored, width - 1 - across, across)
    columns = across + torch.randint(0, 2 * shift + 1, (n, 1), generator=source)
    rows = down + torch.randint(0, 2 * shift + 1, (n, 1), generator=source)
    padded = functional.pad(images, (shift,) * 4)
    picked = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.movedim(-1, 1).contiguous()


class Views:
    """The views of a training split, made when first asked for. View 0 is the split as it is."""

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        teacher: nn.Module,
        reporter: Reporter,
        checkpoints: Checkpoints | None = None,
        scale: Scale | None = None,
    ) -> None:
        """Remember what views are made from; computes nothing yet. Numbers are learned by their `scale`."""
        self.numbers = tasks.metric_of(recipe.output) == "r2"
        self._scale = scale
        self._wanted: Tensor | None = None
        self._checkpoints = checkpoints or NullCheckpoints()
        self._recipe, self._data, self._reporter = recipe, data, reporter
        self._augments = recipe.distill.flip or recipe.distill.shift > 0
        self._values: dict[int, Tensor] = {0: data.train.prepared}
        self._answers: dict[int, Tensor] = {}
        self.teacher = teacher
        self.normalize = Normalizer(logical_input(recipe))
        self.labels = torch.from_numpy(data.train.labels)

    def get(self, epoch: int) -> View:
        """Return the view of an epoch.

        Raises:
            DataError: there are no class names.
        """
        index, values = self._index(epoch), self.values(epoch)
        if index not in self._answers:
            self._check()
            answers = self._ask_all(f"teacher, view {index + 1}", values)
            self._answers[index] = self._standard(answers)
        return View((values, self._answers[index]))

    def values(self, epoch: int) -> Tensor:
        """Return the values of an epoch's view, without asking the teacher."""
        index = self._index(epoch)
        if index not in self._values:
            source = seeding.generator(self._recipe.seed, "view", index)
            chunks = torch.split(self._data.train.prepared, CHUNK)
            self._values[index] = torch.cat([self._augmented(chunk, source) for chunk in chunks])
        return self._values[index]

    def fresh(self, index: Tensor, source: torch.Generator) -> Tensor:
        """Return the values of the samples `index`, augmented anew.

        Args:
            index: int64 `(n,)`.
            source: of all randomness.
        """
        return self._augmented(self._data.train.prepared[index], source)

    def ask(self, inputs: Tensor) -> Tensor:
        """Return the teacher's logits on normalized inputs, now.

        Raises:
            DataError: there are no class names.
        """
        self._check()
        with torch.no_grad():
            answers: Tensor = self.teacher(inputs)
        return self._standard(answers.float())

    def accuracy(self, model: nn.Module) -> float:
        """Return the accuracy of `model` on the validation split; it is left in evaluation mode."""
        return self.rate(model).value

    def rate(self, model: nn.Module) -> Accuracy:
        """Return the same with its interval: of numbers R2 to the teacher's."""
        split = self._data.validation
        answers = measure.logits(model, split.prepared, self.normalize)
        if not self.numbers:
            return accuracy_of(answers.argmax(1).numpy(), split.labels)
        if self._wanted is None:
            self._wanted = self._standard(measure.logits(self.teacher, split.prepared, self.normalize))
        return r2(answers.double().numpy(), self._wanted.double().numpy())

    def _standard(self, answers: Tensor) -> Tensor:
        return answers if self._scale is None else self._scale.standard(answers)

    def _index(self, epoch: int) -> int:
        """Return the number of an epoch's view; without augmentation all are the same."""
        return epoch % self._recipe.distill.views if self._augments else 0

    def _augmented(self, values: Tensor, source: torch.Generator) -> Tensor:
        options = self._recipe.distill
        return augment(values, source, flip=options.flip, shift=options.shift) if self._augments else values

    def _ask_all(self, name: str, values: Tensor) -> Tensor:
        """Return the teacher's logits on a whole view, from an earlier run if it got so far."""
        task = self._reporter.start(name, len(values))
        saved = self._checkpoints.load(name)
        if saved is not None:
            task.advance(len(values), "taken from an earlier run")
            kept: Tensor = saved["answers"]
            return kept
        answers = measure.logits(self.teacher, values, self.normalize, task)
        if answers.nbytes <= WORTH_KEEPING:
            self._checkpoints.save(name, {"answers": answers})
        return answers

    def _check(self) -> None:
        if not self._data.labels and not self.numbers:
            raise DataError(
                "Raw outputs cannot be distilled: there are no class names",
                'Give data.classes, or set student.family = "as-is"',
            )
