"""The Fashion-MNIST teacher: a small residual network, and its committed weights.

Source: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385.
"""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = Path(__file__).with_name("teacher.safetensors")


def conv(inputs: int, outputs: int, stride: int = 1, *, act: bool = True) -> nn.Sequential:
    """Build convolution 3x3, batch normalization and, if `act`, ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if act else []))


class Residual(nn.Module):
    """Two convolutions around an identity: `(n, c, h, w)` to the same shape."""

    def __init__(self, channels: int) -> None:
        """Build the block for `channels` channels."""
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual and rectify."""
        return functional.relu(x + self.second(self.first(x)))


class Teacher(nn.Module):
    """Normalized images `(n, 1, 28, 28)` float32 to logits `(n, 10)`."""

    def __init__(self, width: int = 36) -> None:
        """Build the network; `width` is the channel count of the first stage."""
        super().__init__()
        self.features = nn.Sequential(
            conv(1, width),
            conv(width, 2 * width, 2),
            Residual(2 * width),
            conv(2 * width, 4 * width, 2),
            Residual(4 * width),
        )
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.head(self.features(x).mean((2, 3)))


def teacher() -> nn.Module:
    """Return the trained teacher, in evaluation mode."""
    model = Teacher()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
