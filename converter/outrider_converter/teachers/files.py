"""A teacher's file by its suffix."""

import hashlib
import importlib
from pathlib import Path

from outrider_bundle.errors import DataError
from outrider_converter.recipe import Recipe
from outrider_converter.teachers.entry import Source
from outrider_converter.teachers.framed import Framed

FORMATS = {".pt2": "pt2", ".onnx": "onnx", ".keras": "keras", ".h5": "keras", ".tflite": "tflite"}
"""Suffix to module; they are imported when needed, for each brings a library of its own."""

BLACK_BOXES = (".onnx", ".tflite")
"""Files that their own runtime computes: torch cannot look into them."""


def load_file(recipe: Recipe, folder: Path) -> Framed:
    """Return the network in the file that `recipe` names, which lies in `folder`.

    Raises:
        DataError: it is missing, of another format or broken, or its input does not fit.
        MissingExtraError: its library is not installed.
    """
    options = recipe.teacher
    path = folder / (options.file or "")
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"The teacher {path.name} is of no format that can be read",
            f"There are: {', '.join(FORMATS)}; a network in Python is named by teacher.callable",
        )
    if not path.is_file():
        raise DataError(f"The teacher's file {path} is not there", options.cure or "Put it beside the recipe")
    source = Source(path=path, shape=recipe.input.shape, layout=options.layout)
    loaded = importlib.import_module(f"outrider_converter.teachers.{kind}").load(source)
    if not isinstance(loaded, Framed):
        raise TypeError(kind)
    return loaded


def gives_probabilities(recipe: Recipe) -> bool:
    """Return whether the files of the student answer probabilities: a teacher as it is, that does."""
    return recipe.student.family == "as-is" and keeps_softmax(recipe)


def keeps_softmax(recipe: Recipe) -> bool:
    """Return whether the teacher, exported as it is, answers probabilities.

    A black box does if the recipe says so. Networks of torch never do: their softmax is taken off, and one
    that cannot be taken off is refused as a student.
    """
    suffix = Path(recipe.teacher.file or "").suffix.lower()
    return recipe.teacher.output == "probabilities" and suffix in BLACK_BOXES


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
