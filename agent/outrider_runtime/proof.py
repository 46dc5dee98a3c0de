"""Golden proof: does a variant compute here what it computed where it was converted?

Another CPU rounds differently, so each variant comes with a tolerance: steps of its output's
quantization for int8, relative error of a sample's output for float; and the most likely class or action
must be the same, where there is one of the whole sample. What is measured by what is in `differences`. NaN
never passes.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from outrider_bundle.errors import BundleError, EngineError
from outrider_bundle.manifest import (
    ClassificationDecoder,
    ControlDecoder,
    Decoder,
    Expected,
    Golden,
    Manifest,
    RawDecoder,
    RelativeTolerance,
    StepTolerance,
    Tensor,
    Tolerance,
    Variant,
)
from outrider_runtime.differences import Judged, differences, limit_of
from outrider_runtime.session import Array

# Measured on 2,000 images with a depthwise-separable student, outputs against those of the default
# session: one or two threads, all graph optimizations down to none, VNNI's arithmetic emulated
# (x64quantprecision), LiteRT with and without XNNPACK.
STEPS = 3.0
"""ONNX Runtime's int8 moved by 1 step at most, LiteRT's by 2; a saturating kernel moves by tens."""

RELATIVE = 1e-4
"""Float outputs moved by 8e-7 at most, a wrong mean or channel order by more than 1e-2."""

RELATIVE_HALF = 1e-2
"""Half precision rounds to 5e-4 in each of some dozens of layers; a bound, not a measurement."""

RELATIVE_MIXED = 0.05
"""Outputs of an int8 model that are not on a grid of steps; one step of such a model was 1e-2."""

NOISE = 0.02
"""How far a multiple of a step may be from a whole number, in steps: float32 rounding of 255 of them."""

LEVELS = 256

PLAIN = RawDecoder()
"""Of outputs of which nothing is known but their numbers."""

MARGINAL = 1e-12
"""A tolerance of 0 is taken for this one where tolerances are compared."""


class Answering(Protocol):
    """A variant that takes frames, wherever it runs."""

    def outputs(self, frame: Array) -> Sequence[Array]:
        """Return the raw outputs for `frame`, which may be written again by the next call.

        Raises:
            EngineError: the frame does not fit, or the runtime failed.
        """
        ...


class Proof(Struct, frozen=True, kw_only=True):
    """The verdict on one variant.

    Args:
        ok: it reproduces its golden vectors.
        variant: its id.
        samples: how many were run; 0 if it did not come to that.
        worst: the largest difference, in `unit`; infinite if there was no number. Of several outputs it
            is that of the one that has come nearest to its tolerance, or furthest beyond.
        limit: the tolerance, in `unit`.
        unit: `steps`, `relative` or `classes`.
        agreement: share of samples whose largest number in the first output is where it should be; 1 where
            no class of the whole sample is told, as of detections and measurements.
        reason: why not ok, for people.
    """

    ok: bool
    variant: str
    samples: int = 0
    worst: float = math.inf
    limit: float = 0.0
    unit: str = "steps"
    agreement: float = 0.0
    reason: str = ""

    @property
    def margin(self) -> float:
        """The share of the tolerance that is left: 1 for an exact answer, negative beyond it."""
        if self.worst == 0.0:
            return 1.0
        return 1.0 - self.worst / self.limit if self.limit else -math.inf


def golden_samples(golden: Golden, blob: bytes | memoryview) -> Array:
    """Return the raw samples `golden.shape` that `blob` holds, read-only.

    Raises:
        BundleError: it holds another number of bytes.
    """
    dtype = np.dtype(golden.dtype).newbyteorder("<")
    if len(blob) != math.prod(golden.shape) * dtype.itemsize:
        raise BundleError(f"{len(blob)} bytes are not golden samples of {golden.dtype} {golden.shape}")
    return np.frombuffer(blob, dtype).reshape(golden.shape)


def expected_for(golden: Golden, variant: str) -> Expected:
    """Return what `variant` must answer.

    Raises:
        BundleError: the bundle does not say.
    """
    for expected in golden.expected:
        if expected.variant == variant:
            return expected
    raise BundleError(f"The bundle has no golden answers for '{variant}'", "Convert it again")


def expected_outputs(model: Answering, samples: Array) -> bytes:
    """Return the answers of `model` to raw `samples`, as a golden blob has them.

    Raises:
        EngineError: a sample does not fit, or the runtime failed.
    """
    return b"".join(_stored(answer).tobytes() for answer in _answers(model, samples))


def tolerance(variant: Variant, answers: bytes | memoryview) -> Tolerance:
    """Return how far the first output may be from that in `answers`; see `tolerances`."""
    return tolerances(variant, answers)[0]


def tolerances(variant: Variant, answers: bytes | memoryview) -> tuple[Tolerance, ...]:
    """Return how far each output of another device may be from `answers`, the golden blob of `variant`.

    An int8 model may have float outputs: then the answers themselves show the step, if there is one.
    """
    arrays = _split(variant.outputs, answers)
    return tuple(
        _tolerance(variant, tensor, array) for tensor, array in zip(variant.outputs, arrays, strict=True)
    )


def prove(
    manifest: Manifest, variant: Variant, model: Answering, samples: Array, answers: bytes | memoryview
) -> Proof:
    """Run `model` on raw `samples` and compare with `answers`, the golden blob of `variant`.

    Returns:
        The verdict; a model that fails to run is a verdict too.

    Raises:
        BundleError: the bundle has no golden answers for the variant, or not for all samples.
    """
    expected = expected_for(manifest.golden, variant.id)
    wanted = _split(variant.outputs, answers)
    if len(wanted[0]) != len(samples):
        raise BundleError(f"'{variant.id}' has golden answers to {len(wanted[0])} of {len(samples)} samples")
    try:
        actual = _answers(model, samples)
    except EngineError as error:
        limit, unit = limit_of(expected.tolerance)
        return Proof(ok=False, variant=variant.id, limit=limit, unit=unit, reason=error.what)
    return judge(variant, expected, actual, wanted, manifest.outputs[0].decoder)


def judge(
    variant: Variant,
    expected: Expected,
    actual: Sequence[Array],
    wanted: Sequence[Array],
    decoder: Decoder = PLAIN,
) -> Proof:
    """Compare answers, one array `(n, ...)` per output of `variant`, of which `decoder` reads the first."""
    limits = expected.tolerances(len(variant.outputs))
    outputs = [
        Judged(tensor=tensor, tolerance=most, actual=mine, wanted=theirs)
        for tensor, most, mine, theirs in zip(variant.outputs, limits, actual, wanted, strict=True)
    ]
    most = max(differences(decoder, outputs), key=lambda one: one.gap / max(one.limit, MARGINAL))
    worst, limit, unit = most.gap, most.limit, most.unit
    count = len(wanted[0])
    agreement = _agreement(actual[0], wanted[0]) if _chooses(decoder) else 1.0
    reason = ""
    if not math.isfinite(worst):
        reason = "answers or golden answers hold NaN or infinity"
    elif worst > limit + (NOISE if unit == "steps" else 0.0):
        reason = f"differs by {worst:.3g} {unit}, allowed are {limit:g}"
    elif agreement < expected.agreement:
        reason = f"agrees on {agreement:.1%} of the samples, needed are {expected.agreement:.1%}"
    return Proof(
        ok=not reason,
        variant=variant.id,
        samples=count,
        worst=worst,
        limit=limit,
        unit=unit,
        agreement=agreement,
        reason=reason,
    )


def _tolerance(variant: Variant, tensor: Tensor, answers: Array) -> Tolerance:
    if np.issubdtype(np.dtype(tensor.dtype), np.integer):
        return StepTolerance(step=1.0, steps=STEPS)
    if variant.precision in {"int8", "mixed"}:
        step = _grid(answers.astype(np.float64))
        return StepTolerance(step=step, steps=STEPS) if step else RelativeTolerance(relative=RELATIVE_MIXED)
    return RelativeTolerance(relative=RELATIVE if variant.precision == "float32" else RELATIVE_HALF)


def _answers(model: Answering, samples: Array) -> list[Array]:
    """Return one array `(n, ...)` per output."""
    rows = [[np.array(out[0]) for out in model.outputs(sample)] for sample in samples]
    return [np.stack(answers) for answers in zip(*rows, strict=True)]


def _stored(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _split(outputs: Sequence[Tensor], blob: bytes | memoryview) -> list[Array]:
    """Cut a golden blob into one array `(n, ...)` per output."""
    dtypes = [np.dtype(tensor.dtype).newbyteorder("<") for tensor in outputs]
    sizes = [
        math.prod(tensor.shape[1:]) * dtype.itemsize for tensor, dtype in zip(outputs, dtypes, strict=True)
    ]
    count, position, arrays = len(blob) // sum(sizes), 0, []
    for tensor, dtype, size in zip(outputs, dtypes, sizes, strict=True):
        part = blob[position : position + count * size]
        arrays.append(np.frombuffer(part, dtype).reshape(count, *tensor.shape[1:]))
        position += count * size
    return arrays


def _chooses(decoder: Decoder) -> bool:
    """Return whether the largest number of the first output stands for an answer; of raw ones it may."""
    if isinstance(decoder, ControlDecoder):
        return decoder.space == "discrete"
    return isinstance(decoder, ClassificationDecoder | RawDecoder)


def _agreement(actual: Array, wanted: Array) -> float:
    """Return the share of samples whose largest number is at the same place."""
    count = len(wanted)
    return float((actual.reshape(count, -1).argmax(1) == wanted.reshape(count, -1).argmax(1)).mean())


def _grid(values: NDArray[np.float64]) -> float:
    """Return the step of which all `values` are multiples, or 0 if they are not dequantized int8."""
    levels = np.unique(values)
    if len(levels) == 1:
        return 0.0
    step = float(np.diff(levels).min())
    multiples = levels / step
    # Any float32 values are multiples of some tiny step: 8 bits make no more than 256 levels.
    coarse = multiples[-1] - multiples[0] < LEVELS
    return step if coarse and bool((np.abs(multiples - np.rint(multiples)) < NOISE).all()) else 0.0
