"""What a device runs; mirrors the assignment it was given."""

from typing import Any, Literal

from outrider_bundle.manifest import Identifier
from outrider_bundle.messages.codec import Count, Line, Message, Run


class CascadeReport(Message, frozen=True, kw_only=True):
    """A model that looks at what the pipeline's own has found; the fields are those of `PipelineReport`."""

    bundle: Identifier
    version: Line
    digest: Line
    variant: Line
    placement: dict[str, Any]


class PipelineReport(Message, frozen=True, kw_only=True):
    """One pipeline.

    `bundle` is the manifest's name, `placement` where the model really runs, `isolation` whether in a process
    of its own (`child`) or in the agent's (`inline`); `cascade` are the models behind it.
    """

    bundle: Identifier
    version: Line
    digest: Line
    variant: Line
    runtime: Line
    isolation: Line = ""
    placement: dict[str, Any]
    cascade: tuple[CascadeReport, ...] = ()
    state: Literal["STARTING", "RUNNING", "DEGRADED", "STOPPED"]
    reason: Line = ""


class Reported(Message, frozen=True, kw_only=True):
    """The device as it is. `rev` is the assignment's number, 0 without one; `phase` is the update's."""

    schema: Literal[1] = 1
    run: Run
    rev: Count = 0
    phase: Line
    pipelines: dict[Identifier, PipelineReport]
    error: Line = ""
