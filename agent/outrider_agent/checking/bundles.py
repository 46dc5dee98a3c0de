"""Bundles that a configuration names: whole, trusted, made for this device, and with something to run."""

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from outrider_agent import admission
from outrider_agent.config import Device, Engine, Trust
from outrider_bundle import plugins, signing
from outrider_bundle.container import Bundle
from outrider_bundle.errors import OutriderError
from outrider_bundle.manifest import Manifest


class Opened(Struct, frozen=True, kw_only=True):
    """A bundle's manifest, None if there is none to read, and what is wrong or at least worth a word."""

    manifest: Manifest | None = None
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def opened(path: Path, device: Device | None, trust: Trust | None, keys: Sequence[Path]) -> Opened:
    """Return what there is to say of the bundle at `path`.

    Args:
        path: of the file.
        device: what it must be made for, if that is known.
        trust: who may have signed it, if that is known.
        keys: those of `trust` that can be read.
    """
    if not path.exists():
        return Opened(warnings=(f"there is no {path} yet; the agent does not start without it",))
    try:
        with Bundle.open(path) as bundle:
            manifest = bundle.manifest
            tries: list[Callable[[], object]] = [bundle.verify, lambda: admission.check_task(manifest)]
            if device is not None:
                tries.append(lambda: admission.check_device(manifest, device))
            unsigned = _unsigned(path, trust)
            if trust is not None and keys and not unsigned:
                tries.append(lambda: signing.check(bundle, keys))
            faults = [fault for one in tries if (fault := _fault(one))]
    except OutriderError as error:
        return Opened(faults=(str(error),))
    warnings = (f"{path} has no signature, and runs because of trust.allow_unsigned",) if unsigned else ()
    return Opened(manifest=manifest, faults=tuple(faults), warnings=warnings)


def variants(manifest: Manifest, engine: Engine, where: str) -> tuple[list[str], list[str]]:
    """Return faults and warnings of how `engine`, which stands at `where`, would run `manifest`."""
    try:
        candidates = admission.candidates(manifest, engine)
    except OutriderError as error:
        return [f"{where}.variant: {error}"], []
    installed = plugins.names(admission.RUNTIMES)
    reasons = {one.id: admission.unfit(one, installed) for one in candidates}
    warnings = []
    if all(reasons.values()):
        each = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        warnings.append(f"{where}: nothing in the bundle can run on this machine ({each})")
    runtimes = {one.runtime for one in manifest.variants}
    warnings += [
        f"{where}.options.{name}: no variant has this runtime; there is {', '.join(sorted(runtimes))}"
        for name in engine.options
        if name not in runtimes
    ]
    return [], warnings


def _unsigned(path: Path, trust: Trust | None) -> bool:
    """Tell whether the bundle runs although nobody has signed it."""
    if trust is None or not trust.allow_unsigned:
        return False
    return not trust.keys or not signing.signature_path(path).exists()


def _fault(check: Callable[[], object]) -> str:
    try:
        check()
    except OutriderError as error:
        return str(error)
    return ""
