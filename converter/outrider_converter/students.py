"""Small networks to learn: built-in families scaled by a width, or the user's own callable.

Source of the depthwise-separable block: Howard et al., "MobileNets", arXiv 1704.04861; of the
residual one: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385.
"""

import difflib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from outrider_bundle.errors import DataError, UsageError
from outrider_converter import loading
from outrider_converter.recipe import Recipe


def convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Build a convolution that keeps the size (over `stride`) and its batch normalization."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Residual(nn.Module):
    """Two 3x3 convolutions around an identity: `(n, c, h, w)` to the same shape."""

    def __init__(self, channels: int) -> None:
        """Build the block for `channels` channels."""
        super().__init__()
        relu = nn.ReLU(inplace=True)
        self.body = nn.Sequential(*convolution(channels, channels), relu, *convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual and rectify."""
        return functional.relu(x + self.body(x))


class Separable(nn.Module):
    """Depthwise 3x3, then pointwise; with an identity around it where the shapes allow one."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        """Build the block from `inputs` to `outputs` channels."""
        super().__init__()
        self.body = nn.Sequential(
            *convolution(inputs, inputs, stride=stride, groups=inputs),
            nn.ReLU(inplace=True),
            *convolution(inputs, outputs, kernel=1),
            nn.ReLU(inplace=True),
        )
        self.identity = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y: Tensor = self.body(x)
        return x + y if self.identity else y


class Pooled(nn.Module):
    """A feature extractor, global average pooling and one linear layer: the lightest head there is."""

    def __init__(self, features: list[nn.Module], channels: int, classes: int) -> None:
        """Put the head for `classes` classes on `features` of `channels` channels."""
        super().__init__()
        self.features = nn.Sequential(*features)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(n, classes)` logits for `(n, c, h, w)`."""
        scores: Tensor = self.head(self.features(x).mean((2, 3)))
        return scores


def stem(inputs: int, outputs: int, stride: int = 2) -> list[nn.Module]:
    """Build the first layer: a full 3x3 convolution, which int8 covers well, unlike a depthwise one."""
    return [*convolution(inputs, outputs, stride=stride), nn.ReLU(inplace=True)]


def ds_cnn(channels: int, classes: int, width: int) -> nn.Module:
    """Build the depthwise-separable family: most accurate for its parameters, slow to train on a CPU."""
    a, b, c = width, 2 * width, 4 * width
    blocks = [Separable(a, b), Separable(b, b), Separable(b, c, 2), Separable(c, c)]
    return Pooled([*stem(channels, a), *blocks], c, classes)


def res_cnn(channels: int, classes: int, width: int) -> nn.Module:
    """Build the residual family: full convolutions, three times as fast to train as `ds-cnn`."""
    a, b = width, 2 * width
    down = stem(a, b)
    return Pooled([*stem(channels, a), Residual(a), *down, Residual(b), Residual(b)], b, classes)


FAMILIES: dict[str, Callable[[int, int, int], nn.Module]] = {"ds-cnn": ds_cnn, "res-cnn": res_cnn}
"""Name to builder: `(input channels, classes, width)` to a network that gives logits."""


def build_student(recipe: Recipe, classes: int, folder: Path) -> nn.Module:
    """Build the untrained student of `recipe` and check that it fits.

    Raises:
        UsageError: no such family.
        DataError: the callable fails or its network does not fit input and classes.
    """
    options = recipe.student
    if options.callable is not None:
        model = loading.call(options.callable, folder)
        name = f"'{options.callable}'"
    else:
        model = family(options.family)(recipe.input.shape[1], classes, options.width)
        name = f"The family {options.family}"
    return check_model(model, name, recipe.input.shape, classes)


def family(name: str) -> Callable[[int, int, int], nn.Module]:
    """Return the builder of a family.

    Raises:
        UsageError: there is none; the message names its neighbour.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    near = difflib.get_close_matches(name, FAMILIES, 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UsageError(
        f"There is no student family '{name}'", f"{hint}There are: {', '.join(FAMILIES)}".capitalize()
    )


def check_model(model: object, name: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return `model` if it turns an input of `shape` into one finite score a class.

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
    if not isinstance(answer, Tensor) or answer.shape != (2, classes):
        got = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise DataError(
            f"{name} gives {got} where (2, {classes}) is needed: one score for each of the {classes} labels",
            "Correct data.labels or the network's last layer",
        )
    if not torch.isfinite(answer).all():
        raise DataError(f"{name} gives NaN or infinity for an empty input", "Check its weights")
    return model
