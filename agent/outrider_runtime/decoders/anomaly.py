"""Outputs that say how strange an input is: a score, or the input as an autoencoder remembers it."""

from collections.abc import Sequence

import numpy as np

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import AnomalyDecoder, Input, Tensor
from outrider_runtime.decoders.ends import Ends
from outrider_runtime.decoders.stored import PLAIN, Numbers, not_a_number
from outrider_runtime.perception import Anomaly
from outrider_runtime.session import Array


class ScoreReader:
    """The score that the model gives; a negative one counts as 0."""

    def __init__(self, plan: AnomalyDecoder, ends: Ends) -> None:
        """Take the threshold."""
        self._threshold, self._numbers = plan.threshold, Numbers(ends.tensors[0])

    def decode(
        self, outputs: Sequence[Array], frame: tuple[int, ...] = (), fed: Array | None = None
    ) -> Anomaly:
        """Return the score; see `Decoder.decode`."""
        del frame, fed
        (score,) = self._numbers.real(outputs[0])
        return Anomaly(score=max(0.0, score), threshold=self._threshold)


class ReconstructionReader:
    """The mean squared difference of what went in and came out, as real values.

    It owns scratch memory: one thread at a time. Where the output's layout has the dimensions of the
    input's, or the output has the very shape of the physical input, it is taken to be in that order; in any
    other shape it is in the order of the logical input.
    """

    def __init__(self, plan: AnomalyDecoder, ends: Ends) -> None:
        """Allocate, and find the order of both.

        Raises:
            EngineError: layouts and shapes contradict one another.
        """
        given, fed, output = ends.given, ends.fed, ends.tensors[0]
        self._threshold = plan.threshold
        self._fed = _order(given, fed)
        if not self._fed:
            what = f"The input {fed.layout} {fed.shape} is not {given.layout} {given.shape} in another order"
            raise EngineError(what, "Both have the same dimensions")
        self._answer = _order(given, output) or (self._fed if output.shape == fed.shape else ())
        self._shape = given.shape
        into, out_of = fed.quantization or PLAIN, output.quantization or PLAIN
        self._scales = into.scale, out_of.scale
        self._shift = out_of.scale * out_of.zero_point - into.scale * into.zero_point
        self._difference, self._scratch = np.empty(given.shape), np.empty(given.shape)

    def decode(
        self, outputs: Sequence[Array], frame: tuple[int, ...] = (), fed: Array | None = None
    ) -> Anomaly:
        """Compare `fed` and the output; see `Decoder.decode`."""
        del frame
        if fed is None:
            raise EngineError("There is no input to compare the output with", "Write a frame first")
        before = fed.transpose(self._fed)
        after = outputs[0].transpose(self._answer) if self._answer else outputs[0].reshape(self._shape)
        difference, scratch = self._difference, self._scratch
        with np.errstate(over="ignore"):
            np.multiply(before, self._scales[0], difference, dtype=np.float64)
            np.multiply(after, self._scales[1], scratch, dtype=np.float64)
            np.subtract(difference, scratch, difference)
            np.add(difference, self._shift, difference)
            np.multiply(difference, difference, difference)
            # Not a product of the vector with itself: BLAS would wake up its threads for it.
            score = float(np.add.reduce(difference, None)) / difference.size
        if not np.isfinite(score):
            raise not_a_number()
        return Anomaly(score=score, threshold=self._threshold)


def anomaly_reader(plan: AnomalyDecoder, ends: Ends) -> ScoreReader | ReconstructionReader:
    """Return what reads by the method of `plan`."""
    return ScoreReader(plan, ends) if plan.method == "score" else ReconstructionReader(plan, ends)


def _order(given: Input, tensor: Tensor) -> tuple[int, ...]:
    """Return the axes of `tensor` in the order of `given`; nothing if its layout does not tell."""
    if len(tensor.shape) != len(given.shape) or sorted(tensor.layout) != sorted(given.layout):
        return ()
    order = tuple(tensor.layout.index(letter) for letter in given.layout)
    return order if tuple(tensor.shape[axis] for axis in order) == given.shape else ()
