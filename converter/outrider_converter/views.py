"""Augmented copies of the training split; the teacher is asked once for each and its answers are kept."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from outrider_converter import measure, seeding
from outrider_converter.dataset import Dataset
from outrider_converter.progress import Reporter
from outrider_converter.recipe import Recipe
from outrider_converter.tensors import Normalizer, logical_input


class View(tuple[Tensor, Tensor]):
    """Prepared values `(n, ...)` and the teacher's logits `(n, classes)` on exactly these."""

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

    def __init__(self, recipe: Recipe, data: Dataset, teacher: nn.Module, reporter: Reporter) -> None:
        """Remember what views are made from; computes nothing yet."""
        self._recipe, self._data, self._teacher, self._reporter = recipe, data, teacher, reporter
        self._made: dict[int, View] = {}
        self.normalize = Normalizer(logical_input(recipe))
        self.labels = torch.from_numpy(data.train.labels)

    def get(self, epoch: int) -> View:
        """Return the view of an epoch."""
        index = epoch % self._recipe.distill.views
        if index not in self._made:
            self._made[index] = self._make(index)
        return self._made[index]

    def _make(self, index: int) -> View:
        options, values = self._recipe.distill, self._data.train.prepared
        if index and (options.flip or options.shift):
            source = seeding.generator(self._recipe.seed, "view", index)
            parts = [
                augment(c, source, flip=options.flip, shift=options.shift) for c in torch.split(values, 4096)
            ]
            values = torch.cat(parts)
        task = self._reporter.start(f"teacher, view {index + 1}", len(values))
        return View((values, measure.logits(self._teacher, values, self.normalize, task)))
