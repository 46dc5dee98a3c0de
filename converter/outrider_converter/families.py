"""Small networks to learn, scaled by a width: for images, for windows of sensor values, for tables.

Source of the depthwise-separable block: Howard et al., "MobileNets", arXiv 1704.04861, and for windows
Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", arXiv 1711.07128; of the residual one:
He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Dimensions = Literal[1, 2]
"""Over how many a network slides: 2 for images, 1 for windows."""

WINDOW_KERNEL = 9
"""Rows that a filter of `ds-cnn-1d` sees: a depthwise one costs little, and three strides of 2 follow."""


def convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, dimensions: Dimensions = 2
) -> list[nn.Module]:
    """Build a convolution that keeps the size (over `stride`) and its batch normalization."""
    layer, norm = (nn.Conv2d, nn.BatchNorm2d) if dimensions == 2 else (nn.Conv1d, nn.BatchNorm1d)  # noqa: PLR2004
    conv = layer(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, norm(outputs)]


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
    """Depthwise, then pointwise; with an identity around it where the shapes allow one."""

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, kernel: int = 3, dimensions: Dimensions = 2
    ) -> None:
        """Build the block from `inputs` to `outputs` channels."""
        super().__init__()
        self.body = nn.Sequential(
            *convolution(inputs, inputs, kernel, stride, inputs, dimensions),
            nn.ReLU(inplace=True),
            *convolution(inputs, outputs, 1, dimensions=dimensions),
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
        """Return `(n, classes)` logits for `(n, c, h, w)` or `(n, c, t)`."""
        features: Tensor = self.features(x)
        pooled = features.mean((2, 3)) if features.ndim == 4 else features.mean(2)  # noqa: PLR2004 - n, c, h, w
        scores: Tensor = self.head(pooled)
        return scores


def stem(inputs: int, outputs: int, stride: int = 2) -> list[nn.Module]:
    """Build the first layer: a full 3x3 convolution, which int8 covers well, unlike a depthwise one."""
    return [*convolution(inputs, outputs, stride=stride), nn.ReLU(inplace=True)]


def ds_cnn(channels: int, classes: int, width: int) -> nn.Module:
    """Build the depthwise-separable family: most accurate for its parameters, slow to train on a CPU."""
    a, b, c = width, 2 * width, 4 * width
    blocks = [Separable(a, b), Separable(b, b), Separable(b, c, 2), Separable(c, c)]
    return Pooled([*stem(channels, a), *blocks], c, classes)


def ds_cnn_1d(channels: int, classes: int, width: int) -> nn.Module:
    """Build the depthwise-separable family for windows `(n, channels, length)`."""
    a, b, c, k = width, 2 * width, 4 * width, WINDOW_KERNEL
    first = [*convolution(channels, a, k, 2, dimensions=1), nn.ReLU(inplace=True)]
    shape = ((a, b, 2), (b, b, 1), (b, c, 2), (c, c, 1))
    blocks = [Separable(i, o, stride, k, 1) for i, o, stride in shape]
    return Pooled([*first, *blocks], c, classes)


def res_cnn(channels: int, classes: int, width: int) -> nn.Module:
    """Build the residual family: full convolutions, three times as fast to train as `ds-cnn`."""
    a, b = width, 2 * width
    down = stem(a, b)
    return Pooled([*stem(channels, a), Residual(a), *down, Residual(b), Residual(b)], b, classes)


def mlp(features: int, classes: int, width: int) -> nn.Module:
    """Build two hidden layers for rows of a table `(n, features)`; nothing in them that int8 cannot fold."""
    hidden = [
        nn.Linear(features, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width),
        nn.ReLU(inplace=True),
    ]
    return nn.Sequential(*hidden, nn.Linear(width, classes))


FAMILIES: dict[str, Callable[[int, int, int], nn.Module]] = {
    "ds-cnn": ds_cnn,
    "ds-cnn-1d": ds_cnn_1d,
    "mlp": mlp,
    "res-cnn": res_cnn,
}
"""Name to builder: `(input channels, classes, width)` to a network that gives logits."""
