"""The student: a family scaled by a width, the user's own network, or the teacher itself."""

import copy
import difflib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from outrider_bundle.errors import DataError, UsageError
from outrider_converter import loading
from outrider_converter.families import FAMILIES, ds_cnn, ds_cnn_1d, mlp, res_cnn
from outrider_converter.recipe import BUILT_IN_STUDENTS, Recipe
from outrider_converter.teachers.answers import Logarithm

__all__ = [
    "FAMILIES",
    "build_student",
    "check_model",
    "ds_cnn",
    "ds_cnn_1d",
    "family",
    "mlp",
    "res_cnn",
]

PRUNABLE = (nn.Conv1d, nn.Conv2d, nn.Linear)


def build_student(
    recipe: Recipe, classes: int | None, folder: Path, teacher: nn.Module | None = None
) -> nn.Module:
    """Build the student of `recipe` and check that it fits.

    Args:
        recipe: names it.
        classes: how many logits it gives; None for raw outputs.
        folder: the recipe's.
        teacher: the loaded one, for the families `auto` and `as-is`.

    Returns:
        An untrained network, a copy of the teacher (`auto`), or the teacher itself (`as-is`).

    Raises:
        UsageError: no such family.
        DataError: the callable fails, its network does not fit input and classes, or the teacher cannot
            be a student.
    """
    options = recipe.student
    if options.callable is not None:
        model = loading.call(options.callable, folder)
        return check_model(model, f"'{options.callable}'", recipe.input.shape, classes)
    if options.family in BUILT_IN_STUDENTS:
        return _teacher_as(options.family, teacher)
    build = family(options.family)
    if classes is None:
        raise DataError(
            f"The family {options.family} gives one score a class, and there are no class names",
            'Give data.classes, or set student.family = "as-is" for raw outputs',
        )
    model = build(recipe.input.shape[1], classes, options.width)
    return check_model(model, f"The family {options.family}", recipe.input.shape, classes)


def _teacher_as(name: str, teacher: nn.Module | None) -> nn.Module:
    """Return the teacher as it is, or a copy of it that can learn."""
    if teacher is None:
        raise UsageError(f"The student '{name}' needs a teacher", "Load the teacher first")
    if isinstance(teacher, Logarithm) and not hasattr(teacher, "files"):
        raise DataError(
            f"The student {name} would have the teacher's softmax and a logarithm at its end",
            'Leave the softmax out of the network and set teacher.output = "logits"',
        )
    if name == "as-is":
        return teacher
    if not any(isinstance(module, PRUNABLE) for module in teacher.modules()):
        raise DataError(
            "The student auto narrows layers of torch, and the teacher has none: a file shows only operators",
            "Give teacher.callable, or choose another student.family",
        )
    return copy.deepcopy(teacher).requires_grad_(requires_grad=True)


def family(name: str) -> Callable[[int, int, int], nn.Module]:
    """Return the builder of a family.

    Raises:
        UsageError: there is none; the message names its neighbour.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    known = (*FAMILIES, *BUILT_IN_STUDENTS)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UsageError(
        f"There is no student family '{name}'", f"{hint}There are: {', '.join(known)}".capitalize()
    )


def check_model(model: object, name: str, shape: tuple[int, ...], classes: int | None) -> nn.Module:
    """Return `model` if it turns an input of `shape` into finite numbers.

    Args:
        model: what a callable has returned.
        name: of the model, for the message.
        shape: of its input, batch included.
        classes: it must give one score for each; None takes any tensor or tuple of tensors.

    Raises:
        DataError: it does not.
    """
    if not isinstance(model, nn.Module):
        raise DataError(
            f"{name} gives a {type(model).__name__}, not a torch.nn.Module", "Return the network itself"
        )
    probe = torch.zeros((2, *shape[1:]))
    try:
        with torch.inference_mode():
            answer = model.eval()(probe)
    except Exception as error:
        raise DataError(
            f"{name} does not take an input of shape {tuple(probe.shape)}: {loading.describe(error)}",
            "Correct input.shape or the network",
        ) from error
    for part in _raw(answer, name) if classes is None else [_scores(answer, name, classes)]:
        if not torch.isfinite(part).all():
            raise DataError(f"{name} gives NaN or infinity for an empty input", "Check its weights")
    return model


def _scores(answer: object, name: str, classes: int) -> Tensor:
    """Return the answer to two samples if it is one score a class."""
    if not isinstance(answer, Tensor) or answer.shape != (2, classes):
        got = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise DataError(
            f"{name} gives {got} where (2, {classes}) is needed: one score for each of the {classes} labels",
            "Correct the names or the network's last layer",
        )
    return answer


def _raw(answer: object, name: str) -> list[Tensor]:
    """Return the parts of the answer to two samples if each has a row for each."""
    parts: list[Tensor] = []
    for part in answer if isinstance(answer, tuple) else (answer,):
        if not isinstance(part, Tensor) or part.shape[:1] != (2,):
            got = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise DataError(
                f"{name} gives {got} for two samples, tensors with a row for each are needed",
                "Let the network return a tensor or a tuple of tensors, batch first",
            )
        parts.append(part)
    return parts
