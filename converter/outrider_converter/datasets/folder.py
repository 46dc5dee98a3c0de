"""Images in folders: one a class, or parts with such folders in each, or all in one and unlabelled."""

from pathlib import Path

from outrider_bundle.errors import DataError
from outrider_converter.datasets import classes, images
from outrider_converter.datasets.loaded import Loaded
from outrider_converter.datasets.split import complete
from outrider_converter.recipe import Recipe
from outrider_converter.tensors import logical_input

PARTS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
"""Folder name to part; they are parts only if there is a `train` among them."""

Listing = list[tuple[Path, str]]
"""Files and the folder that tells their class; no name if they lie loose."""


def load(recipe: Recipe, folder: Path, names: tuple[str, ...]) -> Loaded:
    """Read the images in `data.folder`, brought to the input's size.

    Args:
        recipe: tells input and folder.
        folder: the recipe's.
        names: of the classes, if the recipe tells them; they may be more than there are folders.

    Raises:
        DataError: there is no such folder, no image, an unreadable image, or a class without a name.
    """
    root = folder / (recipe.data.folder or "")
    if not root.is_dir():
        raise DataError(f"There is no folder {root}", recipe.data.cure or "Correct data.folder")
    listings = {part: _listing(place) for part, place in _parts(root).items()}
    labels = [label for listing in listings.values() for _, label in listing if label]
    names = names or classes.found(labels)
    entry = logical_input(recipe)
    parts = {}
    for part, listing in listings.items():
        frames = images.read([path for path, _ in listing], entry)
        flat = not listing[0][1]
        known = None if flat else classes.encode([label for _, label in listing], names, str(root))
        parts[part] = frames, known
    return Loaded(classes=names, parts=complete(parts, recipe.data, recipe.seed))


def _parts(root: Path) -> dict[str, Path]:
    """Return the folder of each part; all is training if there are none."""
    if not (root / "train").is_dir():
        return {"train": root}
    found = {PARTS[p.name]: p for p in sorted(root.iterdir()) if p.is_dir() and p.name in PARTS}
    return {part: found[part] for part in ("train", "validation", "test") if part in found}


def _listing(place: Path) -> Listing:
    """Return the images below `place`, by class, in order.

    Raises:
        DataError: there are none, or some lie beside the folders of the classes.
    """
    loose = [(path, "") for path in sorted(place.iterdir()) if path.is_file() and images.is_image(path)]
    sorted_in: Listing = []
    for inner in sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith(".")):
        sorted_in += [(p, inner.name) for p in sorted(inner.rglob("*")) if p.is_file() and images.is_image(p)]
    if loose and sorted_in:
        raise DataError(
            f"{place} holds images such as {loose[0][0].name} beside folders such as {sorted_in[0][1]}",
            "Put every image into the folder of its class, or all of them into one",
        )
    if not loose and not sorted_in:
        raise DataError(f"{place} holds no images", f"Put {', '.join(sorted(images.SUFFIXES))} files there")
    return loose or sorted_in
