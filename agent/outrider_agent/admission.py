"""What may run: a trusted bundle made for this device, and those of its variants that can be tried here."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from outrider_agent.config import Device, Engine, Trust
from outrider_agent.summary import Skipped
from outrider_bundle import plugins
from outrider_bundle.container import Bundle
from outrider_bundle.errors import IncompatibleError
from outrider_bundle.manifest import Manifest, Variant
from outrider_bundle.slot import Slot
from outrider_runtime.decoders import DECODED
from outrider_runtime.requirements import lacking

ANY = "any"
"""Hardware that a bundle names if it may run everywhere."""
RUNTIMES = "outrider.runtimes"
SLOTS = "slots"
UNSIGNED = "%s is run without a signature, as the configuration allows"

log = logging.getLogger(__name__)


class Admitted(Struct, frozen=True, kw_only=True):
    """A bundle that may run.

    Args:
        slot: its files on this device.
        variants: that can be tried, best first; there may be none.
        skipped: that cannot, and why.
    """

    slot: Slot
    variants: tuple[Variant, ...]
    skipped: tuple[Skipped, ...]

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.slot.manifest


def admit(
    path: Path,
    device: Device,
    trust: Trust,
    engine: Engine,
    progress: Callable[[str], None] = lambda _: None,
) -> Admitted:
    """Check the bundle at `path` and unpack what can be tried; nothing is loaded.

    Args:
        path: of the `.orb` file; its signature lies beside it.
        device: what it must be made for, and where slots are kept.
        trust: who must have signed it.
        engine: how it will be run.
        progress: told of each step that may take long.

    Raises:
        BundleError: the bundle is broken.
        SignatureError: it is not signed by somebody trusted.
        IncompatibleError: it is for another app or other hardware, lacks the wanted variant, or gives
            what no policy can decide on.
    """
    progress(f"reading {path.name}")
    with Bundle.open(path) as bundle:
        check_trust(bundle, trust)
        check_device(bundle.manifest, device)
        check_task(bundle.manifest)
        variants = candidates(bundle.manifest, engine)
        installed = plugins.names(RUNTIMES)
        reasons = {variant.id: unfit(variant, installed) for variant in variants}
        usable = [name for name, reason in reasons.items() if not reason]
        slot = Slot.unpacked(bundle, usable, device.state_dir / SLOTS)
    skipped = tuple(Skipped(variant=name, reason=why) for name, why in reasons.items() if why)
    for one in skipped:
        log.warning("The variant %s is skipped: %s", one.variant, one.reason)
    return Admitted(
        slot=slot,
        variants=tuple(variant for variant in variants if not reasons[variant.id]),
        skipped=skipped,
    )


def check_trust(bundle: Bundle, trust: Trust) -> None:
    """Check the signature, unless there is none and that is allowed.

    Raises:
        SignatureError: it is missing, or not good.
    """
    if trust.allow_unsigned and not trust.keys:
        log.warning(UNSIGNED, bundle.path)
        return
    from outrider_bundle import signing  # noqa: PLC0415 - 7 MB of a library that only signatures need

    if trust.allow_unsigned and not signing.signature_path(bundle.path).exists():
        log.warning(UNSIGNED, bundle.path)
        return
    keyid = signing.check(bundle, trust.keys)
    log.info("%s is signed by key %s", bundle.path.name, keyid[:16])


def check_device(manifest: Manifest, device: Device) -> None:
    """Check that the bundle is meant for this device.

    Raises:
        IncompatibleError: it is not.
    """
    if manifest.app != device.app:
        raise IncompatibleError(
            f"The bundle {manifest.name} {manifest.version} is for the app '{manifest.app}', "
            f"this device is enrolled for '{device.app}'",
            "Give it a bundle of its own app, or correct device.app",
        )
    if not {ANY, device.hardware} & {*manifest.hardware}:
        raise IncompatibleError(
            f"The bundle {manifest.name} {manifest.version} is for {', '.join(manifest.hardware)}, "
            f"this device is '{device.hardware}'",
            "Build one for it, or correct device.hardware",
        )


def check_task(manifest: Manifest) -> None:
    """Check that the bundle's outputs become perceptions.

    Raises:
        IncompatibleError: they do not.
    """
    if manifest.task not in DECODED:
        raise IncompatibleError(
            f"The outputs of the bundle {manifest.name} {manifest.version} have no decoder, its task is "
            f"'{manifest.task}', and an agent can act on these tasks: {', '.join(DECODED)}",
            "Convert the model again with --task and --labels or --names, or run it from your own program",
        )


def candidates(manifest: Manifest, engine: Engine) -> tuple[Variant, ...]:
    """Return the variants that come into question, best first.

    Raises:
        IncompatibleError: the configuration names one that there is not.
    """
    if engine.variant is None:
        return manifest.ranked()
    try:
        return (manifest.variant(engine.variant),)
    except KeyError as error:
        raise IncompatibleError(
            f"The bundle {manifest.name} {manifest.version} has no variant '{engine.variant}'",
            f"It has: {', '.join(v.id for v in manifest.ranked())}",
        ) from error


def unfit(variant: Variant, installed: Sequence[str]) -> str:
    """Return why `variant` cannot be tried here with the `installed` runtimes; empty if it can."""
    if variant.status != "ready":
        return f"its status is {variant.status}"
    if variant.runtime not in installed:
        return f"there is no runtime '{variant.runtime}' here; installed: {', '.join(installed)}"
    return lacking(variant.requirements)
