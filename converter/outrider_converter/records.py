"""What a conversion notes down about itself on the way."""

from msgspec import Struct

from outrider_converter.latency import Latency


class Stage(Struct, frozen=True, kw_only=True):
    """What one step made of the float network; accuracy and its 95 % interval are of the validation split."""

    name: str
    seconds: float
    params: int
    macs: int
    accuracy: float
    low: float
    high: float
    note: str = ""


class Decision(Struct, frozen=True, kw_only=True):
    """What `step` has chosen on the validation split, and why, as a sentence."""

    step: str
    text: str


class Saturated(Struct, frozen=True, kw_only=True):
    """A layer of an int8 file whose 16-bit sums overflow on a CPU without VNNI.

    `share` is that of the sums seen; `note` says how it was found out.
    """

    id: str
    layer: str
    share: float
    note: str


class PruneProof(Struct, frozen=True, kw_only=True):
    """What pruning has really gained: both networks as stripped float ONNX files, timed interleaved."""

    macs_before: int
    macs_after: int
    params_before: int
    params_after: int
    bytes_before: int
    bytes_after: int
    latency_before: Latency
    latency_after: Latency
    faster: float


class LeftOut(Struct, frozen=True, kw_only=True):
    """A variant that is not in the bundle, and why."""

    id: str
    reason: str
