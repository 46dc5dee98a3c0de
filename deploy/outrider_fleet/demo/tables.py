"""The closing tables: results, and bars."""

from collections.abc import Sequence

from rich.table import Table

from outrider_bundle.bars import Row
from outrider_fleet.demo.ledger import Verdict
from outrider_fleet.demo.summary import Summary


def results(summary: Summary, verdict: Verdict, default: str) -> Table:
    """Return teacher, variants and what happened on the line."""
    teacher, agent, mqtt = summary.teacher, summary.agent, summary.mqtt
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
    table.add_row(f"agent: {agent.variant}", f"{agent.accuracy:.4f}", "", "", "", "")
    table.caption = (
        f"{agent.frames} frames, {agent.dropped} dropped, "
        f"p50 {agent.p50_ms:.2f} ms, p99 {agent.p99_ms:.2f} ms on {agent.placement}\n"
        f"{mqtt.events} events, {mqtt.telemetry} telemetry batches, {mqtt.lost} lost, "
        f"{verdict.duplicates} doubled over MQTT {mqtt.protocol} ({mqtt.broker})\n"
        f"bins: {', '.join(f'{name} {count}' for name, count in verdict.bins.items())}\n"
        f"{summary.seconds:.0f} s in all"
    )
    return table


def bars(rows: Sequence[Row]) -> Table:
    """Return one line per bar."""
    table = Table("bar", "value", "", "limit", "unit", "ok", title="Bars")
    for column in (1, 3):
        table.columns[column].justify = "right"
    for row in rows:
        ok = "[green]yes[/]" if row.ok else "[bold red]NO[/]"
        table.add_row(row.id, f"{row.value:.5g}", row.sense, f"{row.limit:g}", row.unit, ok)
    return table
