"""A training under way, and how it is kept and taken up again."""

import hashlib
from dataclasses import dataclass, field

import msgspec
import torch
from torch import Tensor, nn

from outrider_converter import measure
from outrider_converter.checkpoint import Saved
from outrider_converter.hints import Hints


@dataclass
class Best:
    """The moving average that did best on the validation split so far, after `epoch` epochs."""

    accuracy: float = -1.0
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, accuracy: float, epoch: int, mean: nn.Module) -> None:
        """Keep a copy of `mean` if it does better than all before."""
        if accuracy > self.accuracy:
            weights = {name: value.clone() for name, value in mean.state_dict().items()}
            self.accuracy, self.epoch, self.weights = accuracy, epoch, weights


@dataclass
class State:
    """The network, its moving average, the optimizer and the steps done."""

    model: nn.Module
    mean: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: Best = field(default_factory=Best)
    hints: Hints | None = None

    def dump(self) -> Saved:
        """Return everything that the next step depends on, torch's own generator included."""
        return {
            "model": self.model.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "projections": self.hints.projections.state_dict() if self.hints else {},
            "step": self.step,
            "best": [self.best.accuracy, self.best.epoch, self.best.weights],
            "random": torch.get_rng_state(),
        }

    def take_up(self, saved: Saved) -> None:
        """Become what was dumped."""
        self.model.load_state_dict(saved["model"])
        self.mean.load_state_dict(saved["mean"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.hints:
            self.hints.projections.load_state_dict(saved["projections"])
        self.step, self.best = saved["step"], Best(*saved["best"])
        torch.set_rng_state(saved["random"])


def fingerprint(model: nn.Module, plan: msgspec.Struct) -> str:
    """Return what a kept state must have in common with a training: its first weights and its plan."""
    text = measure.digest(model) + msgspec.json.encode(plan).decode()
    return hashlib.sha256(text.encode()).hexdigest()
