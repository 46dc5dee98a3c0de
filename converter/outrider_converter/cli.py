"""`outrider convert`: a recipe to a bundle."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from outrider_bundle.dispatch import run_app
from outrider_converter.report import Report, encode

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """[bold]Examples[/]

outrider convert examples/fashion/recipe.toml --out build/fashion

outrider convert recipe.toml --out build/model --json > report.json
"""


@app.command(epilog=EPILOG)
def convert(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.toml", help="What to convert, and under which budget.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of bundle, report and predictions.")
    ],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON instead of a table.")
    ] = False,
) -> None:
    """Distil, prune, quantize, verify and package a model under one accuracy budget.

    Writes NAME.orb, report.json, report.html and predictions.json.

    Variants that miss the budget on validation data are left out, with the reason.
    If none is left, no bundle is written and the exit code is 30.
    """
    # torch takes seconds to import: a faulty command line must not wait for it.
    from outrider_converter import pipeline  # noqa: PLC0415
    from outrider_converter.progress import bars  # noqa: PLC0415

    # A stream of its own: third-party tools are kept quiet by redirecting the process's standard error.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as stream:
        console = Console(file=stream)
        with bars(console) as reporter:
            report = pipeline.convert(recipe, out, reporter)
    if as_json:
        sys.stdout.write(encode(report).decode())
    else:
        show(report, out, Console(width=None if sys.stdout.isatty() else 100))


def show(report: Report, out: Path, console: Console) -> None:
    """Print the closing table."""
    table = Table(title=f"{report.name} {report.version}", title_justify="left")
    for name in ("variant", "accuracy", "drop", "KB", "M MACs", "ms", "times", "agrees"):
        table.add_column(name, justify="left" if name == "variant" else "right", no_wrap=True)
    teacher = report.teacher
    table.add_row(
        "teacher",
        f"{teacher.accuracy:.2%}",
        "",
        f"{teacher.bytes / 1e3:.1f}",
        f"{teacher.macs / 1e6:.2f}",
        "",
        "",
        "",
    )
    for v in report.variants:
        speed = "-" if v.speedup_vs_teacher is None else f"{v.speedup_vs_teacher:.1f}"
        table.add_row(
            f"{v.id} *" if v.rank == 0 else v.id,
            f"{v.accuracy:.2%}",
            f"{v.drop:.2f}",
            f"{v.bytes / 1e3:.1f}",
            f"{v.macs / 1e6:.2f}",
            f"{v.latency.p50_ms:.4f}",
            speed,
            f"{v.agreement_with_teacher:.2%}",
        )
    console.print(table)
    console.print("* default; times: as fast as the teacher in the same runtime, on one thread", style="dim")
    for one in report.left_out:
        console.print(f"left out: {one.id}: {one.reason}", markup=False)
    console.print(
        f"{out}: bundle, report.html, report.json, predictions.json; {report.seconds:.0f} s", markup=False
    )


def main(argv: list[str]) -> int:
    """Run the command.

    Raises:
        OutriderError: see `outrider_converter.pipeline.convert`.
    """
    return run_app(app, argv, "outrider convert")
