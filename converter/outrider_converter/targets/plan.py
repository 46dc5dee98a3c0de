"""What targets ask of a conversion: formats, channel multiples, int8 files; and what cannot be made."""

from typing import cast, get_args

from msgspec import Struct
from msgspec.structs import replace

from outrider_bundle.errors import UsageError
from outrider_bundle.manifest import Identifier
from outrider_converter.recipe import Recipe, Runtime
from outrider_converter.records import LeftOut
from outrider_converter.targets.target import DEFAULTS, Scheme, Target

MADE = cast("tuple[Runtime, ...]", get_args(Runtime))
"""Runtimes that there is an exporter for."""

EVERYWHERE: tuple[Runtime, ...] = ("onnx", "tflite")
"""Formats without any target."""

DEFAULT_MULTIPLE = 8
"""Floats in an AVX2 register, and what ONNX Runtime's blocked convolutions take at a time there."""

SUMS_IN_16_BITS = ("onnx", "openvino")
"""Runtimes whose int8 kernels may saturate on x86 without VNNI. LiteRT's were seen not to."""


class Plan(Struct, frozen=True, kw_only=True):
    """An int8 file to make: how, and what a CPU must have to run it as verified."""

    id: Identifier
    scheme: Scheme
    isa: tuple[str, ...] = ()


def formats(recipe: Recipe, targets: tuple[Target, ...]) -> tuple[Runtime, ...]:
    """Return the formats to write: the recipe's own, else those of its targets in order, else the usual.

    Raises:
        UsageError: there are targets, and no exporter for any of them.
    """
    if recipe.export.formats:
        return recipe.export.formats
    asked = dict.fromkeys(name for target in targets for name in target.runtimes)
    made = tuple(sorted(set(MADE).intersection(asked), key=list(asked).index))
    if targets and not made:
        what = f"There is no exporter for {' or '.join(asked)} in this version"
        raise UsageError(what, f"Name a target more, or give export.formats; there are: {', '.join(MADE)}")
    return made or EVERYWHERE


def unavailable(targets: tuple[Target, ...]) -> tuple[LeftOut, ...]:
    """Return the runtimes that targets name and that have no exporter yet."""
    asked = dict.fromkeys(name for target in targets for name in target.runtimes)
    return tuple(
        LeftOut(id=name, reason=f"no exporter for it in this version ({_wanted_by(name, targets)})")
        for name in asked
        if name not in MADE
    )


def _wanted_by(runtime: str, targets: tuple[Target, ...]) -> str:
    return "wanted by " + ", ".join(target.name for target in targets if runtime in target.runtimes)


def channel_multiple(recipe: Recipe, targets: tuple[Target, ...]) -> int:
    """Return of what channel counts stay multiples: by the recipe, else the most that a target asks for."""
    own = recipe.prune.round_to if recipe.prune else None
    return own or max((target.channel_multiple for target in targets), default=DEFAULT_MULTIPLE)


def plans(recipe: Recipe, targets: tuple[Target, ...], runtime: str) -> tuple[Plan, ...]:
    """Return the int8 files to make for `runtime`, one for each scheme and instruction set that is wanted.

    The recipe's `quantize.reduce_range` overrides the targets' weights, of ONNX and OpenVINO: True asks
    for 7 bits, False for all 8.
    """
    made: dict[str, Plan] = {}
    for target in targets:
        if runtime in target.runtimes:
            plan = _plan(runtime, _forced(recipe, runtime, target.scheme(runtime)), target)
            if made.get(plan.id, plan) != plan:
                plan = replace(plan, id=f"{plan.id}-{target.name}"[:64])
            made.setdefault(plan.id, plan)
    if not made:
        scheme = _forced(recipe, runtime, DEFAULTS.get(runtime, Scheme()))
        return (Plan(id=f"{runtime}-int8", scheme=scheme),)
    return tuple(made.values())


def _plan(runtime: str, scheme: Scheme, target: Target) -> Plan:
    isa = target.isa if runtime in SUMS_IN_16_BITS and scheme.weights == "full" else ()
    return Plan(id="-".join([f"{runtime}-int8", *isa]), scheme=scheme, isa=isa)


def _forced(recipe: Recipe, runtime: str, scheme: Scheme) -> Scheme:
    reduce = recipe.quantize.reduce_range
    if reduce is None or runtime not in SUMS_IN_16_BITS:
        return scheme
    return replace(scheme, weights="reduced" if reduce else "full")
