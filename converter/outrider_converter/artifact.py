"""What passes from step to step, and what every step may use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from torch import nn

from outrider_converter.checkpoint import Checkpoints
from outrider_converter.dataset import Dataset
from outrider_converter.exports import Export
from outrider_converter.progress import Reporter
from outrider_converter.recipe import Recipe
from outrider_converter.records import Decision, LeftOut, PruneProof, Saturated
from outrider_converter.reference import Reference
from outrider_converter.targets import Target
from outrider_converter.views import Views


class Artifact(Struct, frozen=True, kw_only=True):
    """The float network, the files made of it, and how it came about. Steps return a new one.

    Args:
        model: logits for a batch of inputs.
        exports: files made of it.
        left_out: variants that could not be made, and why.
        chosen: settings of `distill` that a search has found better than the recipe's.
        decisions: what the validation split has chosen.
        pruning: what pruning has gained.
        saturation: sums that 16 bits cannot hold, by file and layer.
        note: on the last step, for the report.
    """

    model: nn.Module
    exports: tuple[Export, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    chosen: dict[str, float] = {}
    decisions: tuple[Decision, ...] = ()
    pruning: PruneProof | None = None
    saturation: tuple[Saturated, ...] = ()
    note: str = ""

    def with_export(self, export: Export) -> "Artifact":
        """Return this with one file more."""
        return replace(self, exports=(*self.exports, export))

    def without(self, variant: str, reason: str) -> "Artifact":
        """Return this with the reason why `variant` could not be made."""
        return replace(self, left_out=(*self.left_out, LeftOut(id=variant, reason=reason)))

    def decided(self, step: str, *texts: str) -> "Artifact":
        """Return this with what `step` has chosen, one text a choice."""
        return replace(self, decisions=(*self.decisions, *(Decision(step=step, text=t) for t in texts)))


class Context(Struct, frozen=True, kw_only=True):
    """What every step may use and none changes; `folder` is scratch space."""

    recipe: Recipe
    data: Dataset
    teacher: nn.Module
    reference: Reference
    targets: tuple[Target, ...]
    views: Views
    checkpoints: Checkpoints
    folder: Path
    reporter: Reporter


Step = Callable[[Artifact, Any, Context], Artifact]
"""The seam `outrider.steps`: the artifact so far and the step's own table of the recipe to a new artifact."""
