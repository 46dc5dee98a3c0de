"""The closing tables: results, and bars."""

from collections.abc import Sequence

from rich.table import Table

from outrider_bundle.bars import Row
from outrider_fleet.demo.ledger import Verdict
from outrider_fleet.demo.summary import Summary


def results(summary: Summary, default: str) -> Table:
    """Return teacher and variants on the whole test set, and the agent on what it saw."""
    teacher, agent = summary.teacher, summary.agent
    table = Table("", "accuracy", "KB", "MMACs", "faster", "agrees", title="What became of the teacher")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row(
        "teacher",
        f"{teacher.accuracy:.4f}",
        f"{teacher.bytes / 1000:.1f}",
        f"{teacher.macs / 1e6:.2f}",
        "",
        "",
    )
    for v in summary.variants:
        table.add_row(
            f"{v.id} [green](default)[/]" if v.id == default else v.id,
            f"{v.accuracy:.4f}",
            f"{v.bytes / 1000:.1f}",
            f"{v.macs / 1e6:.2f}",
            "" if v.speedup_vs_teacher is None else f"{v.speedup_vs_teacher:.1f}x",
            f"{v.agreement_with_teacher:.4f}",
        )
    table.add_section()
    table.add_row(f"agent, {agent.frames} frames", f"{agent.accuracy:.4f}")
    return table


def story(summary: Summary, verdict: Verdict) -> str:
    """Return what happened on the line, one fact to a line."""
    agent, mqtt = summary.agent, summary.mqtt
    bins = ", ".join(f"{name} {count}" for name, count in verdict.bins.items())
    return (
        f"frames  {agent.frames}, {agent.dropped} dropped, "
        f"p50 {agent.p50_ms:.2f} ms, p99 {agent.p99_ms:.2f} ms\n"
        f"agent   {agent.variant} on {agent.placement}\n"
        f"bins    {bins}\n"
        f"MQTT {mqtt.protocol}  {mqtt.events} events, {mqtt.telemetry} telemetry batches, "
        f"{mqtt.lost} lost, {verdict.duplicates} doubled, {mqtt.broker}\n"
        f"time    {summary.seconds:.0f} s"
    )


def bars(rows: Sequence[Row]) -> Table:
    """Return one line per bar."""
    table = Table("bar", "value", "", "limit", "unit", "ok", title="Bars")
    for column in (1, 3):
        table.columns[column].justify = "right"
    for row in rows:
        ok = "[green]yes[/]" if row.ok else "[bold red]NO[/]"
        table.add_row(row.id, row.shown, row.sense, f"{row.limit:g}", row.unit, ok)
    return table
