"""Where a model must run, should run, or may run: nothing falls back in silence."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Scalar, Variant
from outrider_runtime.loading import load_variant, runtime
from outrider_runtime.session import Placement, Session

Policy = Literal["require", "prefer", "allow"]
"""`require`: there or not at all; `prefer`: elsewhere counts as degraded; `allow`: elsewhere is as good."""


class PlacementError(EngineError):
    """The model would not run where it must."""


class Placed(Struct, frozen=True, kw_only=True):
    """A session, and the truth about where it runs."""

    session: Session
    placement: Placement


def load_placed(
    variant: Variant,
    files: Mapping[str, Path],
    options: Mapping[str, Scalar],
    policy: Policy = "prefer",
    share: float = 1.0,
) -> Placed:
    """Load a variant where its options ask for, or by `policy` where that is not to be had.

    Args:
        variant: its own options come first.
        files: role to path.
        options: of the device; they override.
        policy: what to do where the asked backend does not take the nodes.
        share: of the nodes that must run there, 0..1.

    Raises:
        PlacementError: `policy` is `require`, and too few nodes run where they must.
        EngineError: it cannot be loaded, or its files are not what the manifest says.
        MissingExtraError: the runtime's library is not installed.
    """
    try:
        session = load_variant(variant, files, options)
    except EngineError as error:
        other = None if policy == "require" else _fallback(variant, options)
        if other is None:
            raise
        session = load_variant(variant, files, other[1])
        missed = replace(session.placement(), asked=other[0], reason=str(error))
        return Placed(session=session, placement=missed)
    placement = session.placement()
    if placement.share >= share or policy == "allow":
        return Placed(session=session, placement=placement)
    placement = replace(placement, reason=placement.reason or split(placement))
    if policy == "require":
        session.close()
        raise PlacementError(split(placement), _cure(placement))
    return Placed(session=session, placement=placement)


def shortfall(placement: Placement, policy: Policy, share: float) -> str:
    """Return why the pipeline is not as good as it could be; empty if it is, or need not be."""
    if policy != "prefer" or placement.share >= share:
        return ""
    return placement.reason or split(placement)


def split(placement: Placement) -> str:
    """Return how the nodes are shared out, as a sentence."""
    asked, nodes = placement.asked, placement.nodes
    if not nodes:
        return f"The model runs on {placement.backend} and not on {asked}"
    others = ", ".join(f"{count} on {name}" for name, count in sorted(nodes.items()) if name != asked)
    return f"{nodes.get(asked, 0)} of {sum(nodes.values())} nodes run on {asked}, {others}"


def _cure(placement: Placement) -> str:
    if placement.share > 0:
        return f"Convert for {placement.asked}, or accept it with engine.share = {placement.share:.3f}"
    return f"Mend the driver of {placement.asked}, or set engine.placement to 'prefer' to run without it"


def _fallback(variant: Variant, options: Mapping[str, Scalar]) -> tuple[str, dict[str, Scalar]] | None:
    """Return what was asked for and options without it; None if nothing was, or the runtime knows none."""
    plain: Callable[[Mapping[str, Scalar]], tuple[str, dict[str, Scalar]] | None] | None
    plain = getattr(runtime(variant.runtime), "fallback", None)
    return plain({**variant.options, **options}) if plain else None
