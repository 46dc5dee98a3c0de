"""`outrider bundle`: look into bundles, check them, sign them."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from outrider_bundle import atomic, blocks, signing, tables
from outrider_bundle.container import Bundle
from outrider_bundle.dispatch import run_app
from outrider_bundle.errors import UsageError
from outrider_bundle.slot import wanted

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Inspect, verify, sign and extract bundles (.orb).",
    epilog="Example: outrider bundle inspect build/app.orb",
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The bundle, NAME.orb.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]


def main(argv: list[str]) -> int:
    """Run `outrider bundle` with the arguments behind it."""
    return run_app(app, argv, "outrider bundle")


@app.command(epilog="Example: outrider bundle inspect build/app.orb --json")
def inspect(file: File, *, json: AsJson = False) -> None:
    """Show what a bundle holds. Checks its header, not its blobs: for those see verify."""
    with Bundle.open(file) as bundle:
        signed = signing.signature_path(file).is_file()
        length = file.stat().st_size
        if json:
            _print_json(
                {
                    "path": str(file),
                    "digest": bundle.digest,
                    "bytes": length,
                    "header_bytes": len(bundle.header),
                    "signature": signed,
                    "manifest": bundle.manifest,
                }
            )
            return
        facts = {
            "digest": bundle.digest,
            "size": f"{tables.size(length)}, {tables.size(len(bundle.header))} of it header",
            "signature": "there, unchecked: see verify --key" if signed else "none",
        }
        tables.inspection(Console(), bundle.manifest, facts)


@app.command(epilog="Example: outrider bundle verify build/app.orb --key operator.pub")
def verify(
    file: File,
    *,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="A trusted public key; may be repeated. Without one no signature is checked."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Check every byte of a bundle against its header and, with a key, the header against its signature."""
    with Bundle.open(file) as bundle:
        bundle.verify()
        keyid = signing.check(bundle, key) if key else None
        total = sum(blob.length for blob in bundle.manifest.blobs)
        if json:
            _print_json(
                {
                    "path": str(file),
                    "ok": True,
                    "digest": bundle.digest,
                    "blobs": len(bundle.manifest.blobs),
                    "bytes": total,
                    "keyid": keyid,
                }
            )
            return
        facts = {
            "bundle": f"{bundle.manifest.name} {bundle.manifest.version}",
            "digest": bundle.digest,
            "blobs": f"{len(bundle.manifest.blobs)} sound, {tables.size(total)}",
            "signature": f"good, by key {keyid}" if keyid else "not checked: give --key",
        }
        tables.facts_table(Console(), facts)


@app.command(epilog="Example: outrider bundle sign build/app.orb --key operator.key")
def sign(
    file: File,
    *,
    key: Annotated[Path, typer.Option(help="The private key, as keygen made it.")],
    json: AsJson = False,
) -> None:
    """Sign a sound bundle: writes NAME.orb.sig beside it."""
    path = signing.sign(file, key)
    if json:
        _print_json({"path": str(file), "signature": str(path)})
    else:
        tables.facts_table(Console(), {"signature": str(path)})


@app.command(epilog="Example: outrider bundle keygen operator.key")
def keygen(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The private key; the public one is FILE.pub.")
    ],
    *,
    json: AsJson = False,
) -> None:
    """Make a key pair for signing. Keep the private key; put the public one on devices."""
    public = file.with_name(file.name + ".pub")
    keyid = signing.generate(file, public)
    if json:
        _print_json({"private": str(file), "public": str(public), "keyid": keyid})
    else:
        facts = {"private key": str(file), "public key": str(public), "key id": keyid}
        tables.facts_table(Console(), facts)


@app.command(epilog="Example: outrider bundle extract build/app.orb --to model --variant onnx-int8")
def extract(
    file: File,
    *,
    to: Annotated[Path, typer.Option(metavar="DIR", help="A folder that is new or empty.")],
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only this variant and its golden vectors; may be repeated."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Write the verified blobs of a bundle as files, each called like its blob, and manifest.json."""
    with Bundle.open(file) as bundle:
        bundle.verify()
        every = tuple(blob.name for blob in bundle.manifest.blobs)
        names = wanted(bundle.manifest, variant) if variant else every
        _write_all(bundle, names, to)
        lengths = {name: bundle.entry(name).length for name in names}
    if json:
        _print_json({"path": str(to), "files": lengths})
    else:
        tables.facts_table(Console(), {str(to / name): tables.size(n) for name, n in lengths.items()})


def _write_all(bundle: Bundle, names: Sequence[str], folder: Path) -> None:
    """Fill a folder of another name and rename it, so that all files are there or none."""
    part = atomic.begin(folder.absolute())
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is not an empty folder", "Choose another one with --to")
        part.mkdir()
        for name in names:
            atomic.write_part(part / name, blocks.cut(bundle.blob(name)))
        pretty = msgspec.json.format(msgspec.json.encode(bundle.manifest), indent=2)
        atomic.write_part(part / "manifest.json", [pretty, b"\n"])
        atomic.sync_folder(part)
        atomic.commit(part, folder.absolute())
    except OSError as error:
        raise atomic.unwritable(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _print_json(value: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())  # noqa: T201 - what was asked for
