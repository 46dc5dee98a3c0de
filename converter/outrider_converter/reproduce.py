"""Making a bundle again from its own lineage, and telling whether the result is the same."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from outrider_bundle.container import Bundle
from outrider_bundle.errors import BundleError, DataError, UsageError
from outrider_bundle.manifest import Lineage, Manifest
from outrider_converter.pipeline import convert_recipe
from outrider_converter.progress import Reporter
from outrider_converter.recipe import read_recipe


class _Written(Struct, frozen=True):
    """What is read of a bundle's report: the recipe as it was written."""

    recipe: str


class FileMatch(Struct, frozen=True, kw_only=True):
    """A file of a variant: whether the new one has the same bytes; `found` is False if there is none."""

    variant: str
    file: str
    same: bool
    found: bool


class Comparison(Struct, frozen=True, kw_only=True):
    """Whether a bundle could be made again.

    Args:
        same: every file of every variant has the same bytes, and means the same.
        files: each of them.
        causes: what was different about the two runs: data, teacher, versions, CPU.
    """

    same: bool
    files: tuple[FileMatch, ...]
    causes: tuple[str, ...]


def reproduce(bundle: Path, folder: Path, out: Path, reporter: Reporter) -> Comparison:
    """Run the conversion that made `bundle` once more and compare both.

    Args:
        bundle: an `.orb` with lineage and report.
        folder: where its recipe's modules and files lie.
        out: folder of the new results.
        reporter: shows progress.

    Raises:
        UsageError: the results would replace the bundle.
        BundleError: the bundle is broken, or does not say how it was made.
        DataError: data or teacher cannot be had in `folder`.
    """
    if bundle.resolve().parent == out.resolve():
        raise UsageError(f"The results would replace {bundle}", "Name another folder with --out")
    with Bundle.open(bundle) as old:
        old.verify()
        text, manifest = written_recipe(old), old.manifest
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "recipe.toml"
        path.write_text(text, encoding="utf-8")
        recipe = read_recipe(path)
    report = convert_recipe(recipe, text, folder.resolve(), out, reporter)
    if report.bundle is None:
        raise DataError("The conversion made no bundle this time", f"See {out / 'report.html'}")
    with Bundle.open(report.bundle.path) as new:
        return compare(manifest, new.manifest)


def written_recipe(bundle: Bundle) -> str:
    """Return the recipe that a bundle was made by, checked against its lineage.

    Raises:
        BundleError: there is none, or it is not the one of the lineage.
    """
    manifest = bundle.manifest
    name = manifest.evidence.report if manifest.evidence else None
    if manifest.lineage is None or name is None:
        raise BundleError(f"{bundle.path} does not say how it was made", "Only a converter's bundle does")
    try:
        text = msgspec.json.decode(bundle.blob(name), type=_Written).recipe
    except msgspec.DecodeError as error:
        raise BundleError(f"{bundle.path} holds no report that can be read: {error}") from error
    if hashlib.sha256(text.encode()).hexdigest() != manifest.lineage.recipe:
        raise BundleError(f"The recipe in {bundle.path} is not the one its lineage names")
    return text


def compare(old: Manifest, new: Manifest) -> Comparison:
    """Compare the variants' files of two bundles by their digests."""
    wanted, given = _digests(old), _digests(new)
    files = tuple(
        FileMatch(variant=v, file=role, same=given.get((v, role)) == digest, found=(v, role) in given)
        for (v, role), digest in wanted.items()
    )
    causes = _causes(old.lineage, new.lineage) if old.lineage and new.lineage else ()
    meaning = _meaning(old, new)
    same = all(f.same for f in files) and wanted.keys() == given.keys() and not meaning
    return Comparison(same=same, files=files, causes=(*meaning, *causes))


def _meaning(old: Manifest, new: Manifest) -> tuple[str, ...]:
    """Return what the same files would mean something else by: labels, preprocessing, requirements."""
    told = {
        "inputs or their preprocessing": (old.inputs, new.inputs),
        "outputs or their labels": (old.outputs, new.outputs),
        "the devices they are for": ((old.app, old.hardware), (new.app, new.hardware)),
        "what variants require": (_needs(old), _needs(new)),
    }
    return tuple(f"{what} differ" for what, (then, now) in told.items() if then != now)


def _needs(manifest: Manifest) -> dict[str, object]:
    return {v.id: (v.precision, v.requirements, v.inputs, v.outputs, v.options) for v in manifest.variants}


def _digests(manifest: Manifest) -> dict[tuple[str, str], str]:
    blobs = {blob.name: blob.sha256 for blob in manifest.blobs}
    return {(v.id, f.role): blobs[f.blob] for v in manifest.variants for f in v.files}


def _causes(old: Lineage, new: Lineage) -> tuple[str, ...]:
    """Return what the two runs did not have in common, as sentences."""
    causes = [f"the {part} data differ" for part, value in old.data.items() if new.data.get(part) != value]
    if old.teacher != new.teacher:
        causes.append("the teacher differs")
    causes += _changed(old.versions, new.versions)
    if old.cpu != new.cpu:
        causes.append(f"the CPU has {' '.join(new.cpu) or 'none'}, it was {' '.join(old.cpu) or 'none'}")
    return tuple(causes)


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    names = sorted(old.keys() | new.keys())
    pairs = [(name, old.get(name, "none"), new.get(name, "none")) for name in names]
    return [f"{name} is {now}, it was {then}" for name, then, now in pairs if now != then]
