"""What passes from step to step, and what every step may use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from torch import nn

from outrider_bundle.manifest import File, Precision, Tensor, Variant
from outrider_converter.dataset import Dataset
from outrider_converter.progress import Reporter
from outrider_converter.recipe import Recipe
from outrider_converter.records import LeftOut
from outrider_converter.views import Views


class Export(Struct, frozen=True, kw_only=True):
    """The network in one file, as the tools write it; `id` becomes the variant's."""

    id: str
    runtime: str
    precision: Precision
    path: Path


class Artifact(Struct, frozen=True, kw_only=True):
    """The float network, the files made of it, and how it came about. Steps return a new one."""

    model: nn.Module
    exports: tuple[Export, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    note: str = ""

    def with_export(self, export: Export) -> "Artifact":
        """Return this with one file more."""
        return replace(self, exports=(*self.exports, export))

    def without(self, variant: str, reason: str) -> "Artifact":
        """Return this with the reason why `variant` could not be made."""
        return replace(self, left_out=(*self.left_out, LeftOut(id=variant, reason=reason)))


class Context(Struct, frozen=True, kw_only=True):
    """What every step may use and none changes; `folder` is scratch space."""

    recipe: Recipe
    data: Dataset
    teacher: nn.Module
    views: Views
    folder: Path
    reporter: Reporter


Step = Callable[[Artifact, Any, Context], Artifact]
"""The seam `outrider.steps`: the artifact so far and the step's own table of the recipe to a new artifact."""


class Candidate(Struct, frozen=True, kw_only=True):
    """A variant before it has a rank: stripped files by role, each called like its blob."""

    id: str
    runtime: str
    precision: Precision
    files: dict[str, Path]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def bytes(self) -> int:
        """Return the size of all files."""
        return sum(path.stat().st_size for path in self.files.values())

    def variant(self, rank: int = 0) -> Variant:
        """Return the manifest's view of it."""
        return Variant(
            id=self.id,
            runtime=self.runtime,
            precision=self.precision,
            rank=rank,
            files=tuple(File(role=role, blob=path.name) for role, path in self.files.items()),
            inputs=self.inputs,
            outputs=self.outputs,
        )
