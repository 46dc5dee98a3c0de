"""Where a model must run, should run, or may run: nothing falls back in silence."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from outrider_bundle.errors import EngineError, OutriderError
from outrider_bundle.manifest import Scalar, Variant
from outrider_runtime.loading import load_variant, runtime
from outrider_runtime.session import Placement, Session

Policy = Literal["require", "prefer", "allow"]
"""`require`: there or not at all; `prefer`: elsewhere counts as degraded; `allow`: elsewhere is as good."""


MAX_FALLBACKS = 4
"""No list of accelerators is longer; it bounds what a plug-in's `fallback` can go on with."""


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

    A runtime knows what else there is by an optional method `fallback(options) -> (asked, options) | None`:
    what these options ask for, and what to lay over them to do without; None if there is nothing to give up.
    It is asked again while what it returns cannot be loaded either.

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
    session, asked, why = _load(variant, files, options, policy)
    placement = session.placement()
    if asked:
        placement = replace(placement, asked=asked, reason=why)
    elif placement.share < 1.0 and not placement.reason:
        placement = replace(placement, reason=split(placement))
    if policy == "require" and placement.share < share:
        session.close()
        raise PlacementError(split(placement), _cure(placement))
    return Placed(session=session, placement=placement)


def shortfall(placement: Placement, policy: Policy, share: float) -> str:
    """Return why a pipeline with this `policy` is not as good as it could be; empty if it is, or need not be.

    Args:
        placement: from `load_placed`.
        policy: only `prefer` knows such a state: `require` did not load, `allow` does not mind.
        share: of the nodes that should run where they were asked to.
    """
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


def _load(
    variant: Variant, files: Mapping[str, Path], options: Mapping[str, Scalar], policy: Policy
) -> tuple[Session, str, str]:
    """Return a session and, if it is not the one that was asked for, what was and why it is not to be had."""
    asked = why = ""
    for _ in range(MAX_FALLBACKS):
        try:
            return load_variant(variant, files, options), asked, why
        except EngineError as error:
            less = None if policy == "require" else _fallback(variant, options)
            if less is None and why:  # the first cause is the one to mend
                raise EngineError(f"{why.rstrip('.')}; without it: {error}") from error
            if less is None:
                raise
            asked, why = asked or less[0], why or str(error)
            options = {**options, **less[1]}
    return load_variant(variant, files, options), asked, why


def _cure(placement: Placement) -> str:
    if placement.share > 0:
        enough = math.floor(placement.share * 1000) / 1000
        return f"Convert for {placement.asked}, or accept it with engine.share = {enough}"
    return f"Mend the driver of {placement.asked}, or set engine.placement to 'prefer' to run without it"


def _fallback(variant: Variant, options: Mapping[str, Scalar]) -> tuple[str, dict[str, Scalar]] | None:
    """Return what was asked for and options without it; None if nothing was, or the runtime knows none."""
    plain: Callable[[Mapping[str, Scalar]], tuple[str, dict[str, Scalar]] | None] | None
    plain = getattr(runtime(variant.runtime), "fallback", None)
    try:
        return plain({**variant.options, **options}) if plain else None
    except OutriderError:
        raise
    except Exception as error:
        raise EngineError(f"The runtime {variant.runtime} failed to find a fallback: {error!r}") from error
