"""Feature hints: hidden layers of the student learn hidden layers of the teacher.

Source: Romero et al., "FitNets: Hints for Thin Deep Nets", arXiv 1412.6550. Both features are normalized per
channel over the batch, so that a hint's weight means the same for every layer.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from outrider_bundle.errors import DataError
from outrider_converter.recipe import HintOptions
from outrider_converter.teachers.answers import Logarithm

TINY = 1e-5
"""Added to variances: features that do not vary give 0."""

SHOWN = 5
"""Names a message lists at most."""


class Tap:
    """Remembers what named layers of a network gave last."""

    def __init__(self, model: nn.Module, names: Sequence[str], whose: str) -> None:
        """Hook into the layers.

        Raises:
            DataError: there is none of a name.
        """
        inner = model.inner if isinstance(model, Logarithm) else model
        layers = dict(inner.named_modules())
        for name in names:
            if name not in layers:
                raise DataError(f"distill.hints: the {whose} has no layer '{name}'", _near(name, layers))
        self.seen: dict[str, object] = {}
        self._handles = [_hook(layers[name], name, self.seen) for name in names]

    def close(self) -> None:
        """Leave the network as it was."""
        for handle in self._handles:
            handle.remove()


def _hook(layer: nn.Module, name: str, seen: dict[str, object]) -> RemovableHandle:
    def keep(_layer: nn.Module, _inputs: object, output: object) -> None:
        # A copy, because the next layer may write into the output: ReLU(inplace=True) does.
        seen[name] = output.clone() if isinstance(output, Tensor) else output

    return layer.register_forward_hook(keep)


def _near(name: str, layers: Mapping[str, nn.Module]) -> str:
    names = [layer for layer in layers if layer]
    close = difflib.get_close_matches(name, names, SHOWN, 0.5)
    if close:
        return f"Near it are: {', '.join(close)}"
    rest = ", ..." if len(names) > SHOWN else ""
    return f"There are: {', '.join(names[:SHOWN]) or 'none'}{rest}"


class Hints:
    """The hints of one training. `projections` are trained with the student and forgotten after it."""

    def __init__(
        self, options: Sequence[HintOptions], student: nn.Module, teacher: nn.Module, example: Tensor
    ) -> None:
        """Hook into both networks and build a 1x1 projection for each hint.

        Args:
            options: the hints.
            student: in training.
            teacher: in evaluation mode.
            example: a batch of inputs, to see the sizes.

        Raises:
            DataError: a layer does not exist, or has features that cannot be compared.
        """
        self._options = tuple(options)
        self._student = Tap(student, [o.student for o in options], "student")
        try:
            self._teacher = Tap(teacher, [o.teacher for o in options], "teacher")
        except DataError:
            self._student.close()
            raise
        try:
            _try(student, teacher, example)
            self.projections = nn.ModuleList([self._projection(o) for o in options])
        except DataError:
            self.close()
            raise

    def loss(self) -> Tensor:
        """Return the weighted sum of all hints, after both networks were asked about the same inputs."""
        total = torch.zeros(())
        for option, projection in zip(self._options, self.projections, strict=True):
            mine, theirs = self._features(option)
            total = total + option.weight * difference(projection(mine), theirs)
        return total

    def close(self) -> None:
        """Leave both networks as they were."""
        self._student.close()
        self._teacher.close()

    def _features(self, option: HintOptions) -> tuple[Tensor, Tensor]:
        mine, theirs = self._student.seen.get(option.student), self._teacher.seen.get(option.teacher)
        if not isinstance(mine, Tensor) or not isinstance(theirs, Tensor):
            name = option.teacher if isinstance(mine, Tensor) else option.student
            raise DataError(f"distill.hints: '{name}' does not give a tensor", "Name another layer")
        return mine, theirs

    def _projection(self, option: HintOptions) -> nn.Module:
        mine, theirs = self._features(option)
        if mine.ndim != theirs.ndim or mine.ndim not in PROJECTIONS:
            raise DataError(
                f"distill.hints: '{option.student}' gives {tuple(mine.shape)} and '{option.teacher}' "
                f"{tuple(theirs.shape)}",
                "Name layers whose outputs have as many dimensions, 2 to 4",
            )
        return PROJECTIONS[mine.ndim](mine.shape[1], theirs.shape[1])


def _try(student: nn.Module, teacher: nn.Module, example: Tensor) -> None:
    """Ask both networks once, without a trace in the student."""
    training = student.training
    with torch.no_grad():
        student.eval()(example)
        teacher(example)
    student.train(training)


def _conv1d(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv1d(inputs, outputs, 1)


def _conv2d(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 1)


PROJECTIONS: dict[int, Callable[[int, int], nn.Module]] = {2: nn.Linear, 3: _conv1d, 4: _conv2d}
"""What turns channels into channels, by the dimensions of the features."""

POOLS: dict[int, Callable[..., Tensor]] = {
    3: functional.adaptive_avg_pool1d,
    4: functional.adaptive_avg_pool2d,
}


def difference(mine: Tensor, theirs: Tensor) -> Tensor:
    """Return the mean squared difference of normalized features.

    Args:
        mine: `(n, channels, ...)`.
        theirs: the same; where sizes differ, the larger is averaged down to the smaller.
    """
    size = [min(pair) for pair in zip(mine.shape[2:], theirs.shape[2:], strict=True)]
    return functional.mse_loss(_normalized(_pooled(mine, size)), _normalized(_pooled(theirs, size)))


def _pooled(features: Tensor, size: list[int]) -> Tensor:
    if [*features.shape[2:]] == size:
        return features
    return POOLS[features.ndim](features, size)


def _normalized(features: Tensor) -> Tensor:
    axes = [axis for axis in range(features.ndim) if axis != 1]
    mean = features.mean(axes, keepdim=True)
    spread = features.var(axes, keepdim=True, unbiased=False)
    return (features - mean) / (spread + TINY).sqrt()
