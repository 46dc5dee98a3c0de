"""Two untrained networks of the sizes that devices run: a MobileNetV2 and a detector in YOLO's layout.

Sources: Sandler et al., "MobileNetV2", arXiv 1801.04381, table 2; the detector's output is laid out as
Ultralytics' version 8 exports it: (1, 4 + classes, anchors), boxes as centre and size in input pixels.
"""

import torch
from torch import Tensor, nn

MOBILENET = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repeats, first stride."""

STRIDES = (8, 16, 32)
WIDTHS = (16, 40, 80, 160, 320)
"""Channels of the detector's backbone at strides 2, 4, 8, 16 and 32."""


def convolution(
    inside: int, outside: int, size: int, stride: int, act: nn.Module, groups: int = 1
) -> nn.Module:
    """Return a convolution with normalization and activation."""
    layer = nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outside), act)


class Inverted(nn.Module):
    """Expand, filter each channel, project; added to the input where the shapes are equal."""

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        """Build the layers."""
        super().__init__()
        hidden = inside * expansion
        self.same = stride == 1 and inside == outside
        widen = [convolution(inside, hidden, 1, 1, nn.ReLU6())] if expansion > 1 else []
        self.layers = nn.Sequential(
            *widen,
            convolution(hidden, hidden, 3, stride, nn.ReLU6(), groups=hidden),
            convolution(hidden, outside, 1, 1, nn.Identity()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y: Tensor = self.layers(x)
        return x + y if self.same else y


class MobileNet(nn.Module):
    """MobileNetV2 of width 1: 224x224 to `classes` logits."""

    def __init__(self, classes: int) -> None:
        """Build the layers."""
        super().__init__()
        layers, inside = [convolution(3, 32, 3, 2, nn.ReLU6())], 32
        for expansion, outside, repeats, stride in MOBILENET:
            for index in range(repeats):
                layers.append(Inverted(inside, outside, stride if index == 0 else 1, expansion))
                inside = outside
        layers.append(convolution(inside, 1280, 1, 1, nn.ReLU6()))
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(n, classes)`."""
        y: Tensor = self.head(self.features(x).mean((2, 3)))
        return y


class Stage(nn.Module):
    """Halve the size, then two residual convolutions beside a shortcut, joined."""

    def __init__(self, inside: int, outside: int, stride: int = 2) -> None:
        """Build the layers."""
        super().__init__()
        half = outside // 2
        self.down = convolution(inside, outside, 3, stride, nn.SiLU())
        self.first = convolution(half, half, 3, 1, nn.SiLU())
        self.second = convolution(half, half, 3, 1, nn.SiLU())
        self.join = convolution(outside + half, outside, 1, 1, nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        """Return features at the next stride."""
        y: Tensor = self.down(x)
        kept, work = y.chunk(2, 1)
        work = work + self.second(self.first(work))
        out: Tensor = self.join(torch.cat((kept, work, kept), 1))
        return out


class Head(nn.Module):
    """Boxes and class logits at one stride."""

    def __init__(self, inside: int, classes: int) -> None:
        """Build the layers."""
        super().__init__()
        self.boxes = nn.Sequential(convolution(inside, 32, 3, 1, nn.SiLU()), nn.Conv2d(32, 4, 1))
        self.last = nn.Conv2d(32, classes, 1)
        self.classes = nn.Sequential(convolution(inside, 32, 3, 1, nn.SiLU()), self.last)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return distances `(n, 4, cells)` in strides and logits `(n, classes, cells)`."""
        return self.boxes(x).flatten(2), self.classes(x).flatten(2)

    def shift(self, by: Tensor) -> None:
        """Add `by` to all logits."""
        with torch.no_grad():
            self.last.bias += by


class Detector(nn.Module):
    """A convolutional detector: `size` x `size` to `(1, 4 + classes, anchors)`."""

    def __init__(self, classes: int, size: int) -> None:
        """Build the layers and the centres of all cells."""
        super().__init__()
        one, two, three, four, five = WIDTHS
        self.stem = convolution(3, one, 3, 2, nn.SiLU())
        self.stages = nn.ModuleList(
            [Stage(one, two), Stage(two, three), Stage(three, four), Stage(four, five)]
        )
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.merge_four = Stage(five + four, four, 1)
        self.merge_three = Stage(four + three, three, 1)
        self.heads = nn.ModuleList([Head(width, classes) for width in (three, four, five)])
        sides = [size // stride for stride in STRIDES]
        cells = [torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="xy")) for n in sides]
        centres = [(cell.flatten(1) + 0.5) * stride for cell, stride in zip(cells, STRIDES, strict=True)]
        self.register_buffer("centres", torch.cat(centres, 1)[None])
        spans = [torch.full((n * n,), float(stride)) for n, stride in zip(sides, STRIDES, strict=True)]
        self.register_buffer("spans", torch.cat(spans)[None, None])

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return distances to the box's sides `(n, 4, anchors)` and class logits `(n, classes, anchors)`."""
        third = self.stages[1](self.stages[0](self.stem(x)))
        fourth = self.stages[2](third)
        five = self.stages[3](fourth)
        four = self.merge_four(torch.cat((self.up(five), fourth), 1))
        three = self.merge_three(torch.cat((self.up(four), third), 1))
        found = [head(part) for head, part in zip(self.heads, (three, four, five), strict=True)]
        return torch.cat([one for one, _ in found], 2), torch.cat([two for _, two in found], 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return centres, sizes and class scores."""
        sides, logits = self.logits(x)
        reach = nn.functional.softplus(sides) * self.spans
        before, after = reach.chunk(2, 1)
        centre = self.centres + (after - before) / 2
        return torch.cat((centre, after + before, logits.sigmoid()), 1)


def settle(net: nn.Module, images: Tensor) -> None:
    """Give untrained normalizations the statistics of `images`, so that activations keep their size."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = None
    net.train()
    with torch.no_grad():
        net(images)
    net.eval()


def bias(net: Detector, images: Tensor, wanted: float, score: float) -> None:
    """Shift the class logits so that on average `wanted` anchors of an image score above `score`."""
    with torch.no_grad():
        best = net.logits(images)[1].amax(1)
        edge = best.flatten().sort(descending=True).values[round(wanted * len(images))]
        for head in net.heads:
            head.shift(torch.logit(torch.tensor(score)) - edge)
