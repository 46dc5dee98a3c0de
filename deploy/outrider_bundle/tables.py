"""What `outrider bundle` prints for people."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from outrider_bundle.manifest import (
    AnomalyDecoder,
    ControlDecoder,
    Manifest,
    RawDecoder,
    RegressionDecoder,
    RelativeTolerance,
    Tensor,
    Variant,
)


def inspection(console: Console, manifest: Manifest, facts: dict[str, str]) -> None:
    """Print a bundle's header: facts, variants, golden vectors and blobs."""
    head = {
        "name": f"{manifest.name} {manifest.version}",
        "for": f"{manifest.app} on {', '.join(manifest.hardware)}",
        "task": manifest.task,
        **_answers(manifest),
        "golden": f"{manifest.golden.shape[0]} samples, {manifest.golden.dtype}",
    }
    facts_table(console, head | _evidence(manifest) | facts)
    console.print(_variants(manifest))
    console.print(_blobs(manifest))


def facts_table(console: Console, facts: dict[str, str]) -> None:
    """Print names and values side by side."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, plain(value))
    console.print(table)


def plain(text: str) -> Text:
    """Return `text` without markup or control characters: it may come from a hostile file."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def size(length: int) -> str:
    """Return a number of bytes for people."""
    kilo = 1000
    if length < kilo:
        return f"{length} B"
    return f"{length / kilo:.1f} KB" if length < kilo * kilo else f"{length / kilo / kilo:.2f} MB"


def _variants(manifest: Manifest) -> Table:
    table = Table(title="Variants, in fallback order", title_justify="left")
    table.add_column("id", no_wrap=True)
    table.add_column("runtime", overflow="fold")
    table.add_column("bytes", justify="right", no_wrap=True)
    for name in ("input", "output", "tolerance"):
        table.add_column(name, overflow="fold")
    lengths = {blob.name: blob.length for blob in manifest.blobs}
    for variant in manifest.ranked():
        total = sum(lengths[file.blob] for file in variant.files)
        table.add_row(
            variant.id,
            f"{variant.runtime}, {variant.precision}",
            size(total),
            plain(", ".join(_tensor(tensor) for tensor in variant.inputs)),
            plain(", ".join(_tensor(tensor) for tensor in variant.outputs)),
            _tolerance(manifest, variant),
        )
    return table


def _blobs(manifest: Manifest) -> Table:
    table = Table(title="Blobs", title_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("bytes", justify="right")
    table.add_column("sha256")
    table.add_column("used by")
    users: dict[str, list[str]] = {}
    for variant in manifest.variants:
        for file in variant.files:
            users.setdefault(file.blob, []).append(f"{variant.id} ({file.role})")
    users.setdefault(manifest.golden.blob, []).append("golden samples")
    for expected in manifest.golden.expected:
        users.setdefault(expected.blob, []).append(f"{expected.variant} (expected)")
    if manifest.evidence is not None and manifest.evidence.report is not None:
        users.setdefault(manifest.evidence.report, []).append("report")
    for blob in manifest.blobs:
        table.add_row(blob.name, f"{blob.length}", blob.sha256[:16], ", ".join(users.get(blob.name, [])))
    return table


def _evidence(manifest: Manifest) -> dict[str, str]:
    if manifest.evidence is None:
        return {}
    evidence = manifest.evidence
    lines = [
        f"{one.variant} {one.accuracy:.4f} (95 %: {one.low:.4f} to {one.high:.4f})"
        for one in evidence.variants
    ]
    text = f"{evidence.samples} samples of {evidence.data}, teacher {evidence.reference:.4f}"
    return {evidence.metric: "; ".join([text, *lines])}


def _answers(manifest: Manifest) -> dict[str, str]:
    """Return what the outputs say: the labels, the names of numbers, or from where on an input is strange."""
    decoder = manifest.outputs[0].decoder
    if isinstance(decoder, RawDecoder):
        return {"labels": _some([f"none, '{output.name}' is raw" for output in manifest.outputs])}
    if isinstance(decoder, RegressionDecoder):
        return {"names": _some(list(decoder.names))}
    if isinstance(decoder, ControlDecoder):
        return {"actions": f"{decoder.space}: {_some(list(decoder.names))}"}
    if isinstance(decoder, AnomalyDecoder):
        return {"threshold": f"{decoder.threshold:g} ({decoder.method})"}
    return {"labels": _some(list(decoder.labels))}


def _tensor(tensor: Tensor) -> str:
    return f"{tensor.dtype} {'x'.join(str(dimension) for dimension in tensor.shape)}"


def _tolerance(manifest: Manifest, variant: Variant) -> str:
    for expected in manifest.golden.expected:
        if expected.variant == variant.id:
            limit = expected.tolerance
            if isinstance(limit, RelativeTolerance):
                return f"{limit.relative:g} relative"
            return f"{limit.steps:g} steps"
    return variant.status


def _some(names: list[str]) -> str:
    shown = 12
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
