"""Decisions as inputs of a plant of gymnasium, which the source `gym` steps."""

from typing import Annotated, Any

import numpy as np
from gymnasium import spaces
from msgspec import Meta, Struct

from outrider_agent import plants
from outrider_agent.plants import Plant
from outrider_agent.seams import Context
from outrider_bundle.errors import OutriderError
from outrider_bundle.messages.event import Event


class GymOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[[pipelines.actions]]` may hold.

    Args:
        plant: id of the source, if it is one of `[[sources]]`; left out for the pipeline's own.
        safe: what the plant gets while outputs have to be safe: an index, or a value per actuator; left out,
            it stands still. In lockstep it does so anyway.
    """

    plant: str = ""
    safe: int | Annotated[list[float], Meta(min_length=1)] | None = None


class GymAction:
    """Drives a plant: by `index` if its actions are discrete, else by `values`, clipped to what it takes.

    In lockstep a decision that answers another observation than the last one is ignored.
    """

    Options = GymOptions

    def __init__(self, options: GymOptions, context: Context) -> None:
        """Keep the name of the plant; it may not be there yet."""
        self._name = options.plant or context.pipeline
        self._safe = options.safe

    def apply(self, decision: Event) -> None:
        """Leave the plant its next input.

        Raises:
            OutriderError: there is no plant, or the decision does not fit it.
        """
        plant = plants.find(self._name)
        if plant is None:
            raise OutriderError(
                f"There is no plant called '{self._name}'",
                "Give the pipeline a source of kind gym, or name that source in 'plant' of the action",
            )
        plant.put(decision.frame, _input(plant, decision.data))

    def safe_state(self) -> None:
        """Let the plant have its safe input, or stand still.

        Raises:
            OutriderError: the safe input does not fit the plant.
        """
        plant = plants.find(self._name)
        if plant is not None:
            key = "values" if isinstance(self._safe, list) else "index"
            plant.hold(None if self._safe is None else _input(plant, {key: self._safe}))

    def close(self) -> None:
        """Do nothing: the plant is the source's."""


def _input(plant: Plant, data: dict[str, Any]) -> object:
    """Return what is wanted in the form that the plant takes."""
    if isinstance(plant.space, spaces.Discrete):
        return _index(plant.space, data)
    return _values(plant.space, data)


def _index(space: "spaces.Discrete[Any]", data: dict[str, Any]) -> int:
    index = data.get("index")
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < space.n:
        raise OutriderError(
            f"The decision has no index that fits the plant's {space.n} actions: {index!r}",
            "Use a model that chooses among as many",
        )
    return int(space.start) + index


def _values(space: spaces.Box, data: dict[str, Any]) -> object:
    values = data.get("values")
    size = int(np.prod(space.shape))
    try:
        wanted = np.asarray(values, np.float64).reshape(-1)
    except (TypeError, ValueError):
        wanted = np.empty(0)
    if values is None or wanted.size != size or not np.isfinite(wanted).all():
        raise OutriderError(
            f"The decision has no values that fit the plant's {size} actuators: {str(values)[:100]}",
            "Use a model with one output for each",
        )
    return np.clip(wanted.reshape(space.shape), space.low, space.high).astype(space.dtype)
