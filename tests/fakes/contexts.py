"""The context of a step over the toy: its data and teacher, and no measurements of the latter."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from msgspec.structs import replace
from torch import nn

from outrider_converter.artifact import Context
from outrider_converter.checkpoint import NullCheckpoints, Saved
from outrider_converter.dataset import load_dataset
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import read_recipe
from outrider_converter.reference import load_teacher
from outrider_converter.targets import Target
from outrider_converter.views import Views
from tests.fakes.toy import write_toy


class MemoryCheckpoints(NullCheckpoints):
    """Remembers all that it can, by purpose, in order."""

    def __init__(self) -> None:
        self.kept: dict[str, Saved] = {}

    def save(self, purpose: str, state: Saved) -> None:
        self.kept[purpose] = copy.deepcopy(state)

    def load(self, purpose: str) -> Saved | None:
        return self.kept.get(purpose)

    def due(self) -> bool:
        return True


def toy_context(
    folder: Path,
    *changes: tuple[str, str],
    labelled: bool = True,
    teacher: nn.Module | None = None,
    targets: tuple[Target, ...] = (),
) -> Context:
    """Return the context of a step.

    Args:
        folder: scratch space.
        changes: to the recipe; see `write_toy`.
        labelled: whether training samples keep their labels.
        teacher: in place of the toy's own.
        targets: to convert for.
    """
    path = write_toy(folder / "recipe", *changes)
    recipe = read_recipe(path)
    data = load_dataset(recipe, path.parent)
    if not labelled:
        train: Any = replace(data.train, labels=data.train.labels * 0 - 1)
        data = replace(data, train=train)
    teacher = teacher or load_teacher(recipe, len(data.labels), path.parent)
    work = folder / "work"
    work.mkdir()
    with torch.no_grad():
        views = Views(recipe, data, teacher, NullReporter())
    return Context(
        recipe=recipe,
        data=data,
        teacher=teacher,
        reference=SimpleNamespace(files={}, outputs={}),  # type: ignore[arg-type]  # training asks for nothing
        targets=targets,
        views=views,
        checkpoints=MemoryCheckpoints(),
        folder=work,
        reporter=NullReporter(),
    )
