"""What `outrider convert` prints for people."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from outrider_converter.report import Report, VariantReport
from outrider_converter.reproduce import Comparison
from outrider_converter.targets import Target

NOTES = {
    "accuracy": "accuracy: on the test split",
    "agreement": "agreement: share of the test split answered like the teacher, for there are no labels",
    "r2": "r2: coefficient of determination to the teacher's numbers, on the test split",
    "dice": "dice: share of the objects that both the variant and the teacher find, on the test split",
    "cosine": "cosine: median between the outputs and the float model's, on the test split",
}


def show(report: Report, out: Path, console: Console) -> None:
    """Print the closing table."""
    table = Table(title=f"{report.name} {report.version}", title_justify="left")
    names = ["variant", report.metric, "drop", "cosine", "KB", "M MACs", "ms", "times"]
    if report.metric == "accuracy":
        names.append("agrees")
    if report.metric == "cosine":
        names = [name for name in dict.fromkeys(names) if name != "drop"]
    for name in names:
        table.add_column(name, justify="left" if name == "variant" else "right", no_wrap=True)
    rows = [_teacher(report), *(_variant(one, report) for one in report.variants)]
    for row in rows:
        table.add_row(*(row.get(name, "") for name in names))
    console.print(table)
    console.print(f"* default; {NOTES[report.metric]}", style="dim")
    console.print("times: as fast as the teacher in the same runtime, on one thread", style="dim")
    _remarks(report, console)
    console.print(
        f"{out}: bundle, report.html, report.json, predictions.json; {report.seconds:.0f} s", markup=False
    )


def _remarks(report: Report, console: Console) -> None:
    for v in report.variants:
        if "lacks" in v.kernel:
            console.print(f"{v.id}: {v.kernel}", markup=False)
    for target in report.targets:
        if target.figures != "measured":
            console.print(f"{target.name}: figures for this target are {target.figures}", markup=False)
    for row in report.saturation:
        console.print(f"{row.id}: layer {row.layer} can saturate: {row.share:.2%}; {row.note}", markup=False)
    for one in report.left_out:
        console.print(f"left out: {one.id}: {one.reason}", markup=False)


def _teacher(report: Report) -> dict[str, str]:
    teacher = report.teacher
    row = {"variant": "teacher", "KB": f"{teacher.bytes / 1e3:.1f}", "M MACs": f"{teacher.macs / 1e6:.2f}"}
    return row | ({"accuracy": f"{teacher.accuracy:.2%}"} if report.metric == "accuracy" else {})


def _variant(v: VariantReport, report: Report) -> dict[str, str]:
    return {
        "variant": f"{v.id} *" if v.rank == 0 else v.id,
        "agrees": f"{v.agreement_with_teacher:.2%}",
        report.metric: f"{v.accuracy:.2%}",
        "drop": f"{v.drop:.2f}",
        "cosine": "-" if v.cosine is None else f"{v.cosine:.4f}",
        "KB": f"{v.bytes / 1e3:.1f}",
        "M MACs": f"{v.macs / 1e6:.2f}",
        "ms": f"{v.latency.p50_ms:.4f}",
        "times": "-" if v.speedup_vs_teacher is None else f"{v.speedup_vs_teacher:.1f}",
    }


def show_targets(targets: tuple[Target, ...], console: Console) -> None:
    """Print what can be converted for."""
    table = Table(title="Targets", title_justify="left")
    for name in ("target", "what it is", "runtimes", "needs", "figures"):
        table.add_column(name, overflow="fold", no_wrap=name == "target")
    for one in targets:
        table.add_row(one.name, one.title, ", ".join(one.runtimes), ", ".join(one.isa) or "-", one.figures)
    console.print(table)
    console.print("A target of your own is a TOML file like these: --target path/to/mine.toml", style="dim")


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print whether a bundle could be made again, and if not, what was different."""
    table = Table(title="Made again", title_justify="left")
    for name in ("variant", "file", "bytes"):
        table.add_column(name)
    for one in comparison.files:
        verdict = "same" if one.same else "differ" if one.found else "missing"
        table.add_row(one.variant, one.file, verdict, style="" if one.same else "red")
    console.print(table)
    for cause in comparison.causes:
        console.print(f"different now: {cause}", markup=False)
