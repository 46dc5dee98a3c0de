"""The CartPole teacher: a small network for the plant `CartPole-v1`, and its committed weights.

Source of the plant: Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve difficult
learning control problems", IEEE SMC 13 (1983), as gymnasium has it.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from numpy.typing import ArrayLike
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("teacher.safetensors")
PLANT = "CartPole-v1"
ACTIONS = ("left", "right")
MEAN = (0.0, 0.0, 0.0, 0.0)
STD = (0.25, 0.4, 0.05, 0.5)
"""By what the cart's place in m and speed in m/s, the pole's angle in rad and its speed in rad/s are divided.

The input of an int8 file has one step for all four. In raw states it would follow from the speeds, up to 2,
and be 0.016: 1 degree of the angle, where 12 are a fall. Divided, all reach about as far: it is an eighth.
"""


class Teacher(nn.Module):
    """Normalized states `(n, 4)` float32 to a score per action `(n, 2)`."""

    def __init__(self, width: int = 64) -> None:
        """Build two hidden layers of `width`."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, len(ACTIONS))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores."""
        scores: Tensor = self.layers(x)
        return scores


def teacher() -> nn.Module:
    """Return the trained teacher, in evaluation mode; it takes normalized states."""
    model = Teacher()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()


def policy(model: nn.Module | None = None) -> Callable[[ArrayLike], int]:
    """Return the function from a state, as the plant gives it, to the number of the action.

    Args:
        model: takes normalized states; the trained teacher if left out.
    """
    network = model or teacher()
    mean, std = torch.tensor(MEAN), torch.tensor(STD)

    def act(state: ArrayLike) -> int:
        with torch.inference_mode():
            return int(network((torch.as_tensor(state) - mean)[None] / std).argmax())

    return act
