"""A network in files: as the tools write it, and as a variant before it has a rank."""

from pathlib import Path

from msgspec import Struct

from outrider_bundle.manifest import File, Precision, Requirements, Tensor, Variant

OUTPUT = "scores"
"""What the output of a network is called in every format."""


class Export(Struct, frozen=True, kw_only=True):
    """The network in one file, as the tools write it; `id` becomes the variant's.

    Args:
        isa: what a CPU must have to run it as it was verified.
        float_layers: layers that went back to float.
    """

    id: str
    runtime: str
    precision: Precision
    path: Path
    isa: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()


class Candidate(Struct, frozen=True, kw_only=True):
    """A variant before it has a rank: stripped files by role, each called like its blob."""

    id: str
    runtime: str
    precision: Precision
    files: dict[str, Path]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    isa: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()

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
            requirements=Requirements(isa=self.isa),
        )
