"""What a decoder makes of a model's outputs; what a policy decides on."""

from msgspec import Struct


class Classification(Struct, frozen=True, kw_only=True, tag="classification", tag_field="kind"):
    """The most likely label. `score` is its probability in 0..1, `margin` the lead over the second."""

    index: int
    label: str
    score: float
    margin: float


Perception = Classification
"""A union in time: each task adds its struct."""
