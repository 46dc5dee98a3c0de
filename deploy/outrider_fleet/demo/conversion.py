"""From recipe to signed bundle: the workstation's and the operator's half, through their own commands."""

import hashlib
import shutil
from pathlib import Path

from msgspec import Struct

from outrider_bundle.container import Bundle
from outrider_bundle.errors import DataError
from outrider_bundle.manifest import ClassificationDecoder, Manifest
from outrider_fleet.demo.commands import OUTRIDER, show
from outrider_fleet.demo.records import ConverterReport, Predictions, read
from outrider_fleet.demo.summary import BundleFile


class Converted(Struct, frozen=True, kw_only=True):
    """A conversion's results: the bundle, what the converter measured and what each variant answered."""

    bundle: Path
    report: ConverterReport
    predictions: Predictions


class Signed(Struct, frozen=True, kw_only=True):
    """A signed bundle, the public key to trust it by and what its manifest says."""

    file: BundleFile
    key: Path
    manifest: Manifest

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names in the order of the outputs."""
        decoder = self.manifest.outputs[0].decoder
        return decoder.labels if isinstance(decoder, ClassificationDecoder) else ()

    @property
    def default(self) -> str:
        """The id of the variant that is tried first."""
        return self.manifest.ranked()[0].id


def convert(recipe: Path, folder: Path, *, quiet: bool) -> Converted:
    """Run `outrider convert` into an empty `folder`.

    Raises:
        StepError: it failed.
        DataError: it did not write what it should.
    """
    shutil.rmtree(folder, ignore_errors=True)
    show("convert", [*OUTRIDER, "convert", recipe, "--out", folder], mute_stdout=quiet)
    bundles = sorted(folder.glob("*.orb"))
    if len(bundles) != 1:
        raise DataError(f"The converter wrote {len(bundles)} bundles into {folder} instead of one")
    return Converted(
        bundle=bundles[0],
        report=read(folder / "report.json", ConverterReport),
        predictions=read(folder / "predictions.json", Predictions),
    )


def sign(bundle: Path, folder: Path, *, quiet: bool) -> Signed:
    """Make a key pair in `folder` and sign `bundle` with `outrider bundle`.

    Raises:
        StepError: it failed.
        BundleError: the bundle cannot be read.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    private, public = folder / "demo.key", folder / "demo.key.pub"
    show("make keys", [*OUTRIDER, "bundle", "keygen", private], mute_stdout=quiet)
    show("sign", [*OUTRIDER, "bundle", "sign", bundle, "--key", private], mute_stdout=quiet)
    with Bundle.open(bundle) as opened, bundle.open("rb") as file:
        return Signed(
            file=BundleFile(
                path=str(bundle),
                bytes=bundle.stat().st_size,
                sha256=hashlib.file_digest(file, "sha256").hexdigest(),
            ),
            key=public,
            manifest=opened.manifest,
        )
