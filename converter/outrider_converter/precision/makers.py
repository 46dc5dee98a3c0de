"""A seam over the formats: one float file, calibrated once, of which int8 files are made."""

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from outrider_bundle.errors import OutriderError
from outrider_converter.formats import tflite
from outrider_converter.quantization import kept, prepare
from outrider_converter.quantization.kept import Filed
from outrider_converter.quantization.qdq import quantized
from outrider_converter.quantization.ranges import METHODS, Observed, Ranges, observe, ranges
from outrider_converter.quantization.samples import fit
from outrider_converter.targets import Scheme

Samples = NDArray[np.float32]

SCANNED = 32
"""Samples for a file that only ranks a layer, where each file is calibrated anew."""


class Maker(Protocol):
    """Makes int8 files of one float file.

    `methods` are those it knows, the plainest first; `favoured` is that of an earlier conversion, of whose
    ranges it has `kept` so many.
    """

    methods: tuple[str, ...]
    favoured: str | None
    kept: int

    def layers(self) -> tuple[str, ...]:
        """Return the names of the layers that can be quantized, in order."""
        ...

    def write(self, target: Path, scheme: Scheme, method: str, exclude: Collection[str] = ()) -> None:
        """Write an int8 file in which the layers `exclude` stay float.

        Raises:
            DataError: the quantizer fails.
        """
        ...

    def filed(self, method: str) -> Filed | None:
        """Return the ranges for a later conversion, and None if the format has none to give."""
        ...


class OnnxMaker:
    """ONNX: ranges of all methods come from one pass over the samples."""

    methods: tuple[str, ...] = METHODS

    def __init__(self, source: Path, samples: Samples, name: str, previous: Filed | None = None) -> None:
        """Prepare `source`; the samples are run when ranges are first asked for.

        Raises:
            DataError: it cannot be quantized.
        """
        self._model = prepare.prepare(source)
        entry = prepare.entry(self._model, name)
        self.entry, self.samples = entry.name, fit(samples, entry.shape, source.name)
        self._keys = kept.onnx_keys(self._model)
        self._previous, self.favoured = previous, previous.method if previous else None
        self._observed: dict[bool, dict[str, Observed]] = {}
        self.kept = 0

    def layers(self) -> tuple[str, ...]:
        """Return the names of the layers that can be quantized, in order."""
        return prepare.layers(self._model)

    def write(self, target: Path, scheme: Scheme, method: str, exclude: Collection[str] = ()) -> None:
        """Write an int8 file in which the layers `exclude` stay float.

        Raises:
            DataError: the quantizer fails.
        """
        onnx.save(quantized(self._model, self._ranges(method), scheme, exclude), target)

    def filed(self, method: str) -> Filed:
        """Return the ranges for a later conversion."""
        return kept.file(self._ranges(method), self._keys, method)

    def _ranges(self, method: str) -> Ranges:
        histograms = method != "minmax"
        if histograms not in self._observed and True not in self._observed:
            self._observed[histograms] = observe(self._model, self.samples, self.entry, histograms=histograms)
        seen = self._observed.get(True) or self._observed[histograms]
        previous = self._previous if method == self.favoured else None  # ranges of two methods do not mix
        found, self.kept = kept.merged(ranges(seen, method), self._keys, previous)  # type: ignore[arg-type]
        return found


class TfliteMaker:
    """TFLite: calibrated by ai-edge-quantizer, which has one method."""

    methods: tuple[str, ...] = tflite.METHODS

    def __init__(self, source: Path, samples: Samples, previous: Filed | None = None) -> None:
        """Calibrate at once.

        Raises:
            DataError: the file cannot be run on the samples.
        """
        self._source = source
        self._calibration = tflite.calibrate(source, samples)
        self._keys, self.favoured = kept.tflite_keys(source), previous.method if previous else None
        found, self.kept = kept.merged(_plain(self._calibration), self._keys, previous)
        for name, (low, high) in found.items():
            entry = self._calibration[name]
            entry["min"], entry["max"] = np.full_like(entry["min"], low), np.full_like(entry["max"], high)

    def layers(self) -> tuple[str, ...]:
        """Return the names of the layers that can be quantized, in order."""
        return tflite.layers(self._source)

    def write(self, target: Path, scheme: Scheme, method: str, exclude: Collection[str] = ()) -> None:  # noqa: ARG002 - the format has one scheme and one method
        """Write an int8 file in which the layers `exclude` stay float.

        Raises:
            DataError: the quantizer fails.
        """
        tflite.write(self._source, target, self._calibration, exclude)

    def filed(self, method: str) -> Filed:
        """Return the ranges for a later conversion."""
        return kept.file(_plain(self._calibration), self._keys, method)


def _plain(calibration: tflite.Calibration) -> Ranges:
    """Return the ranges that are one number each, without those of constants."""
    return {
        name: (float(entry["min"].item()), float(entry["max"].item()))
        for name, entry in calibration.items()
        if entry and np.size(entry["min"]) == 1
    }


class OpenvinoMaker:
    """OpenVINO: its quantizer calibrates anew for each file."""

    favoured: str | None = None
    kept = 0

    def __init__(self, source: Path, samples: Samples) -> None:
        """Remember what files are made from; the library is imported by name, it may not be installed."""
        self._format: Any = importlib.import_module("outrider_converter.formats.openvino")
        self._source, self._samples = source, samples
        self.methods: tuple[str, ...] = self._format.METHODS

    def layers(self) -> tuple[str, ...]:
        """Return the names of the layers that can be quantized, in order."""
        found: tuple[str, ...] = self._format.layers(self._source)
        return found

    def write(self, target: Path, scheme: Scheme, method: str, exclude: Collection[str] = ()) -> None:
        """Write an int8 file in which the layers `exclude` stay float.

        Raises:
            DataError: the quantizer fails.
        """
        ranks = len(exclude) == len(self.layers()) - 1  # a scan makes one such file a layer
        samples = self._samples[:SCANNED] if ranks else self._samples
        self._format.quantize(self._source, target, samples, method, exclude, scheme)

    def filed(self, method: str) -> Filed | None:  # noqa: ARG002 - the seam's signature
        """Return None: the library keeps its ranges to itself."""
        return None


def open_maker(runtime: str, source: Path, samples: Samples, name: str, previous: Filed | None) -> Maker:
    """Return the maker for a runtime's float file.

    Raises:
        DataError: the file cannot be quantized.
        OutriderError: no quantizer is known for the runtime.
    """
    if runtime == "onnx":
        return OnnxMaker(source, samples, name, previous)
    if runtime == "tflite":
        return TfliteMaker(source, samples, previous)
    if runtime == "openvino":
        return OpenvinoMaker(source, samples)
    raise OutriderError(f"No quantizer is known for files of the runtime '{runtime}'")
