"""`outrider prove`: does a bundle compute on this machine what it should?"""

import contextlib
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from outrider_bundle.container import Bundle
from outrider_bundle.dispatch import run_app
from outrider_bundle.errors import OutriderError, ProofError, UsageError
from outrider_bundle.manifest import Variant
from outrider_bundle.slot import Slot
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import Proof, expected_for, golden_samples, prove
from outrider_runtime.requirements import lacking

EXAMPLES = """Examples:

  outrider prove sorter.orb

  outrider prove sorter.orb --variant tflite-int8

  outrider prove sorter.orb --all-variants --json
"""

MOST_SHOWN = 9.99
UNITS = {"relative": "rel."}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def main(argv: list[str]) -> int:
    """Run `outrider prove` with the arguments behind it."""
    return run_app(app, argv, "outrider prove")


@app.command(epilog=EXAMPLES)
def command(
    file: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle, NAME.orb.")],
    *,
    variant: Annotated[str, typer.Option(metavar="ID", help="Prove this variant.")] = "",
    all_variants: Annotated[bool, typer.Option("--all-variants", help="Prove every variant.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")] = False,
) -> None:
    """Verify a bundle and run its golden vectors here; without an option those of the first variant for it.

    Nothing is installed. A variant for another processor is left out unless it is named.
    Ends with exit code 21 if a variant does not reproduce what it must.
    """
    with Bundle.open(file) as bundle:
        bundle.verify()
        chosen, strange = _choose(bundle.manifest.ranked(), variant, everything=all_variants)
        with tempfile.TemporaryDirectory(prefix="outrider-prove-") as folder:
            slot = Slot.unpacked(bundle, [one.id for one in chosen], folder)
            proofs = [_prove(slot, one) for one in chosen]
        digest = bundle.digest
    if json:
        rows = [
            {**msgspec.structs.asdict(proof), "used": 1.0 - proof.margin, "margin": proof.margin}
            for proof in proofs
        ]
        text = msgspec.json.encode({"path": str(file), "digest": digest, "proofs": rows, "left_out": strange})
        typer.echo(msgspec.json.format(text, indent=2).decode())
    else:
        Console().print(_table(proofs))
        for name, reason in strange.items():
            typer.echo(f"{name}: left out, {reason}")
    failed = [proof for proof in proofs if not proof.ok]
    if failed:
        reasons = "; ".join(f"{proof.variant}: {proof.reason.rstrip('.')}" for proof in failed)
        cure = "Use another variant, or convert again for this hardware"
        raise ProofError(f"Not reproduced on this machine: {reasons}", cure)


def _choose(
    ranked: Sequence[Variant], name: str, *, everything: bool
) -> tuple[Sequence[Variant], dict[str, str]]:
    """Return what to prove, and why others are not. What cannot run here is proved only by name."""
    if name and everything:
        raise UsageError("--variant and --all-variants exclude one another", "Give one of them")
    for one in ranked:
        if one.id == name:
            return (one,), {}
    if name:
        raise UsageError(f"There is no variant '{name}'", f"There are: {', '.join(v.id for v in ranked)}")
    ready = [one for one in ranked if one.status == "ready"]
    if not ready:
        raise ProofError("No variant of this bundle is ready to run", "Convert for a runtime that is")
    strange = {one.id: reason for one in ready if (reason := lacking(one.requirements))}
    fit = [one for one in ready if one.id not in strange]
    if not fit:
        reasons = "; ".join(f"{variant}: {reason}" for variant, reason in strange.items())
        raise ProofError(f"No variant of this bundle is for this machine: {reasons}", "Convert for it")
    return (fit, strange) if everything else (fit[:1], {})


def _prove(slot: Slot, variant: Variant) -> Proof:
    golden = slot.manifest.golden
    try:
        answers = slot.read(expected_for(golden, variant.id).blob)
        with contextlib.closing(Model.open(slot.manifest, variant, slot.files(variant.id))) as model:
            return prove(
                slot.manifest, variant, model, golden_samples(golden, slot.read(golden.blob)), answers
            )
    except OutriderError as error:
        return Proof(ok=False, variant=variant.id, reason=str(error))


def _table(proofs: Sequence[Proof]) -> Table:
    """Return a table that fits 80 columns; reasons follow as the command's error."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("variant", overflow="fold")
    for name in ("runs", "worst", "allowed", "used", "left", "agrees"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for proof in proofs:
        ran = math.isfinite(proof.worst)
        table.add_row(
            proof.variant,
            str(proof.samples),
            f"{proof.worst:.3g}" if ran else "-",
            f"{proof.limit:g} {UNITS.get(proof.unit, proof.unit)}" if proof.limit else "-",
            _share(1.0 - proof.margin) if ran else "-",
            _share(max(proof.margin, 0.0)) if ran else "-",
            f"{proof.agreement:.0%}" if proof.samples else "-",
            "reproduced" if proof.ok else "differs" if proof.samples else "did not run",
            style="" if proof.ok else "red",
        )
    return table


def _share(share: float) -> str:
    """Return a percentage; far beyond the tolerance it does not matter how far."""
    return f"{share:.0%}" if share <= MOST_SHOWN else f">{MOST_SHOWN:.0%}"
