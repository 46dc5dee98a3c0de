"""`outrider demo`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from outrider_bundle import bars as proofs
from outrider_bundle.dispatch import run_app
from outrider_bundle.errors import OutriderError

EXAMPLES = Path("examples/fashion")
RECIPE = "demo.toml"
PROOF = "demo"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.command()
def demo(
    *,
    examples: Annotated[
        Path, typer.Option(help="Folder with demo.toml, export_images.py and bins.toml.")
    ] = EXAMPLES,
    recipe: Annotated[Path | None, typer.Option(help="Another recipe than the folder's.")] = None,
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("build/demo"),
    frames: Annotated[int, typer.Option(min=1, help="Test images to sort.")] = 2_000,
    fps: Annotated[float, typer.Option(min=1.0, help="Images a second on the belt.")] = 100.0,
    json: Annotated[bool, typer.Option("--json", help="Print summary.json instead of tables.")] = False,
) -> int:
    """Turn a real teacher into a bundle and let a real agent sort real images with it.

    Converter, broker and agent are processes of their own; what the agent decides is checked as it
    arrives over MQTT. Writes OUT/summary.json and build/proof/demo.json; fails if a step fails or a bar
    is missed. At most 15 minutes on 2 cores once everything is installed.

    [bold]Examples[/]

      outrider demo

      outrider demo --frames 10000 --fps 200

      outrider demo --recipe my.toml --out build/mine --json
    """
    from outrider_fleet.demo import rehearsal, summary, tables  # noqa: PLC0415 - help needs no extra

    console = Console(stderr=json)
    options = rehearsal.Options(
        examples=examples,
        recipe=recipe or examples / RECIPE,
        out=out,
        frames=frames,
        fps=fps,
        quiet=json,
    )
    outcome = rehearsal.rehearse(options, console)
    summary.write(out / "summary.json", outcome.summary)
    proof = proofs.write(PROOF, outcome.rows)
    console.print(tables.results(outcome.summary, outcome.default))
    console.print(tables.story(outcome.summary, outcome.verdict), highlight=False)
    console.print(tables.bars(outcome.rows))
    console.print(f"Written: {out / 'summary.json'}, {proof}")
    if json:
        typer.echo(summary.encode(outcome.summary), nl=False)
    if outcome.faults:
        raise OutriderError(f"The demo fails: {'; '.join(outcome.faults)}")
    return 0


def main(argv: list[str]) -> int:
    """Run the command and return its exit code.

    Raises:
        OutriderError: a step failed or a bar is missed.
    """
    return run_app(app, argv, "outrider demo")
