"""A teacher that is a file runs as it is and is exported as it is: its own file, for its own runtime."""

from pathlib import Path

from torch import nn

from outrider_bundle.errors import DataError


def own_file(model: nn.Module, runtime: str) -> Path | None:
    """Return the float file that `model` runs, or None if it is a network of torch.

    Raises:
        DataError: it runs files, but none of `runtime`.
    """
    files: dict[str, Path] | None = getattr(model, "files", None)
    if not isinstance(files, dict):
        return None
    if runtime not in files:
        raise DataError(
            f"A black box in {' and '.join(sorted(files)) or 'no file'} cannot be turned into {runtime}",
            f"Leave {runtime} out of export.formats, or give the network in torch",
        )
    return files[runtime]
