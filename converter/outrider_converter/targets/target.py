"""A target: one TOML file that describes one kind of machine."""

from collections import Counter
from typing import Annotated, Literal

from msgspec import Meta, field

from outrider_bundle.manifest import Identifier, Text
from outrider_converter.recipe import Options

Weights = Literal["full", "reduced", "pair-safe"]
Count = Annotated[int, Meta(ge=1, le=1024)]


class Scheme(Options, frozen=True, kw_only=True):
    """How a runtime's int8 files are made.

    Args:
        activation: type of activations.
        weight: type of weights.
        weights: `full` uses 8 bits, `reduced` 7, and `pair-safe` scales a channel down only as far as two
            neighbouring products need to stay within 16 bits. x86 without VNNI adds them up in 16 bits
            (instruction VPMADDUBSW), saturating; the last two cannot.
        per_channel: whether each output channel has a scale of its own.
    """

    activation: Literal["uint8", "int8"] = "uint8"
    weight: Literal["int8"] = "int8"
    weights: Weights = "pair-safe"
    per_channel: bool = True

    @property
    def reduce_range(self) -> bool:
        """Whether sums of two products fit 16 bits."""
        return self.weights != "full"


DEFAULTS = {
    "onnx": Scheme(),
    "openvino": Scheme(weights="reduced"),
    "tflite": Scheme(activation="int8", weights="full"),
}
"""Schemes that compute the same everywhere; a target's own table overrides them."""

MADE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "openvino": (("uint8", "int8"), ("full", "reduced")),
    "tflite": (("int8",), ("full",)),
}
"""Activations and weights that a quantizer can make, where it cannot make them all."""


class Operators(Options, frozen=True, kw_only=True):
    """What an accelerator's compiler takes of a TFLite file; the rest runs on the CPU.

    Args:
        allowed: builtin operators, as the TFLite schema calls them.
        types: of tensors.
        batch: first dimension of every input.
        rank: dimensions of an activation that may be more than 1, the innermost ones.
    """

    allowed: Annotated[tuple[Text, ...], Meta(min_length=1)]
    types: Annotated[tuple[Text, ...], Meta(min_length=1)] = ("INT8", "UINT8", "INT32")
    batch: Count = 1
    rank: Annotated[int, Meta(ge=1, le=8)] = 8


class Target(Options, frozen=True, kw_only=True):
    """A kind of machine.

    Args:
        name: by which recipes and the command line call it.
        title: for people.
        hardware: what devices of this kind call themselves; `any` where the instruction sets decide.
        isa: names from `/proc/cpuinfo` that an int8 file with full 8-bit weights needs to compute
            what was verified; files that do so everywhere do not ask for them.
        runtimes: to make files for, the preferred one first.
        schemes: of the runtimes, where they differ from `DEFAULTS`.
        channel_multiple: of which channel counts should be multiples.
        memory_mb: what the files of one variant may take at most, MB; 0 sets no limit.
        operators: constraints on its TFLite files.
        figures: what is known of this project's files on it: measured on such a machine, simulated, or
            nothing.
        note: what a user should know, for example where numbers come from.
    """

    name: Identifier
    title: Text
    hardware: Identifier
    isa: tuple[Identifier, ...] = ()
    runtimes: Annotated[tuple[Identifier, ...], Meta(min_length=1)]
    schemes: dict[Identifier, Scheme] = field(default_factory=dict)
    channel_multiple: Count = 8
    memory_mb: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    operators: Operators | None = None
    figures: Literal["measured", "simulated", "unknown"] = "unknown"
    note: Text = ""

    def scheme(self, runtime: str) -> Scheme:
        """Return how int8 files for `runtime` are made."""
        return self.schemes.get(runtime) or DEFAULTS.get(runtime, Scheme())


def contradictions(target: Target) -> list[str]:
    """Return what each key alone allows but together makes no sense."""
    faults = [
        f"runtimes: '{name}' is there {n} times" for name, n in Counter(target.runtimes).items() if n > 1
    ]
    for name, scheme in target.schemes.items():
        if name not in target.runtimes:
            faults.append(f"schemes.{name}: '{name}' is not among the runtimes")
        activations, weights = MADE.get(name, ((scheme.activation,), (scheme.weights,)))
        if scheme.activation not in activations:
            faults.append(f"schemes.{name}.activation: {name} is made with {' or '.join(activations)} only")
        if scheme.weights not in weights:
            faults.append(f"schemes.{name}.weights: {name} is made with {' or '.join(weights)} only")
    if target.operators is not None and "tflite" not in target.runtimes:
        faults.append("operators: they are of TFLite files, and tflite is not among the runtimes")
    return faults
