"""A swap as it is asked for, and what became of it."""

from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from outrider_agent.admission import Admitted
from outrider_agent.engine.shadow import Record

Mode = Literal["overlap", "replace"]
Progress = Callable[[str], None]


class Wish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it is to be done.

    Args:
        mode: `overlap` loads it beside the old one, `replace` after the old one was ended.
        share: of the live frames that it sees before it decides anything, 0..1.
        frames: so many it must have answered then, failures and late answers counted, of which there may not
            be more than of the others; 0 for no shadow.
        agreement: with less than this mean agreement the old one stays.
        patience_s: how long it may take to see its frames.
    """

    mode: Mode = "overlap"
    share: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    frames: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    agreement: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    patience_s: Annotated[float, Meta(gt=0.0, le=86_400.0)] = 600.0


class Order(Struct, frozen=True, kw_only=True):
    """What is wanted; `progress` is told of each step."""

    admitted: Admitted
    wish: Wish = Wish()
    progress: Progress = lambda _: None


class Swapped(Struct, frozen=True, kw_only=True):
    """What was done. `note` says why that is not all that was asked for."""

    before: str
    after: str
    variant: str
    mode: Mode
    shadow: Record | None = None
    note: str = ""
