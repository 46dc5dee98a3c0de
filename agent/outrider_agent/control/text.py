"""Answers of the agent for people. An agent of another version may leave out something: so does the text."""

from collections.abc import Iterator, Mapping
from typing import Any

Answer = Mapping[str, Any]

INDENT = 4


def status(answer: Answer) -> str:
    """Return what `Agent.describe` says, a paragraph per pipeline."""
    head = plain(f"run {answer.get('run', '?')}, link {answer.get('link', '?')}")
    if answer.get("phase") == "SAFE_MODE":
        head += "\nSAFE MODE: the loop does not run; 'outrider agent resume' lets it"
    if answer.get("reason"):
        head += f"\n{plain(str(answer['reason']))}"
    pipelines = answer.get("pipelines") or {}
    return "\n\n".join([head, *(_pipeline(name, one) for name, one in pipelines.items())])


def swap(answer: Answer) -> str:
    """Return what `Agent.swap` came to."""
    shadow, note = answer.get("shadow"), answer.get("note")
    both = f"swapped {answer.get('before', '?')} for {answer.get('after', '?')}"
    how = f"variant {answer.get('variant', '?')}, mode {answer.get('mode', '?')}"
    lines = [f"{both}, {how}", f"shadow: {_shadow(shadow)}" if shadow else "shadow: none"]
    lines += [f"note: {note}"] if note else []
    return "\n".join(map(plain, lines))


def reload(answer: Answer) -> str:
    """Return what a reload came to."""
    said = [
        f"{key}: {', '.join(answer[key])}"
        for key in ("kept", "changed", "added", "removed")
        if answer.get(key)
    ]
    if answer.get("restart"):
        said.append(f"needs a restart, and is as it was: {', '.join(answer['restart'])}")
    return "\n".join(map(plain, said or ["no pipeline was changed"]))


def plain(text: str) -> str:
    """Return `text` without control characters: names may come from a hostile file."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _pipeline(name: str, one: Answer) -> str:
    lines = [(name, one.get("state", "?")), *_lines(one)]
    width = INDENT + max(len(key) for key, _ in lines)
    head, *rest = [(key, plain(str(value))) for key, value in lines]
    shown = [f"{'':{INDENT}}{key:<{width - INDENT}}  {value}" for key, value in rest]
    return "\n".join([f"{plain(head[0]):<{width}}  {head[1]}", *shown])


def _lines(one: Answer) -> Iterator[tuple[str, str]]:
    if one.get("reason"):
        yield "reason", one["reason"]
    yield "bundle", f"{one.get('bundle', '?')} {one.get('version', '?')}, {str(one.get('digest', '?'))[:16]}"
    yield "variant", f"{one.get('variant', '?')}, runtime {one.get('runtime', '?')}"
    yield "runs on", _placement(one.get("placement") or {})
    yield (
        "engine",
        f"{one.get('isolation', '?')}, process {one.get('pid', '?')}, {one.get('restarts', 0)} restarts",
    )
    counted = ("dropped", "late", "errors")
    yield "frames", ", ".join([str(one.get("frames", 0)), *(f"{one.get(key, 0)} {key}" for key in counted)])
    yield "loop", f"p50 {_ms(one.get('p50_ms'))}, p99 {_ms(one.get('p99_ms'))}"
    if one.get("shadow"):
        yield "shadow", _shadow(one["shadow"])


def _placement(placement: Answer) -> str:
    """Return device, backends with their nodes, and what was asked for where that is not all of it."""
    nodes = placement.get("nodes") or {}
    shared = ", ".join(f"{count} nodes {name}" for name, count in nodes.items())
    parts = [str(placement.get("device", "?")), shared or str(placement.get("backend", "?"))]
    if placement.get("threads"):
        parts.append(f"{placement['threads']} threads")
    if placement.get("reason"):
        parts.append(f"asked was {placement.get('asked') or 'another place'}: {placement['reason']}")
    return "; ".join(parts)


def _shadow(shadow: Answer) -> str:
    agreement = shadow.get("agreement")
    agreed = f"{agreement:.1%}" if isinstance(agreement, int | float) else "?"
    times = f"p50 {_ms(shadow.get('p50_ms'))}, p95 {_ms(shadow.get('p95_ms'))}"
    return f"{shadow.get('frames', 0)} frames, agreement {agreed}, {times}, {shadow.get('errors', 0)} errors"


def _ms(value: object) -> str:
    return f"{value:.3g} ms" if isinstance(value, int | float) else "?"
