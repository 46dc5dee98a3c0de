"""Outputs that are numbers with a name each: measurements, and what a policy network wants done."""

import math
from collections.abc import Sequence

from outrider_bundle.decoders import spread
from outrider_bundle.manifest import ControlDecoder, RegressionDecoder
from outrider_runtime.decoders.ends import Ends
from outrider_runtime.decoders.stored import Numbers, not_a_number
from outrider_runtime.perception import Control, Regression
from outrider_runtime.session import Array


class RegressionReader:
    """Numbers in the units of what was measured."""

    def __init__(self, plan: RegressionDecoder, ends: Ends) -> None:
        """Take mean and deviation of each number."""
        self._names, self._numbers = plan.names, Numbers(ends.tensors[0])
        count = len(plan.names)
        self._units = tuple(zip(spread(plan.std, count), spread(plan.mean, count), strict=True))

    def decode(
        self, outputs: Sequence[Array], frame: tuple[int, ...] = (), fed: Array | None = None
    ) -> Regression:
        """Return every number; see `Decoder.decode`."""
        del frame, fed
        real = self._numbers.real(outputs[0])
        values = tuple([number * std + mean for number, (std, mean) in zip(real, self._units, strict=True)])
        if not all(map(math.isfinite, values)):
            raise not_a_number()
        return Regression(names=self._names, values=values)


class DiscreteReader:
    """The action with the largest score, of equal ones the first."""

    def __init__(self, plan: ControlDecoder, ends: Ends) -> None:
        """Take the names."""
        self._names, self._numbers = plan.names, Numbers(ends.tensors[0])

    def decode(
        self, outputs: Sequence[Array], frame: tuple[int, ...] = (), fed: Array | None = None
    ) -> Control:
        """Return the scores of all actions and the index of the best; see `Decoder.decode`."""
        del frame, fed
        values = self._numbers.real(outputs[0])
        return Control(names=self._names, values=tuple(values), index=values.index(max(values)))


class ContinuousReader:
    """Where to bring each actuator, never beyond its range."""

    def __init__(self, plan: ControlDecoder, ends: Ends) -> None:
        """Take the range of each actuator."""
        self._names, self._numbers = plan.names, Numbers(ends.tensors[0])
        self._tanh, self._scaled = plan.squash == "tanh", plan.scaled
        count = len(plan.names)
        self._ranges = tuple(zip(spread(plan.low, count), spread(plan.high, count), strict=True))

    def decode(
        self, outputs: Sequence[Array], frame: tuple[int, ...] = (), fed: Array | None = None
    ) -> Control:
        """Return a value per actuator; see `Decoder.decode`."""
        del frame, fed
        values = self._numbers.real(outputs[0])
        if self._tanh:
            values = [math.tanh(value) for value in values]
        if self._scaled:
            # Not low + share * (high - low): that misses `high` by a rounding.
            shares = [(value + 1.0) / 2 for value in values]
            values = [
                (1.0 - share) * low + share * high
                for share, (low, high) in zip(shares, self._ranges, strict=True)
            ]
        return Control(
            names=self._names,
            values=tuple(
                [min(max(value, low), high) for value, (low, high) in zip(values, self._ranges, strict=True)]
            ),
        )


def control_reader(plan: ControlDecoder, ends: Ends) -> DiscreteReader | ContinuousReader:
    """Return what reads the action space of `plan`."""
    return DiscreteReader(plan, ends) if plan.space == "discrete" else ContinuousReader(plan, ends)
