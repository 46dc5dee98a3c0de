"""Fashion-MNIST as the recipes use it: 55,000 images to train on, 5,000 to choose with, 10,000 to report on.

Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms", arXiv 1708.07747; MIT licence.
"""

import gzip
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LABELS = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
)
MEAN, STD = 0.286, 0.353
VALIDATION = 5_000
DEFAULT_ROOT = Path("/usr/share/datasets/fashion-mnist")

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]


def root() -> Path:
    """Return the folder of the four `.gz` files: `$FASHION_MNIST`, or where the Debian package puts them."""
    return Path(os.environ.get("FASHION_MNIST", DEFAULT_ROOT))


def read_idx(stem: str, folder: Path | None = None) -> Split:
    """Read one half of the set: images `(n, 28, 28)` uint8 and labels `(n,)` int64.

    Args:
        stem: `train` or `t10k`.
        folder: where the four files are; `root()` by default.

    Raises:
        FileNotFoundError: a file is not there.
    """
    where = folder or root()
    images = gzip.decompress((where / f"{stem}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((where / f"{stem}-labels-idx1-ubyte.gz").read_bytes())
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28).copy(),
        np.frombuffer(labels, np.uint8, offset=8).astype(np.int64),
    )


def split() -> dict[str, Split]:
    """Return `train`, `validation` (the last 5,000 images of the training file) and `test`."""
    images, labels = read_idx("train")
    cut = len(images) - VALIDATION
    return {
        "train": (images[:cut], labels[:cut]),
        "validation": (images[cut:], labels[cut:]),
        "test": read_idx("t10k"),
    }
