"""`outrider doctor`: what is there on this machine, and what to install for the rest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from outrider_agent.doctor.checkup import checkup
from outrider_agent.doctor.row import Row
from outrider_bundle import tables
from outrider_bundle.dispatch import run_app
from outrider_bundle.errors import OutriderError

EXAMPLES = """Examples:

  outrider doctor

  outrider doctor --config agent.toml

  outrider doctor --broker mqtts://broker.example:8883 --json
"""

STYLES = {"ok": "green", "missing": "", "problem": "red"}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class LackingError(OutriderError):
    """A configuration needs what is not installed."""

    exit_code = 3


def main(argv: list[str]) -> int:
    """Run `outrider doctor` with the arguments behind it."""
    return run_app(app, argv, "outrider doctor")


@app.command(epilog=EXAMPLES)
def command(
    *,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also what this agent.toml needs, and its broker.")
    ] = None,
    broker: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Also try this broker; may be given again.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")] = False,
) -> None:
    """Say which runtimes, accelerators, cameras, brokers and boards are there, and what is missing.

    Changes nothing. Ends with exit code 3 if --config is given and names a plug-in that does not load, or
    a bundle of which no variant can run here; otherwise with 0, whatever was found.
    """
    findings = checkup(config, broker or ())
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode())
    else:
        Console().print(_table(findings.rows))
    if findings.lacking:
        reasons = "; ".join(f"{row.part} {row.name}: {row.detail}" for row in findings.lacking)
        cures = "; ".join(dict.fromkeys(row.cure for row in findings.lacking if row.cure))
        raise LackingError(f"{config} cannot run here: {reasons}", cures)


def _table(rows: Sequence[Row]) -> Table:
    """Return a table that fits 80 columns; what to do stands below what was found."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("part", no_wrap=True)
    table.add_column("name", overflow="fold", max_width=24)
    table.add_column("state", no_wrap=True)
    table.add_column("found", overflow="fold")
    for row in rows:
        found = tables.plain(row.detail)
        if row.cure:
            found = Text("\n").join([found, tables.plain(f"> {row.cure}")])
        state = Text(row.state, STYLES[row.state])
        table.add_row(tables.plain(row.part), tables.plain(row.name), state, found)
    return table
