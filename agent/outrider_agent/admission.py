"""What may run: a trusted bundle made for this device, and its best variant that proves itself here."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from outrider_agent.config import Device, Engine, Trust
from outrider_agent.requirements import lacking
from outrider_agent.summary import Skipped
from outrider_bundle import plugins, signing, slot
from outrider_bundle.container import Bundle
from outrider_bundle.errors import IncompatibleError, OutriderError, ProofError
from outrider_bundle.manifest import Manifest, Scalar, Variant
from outrider_bundle.slot import Slot
from outrider_runtime.decoders import DECODED
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import expected_for, golden_samples, prove

ANY = "any"
"""Hardware that a bundle names if it may run everywhere."""
RUNTIMES = "outrider.runtimes"
SLOTS = "slots"

log = logging.getLogger(__name__)


class Admitted(Struct, frozen=True, kw_only=True):
    """A proven model. `skipped` are the better ranked variants that were passed over."""

    manifest: Manifest
    digest: str
    variant: Variant
    model: Model
    skipped: tuple[Skipped, ...]


def admit(
    path: Path,
    device: Device,
    trust: Trust,
    engine: Engine,
    progress: Callable[[str], None] = lambda _: None,
) -> Admitted:
    """Return the best variant of the bundle at `path` that proves itself.

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
        ProofError: no variant reproduces its golden vectors here; the message says why for each.
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
        unpacked = slot.unpack(bundle, usable, device.state_dir / SLOTS)
    return _first_proven(Slot.open(unpacked), engine, reasons, progress)


def check_trust(bundle: Bundle, trust: Trust) -> None:
    """Check the signature, unless there is none and that is allowed.

    Raises:
        SignatureError: it is missing, or not good.
    """
    if trust.allow_unsigned and not (trust.keys and signing.signature_path(bundle.path).exists()):
        log.warning("%s is run without a signature, as the configuration allows", bundle.path)
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
            "Convert the model again with --labels FILE, or run the bundle from a program of your own",
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


def _first_proven(
    kept: Slot, engine: Engine, reasons: Mapping[str, str], progress: Callable[[str], None]
) -> Admitted:
    skipped: list[Skipped] = []
    for variant in candidates(kept.manifest, engine):
        reason = reasons[variant.id]
        if not reason:
            progress(f"proving {variant.id}")
            try:
                model = _proven(kept, variant, engine)
            except OutriderError as error:
                reason = str(error)
            else:
                return Admitted(
                    manifest=kept.manifest,
                    digest=kept.digest,
                    variant=variant,
                    model=model,
                    skipped=tuple(skipped),
                )
        log.warning("The variant %s is skipped: %s", variant.id, reason)
        skipped.append(Skipped(variant=variant.id, reason=reason))
    raise NoneProvenError(kept.manifest, tuple(skipped))


class NoneProvenError(ProofError):
    """Every variant was passed over; `skipped` says why."""

    def __init__(self, manifest: Manifest, skipped: tuple[Skipped, ...]) -> None:
        """List the reasons."""
        self.skipped = skipped
        reasons = "; ".join(f"{one.variant}: {one.reason.rstrip('.')}" for one in skipped)
        super().__init__(
            f"No variant of {manifest.name} {manifest.version} can be run here ({reasons})",
            "Look closer with: outrider prove BUNDLE --all-variants",
        )


def _proven(kept: Slot, variant: Variant, engine: Engine) -> Model:
    """Load `variant` and prove it.

    Raises:
        OutriderError: it does not load, or does not reproduce.
    """
    model = Model.open(kept.manifest, variant, kept.files(variant.id), options(variant, engine))
    with contextlib.ExitStack() as unproven:
        unproven.callback(model.close)
        golden = kept.manifest.golden
        samples = golden_samples(golden, kept.read(golden.blob))
        answers = kept.read(expected_for(golden, variant.id).blob)
        proof = prove(kept.manifest, variant, model, samples, answers)
        if not proof.ok:
            raise ProofError(proof.reason)
        unproven.pop_all()
    log.info("%s reproduces %d golden vectors (%.3g %s)", variant.id, proof.samples, proof.worst, proof.unit)
    return model


def options(variant: Variant, engine: Engine) -> dict[str, Scalar]:
    """Return what the configuration asks of the runtime of `variant`."""
    threads: dict[str, Scalar] = {} if engine.threads is None else {"threads": engine.threads}
    return {**threads, **engine.options.get(variant.runtime, {})}
