"""What a conversion notes down about itself on the way."""

from msgspec import Struct


class Stage(Struct, frozen=True, kw_only=True):
    """What one step made of the float network; `accuracy` is on the validation split."""

    name: str
    seconds: float
    params: int
    macs: int
    accuracy: float
    note: str = ""


class LeftOut(Struct, frozen=True, kw_only=True):
    """A variant that is not in the bundle, and why."""

    id: str
    reason: str
