"""Recorded arrays: numpy's files, checked before anything is taken from them."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from outrider_bundle.errors import UsageError
from outrider_runtime.session import Array

IDS = "ids"
"""The array that names frames, where there is one."""
FRAMES = "frames"
MAX_ID = 4096
LEAST_DIMENSIONS = 2
NUMBERS = "uif"
"""Kinds of dtypes that a frame may have."""


class Recording(Struct, frozen=True, kw_only=True):
    """Frames in the first dimension of an array, with a name for each and, perhaps, its time in seconds."""

    frames: Array
    names: Sequence[str]
    times_s: Sequence[float] | None


def read(path: Path, key: str, times: str) -> Recording:
    """Return what `path` holds; the array of a `.npy` file stays on disk.

    Args:
        path: a `.npz` or `.npy` file.
        key: of the frames; empty for `frames`, or else the only array.
        times: key of the times; empty for none.

    Raises:
        UsageError: the file cannot be read, or is no recording.
    """
    try:
        if path.suffix == ".npy":
            return _recording(path, {FRAMES: np.lib.format.open_memmap(path, mode="r")}, key, times)
        with path.open("rb") as file:
            found: Any = np.load(file, allow_pickle=False)
            return _recording(path, {FRAMES: found} if isinstance(found, np.ndarray) else found, key, times)
    except FileNotFoundError as error:
        raise UsageError(f"There is no recording at {path}", "Correct 'path' of the source") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        what = f"The recording {path} cannot be read: {error}"
        raise UsageError(what, "Write it with numpy.savez or numpy.save, without objects") from error


def _recording(path: Path, arrays: Mapping[str, Array], key: str, times: str) -> Recording:
    frames = _frames(path, arrays, key, times)
    seconds = _times(path, arrays, times, len(frames)) if times else None
    return Recording(frames=frames, names=_names(path, arrays, len(frames)), times_s=seconds)


def _array(path: Path, arrays: Mapping[str, Array], key: str) -> Array:
    if key not in arrays:
        raise UsageError(
            f"The recording {path} has no array '{key}'", f"It has {', '.join(arrays) or 'none'}"
        )
    return arrays[key]


def _frames(path: Path, arrays: Mapping[str, Array], key: str, times: str) -> Array:
    others = [name for name in arrays if name not in {IDS, times}]
    if not key and FRAMES not in arrays and len(others) != 1:
        what = f"The recording {path} does not say which of its arrays holds the frames"
        raise UsageError(what, f"Set 'key' of the source to one of {', '.join(others) or 'none'}")
    key = key or (FRAMES if FRAMES in arrays else others[0])
    frames = _array(path, arrays, key)
    if frames.dtype.kind not in NUMBERS or frames.ndim < LEAST_DIMENSIONS or not frames.size:
        raise UsageError(
            f"The array '{key}' of the recording {path} holds no frames: it is {frames.dtype} {frames.shape}",
            "Frames are numbers, one frame after another in the first dimension",
        )
    return frames


def _times(path: Path, arrays: Mapping[str, Array], key: str, count: int) -> list[float]:
    times = _array(path, arrays, key)
    fits = times.shape == (count,) and times.dtype.kind in NUMBERS
    if not fits or not np.isfinite(times).all() or (np.diff(times.astype(np.float64)) < 0).any():
        raise UsageError(
            f"The times '{key}' of the recording {path} do not fit its {count} frames",
            "Times are one number per frame, in seconds, and do not fall",
        )
    seconds: list[float] = times.astype(np.float64).tolist()
    return seconds


def _names(path: Path, arrays: Mapping[str, Array], count: int) -> list[str]:
    """Return the names that are recorded, or else numbers."""
    if IDS not in arrays:
        return [str(number) for number in range(count)]
    ids = _array(path, arrays, IDS)
    names = [str(name) for name in ids.tolist()] if ids.dtype.kind in "Uiu" and ids.ndim == 1 else []
    if len(names) != count or not all(0 < len(name) <= MAX_ID for name in names):
        raise UsageError(
            f"The array '{IDS}' of the recording {path} does not name its {count} frames",
            f"It holds one text or whole number per frame, of at most {MAX_ID} characters",
        )
    return names
