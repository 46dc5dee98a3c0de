"""What the doctor finds: one row for each thing."""

from typing import Literal

from msgspec import Struct

State = Literal["ok", "missing", "problem"]
"""`missing`: not there, which need not matter; `problem`: there, and not as it should be."""


class Row(Struct, frozen=True, kw_only=True):
    """One finding.

    Args:
        part: what kind of thing: `runtime`, `accelerator`, `camera`, `broker`, `board`, `system`, `config`.
        name: of the thing.
        state: how it is.
        detail: what was seen.
        cure: what to do about it; empty if there is nothing to do.
    """

    part: str
    name: str
    state: State
    detail: str = ""
    cure: str = ""
