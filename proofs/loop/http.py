"""What a webhook that accepts and never answers costs the loop: two agents take turns, one has it.

They are two processes, so that no thread of the one with a webhook runs in the other; and they are started
anew a few times, because where a model lies in memory makes its runs a percent faster or slower.
"""

import socket
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from outrider_agent.bench.compare import WARM, ratio
from outrider_bundle.bars import Row
from proofs.agent.runs import bundles, say
from proofs.loop import turns
from proofs.loop.agents import Agent, document, scaled

STARTS, PAIRS, FRAMES = 3, 7, 60
MODEL = "mobilenet"
WAYS = ("with", "without")
LONG_S = 3600.0
MS = 1000.0


def rows() -> tuple[Row, ...]:
    """Measure the pairs."""
    bundle = bundles()[MODEL]
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    held = 0
    for number in range(scaled(STARTS)):
        with _webhook() as (url, callers), tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            say(f"http: start {number + 1}")
            points = turns.install(Path(name) / "points")
            given = {way: stack.enter_context(_turns(Path(name), way, bundle, url, points)) for way in WAYS}
            for way in WAYS:
                given[way].give(WARM)
            for _ in range(scaled(PAIRS)):
                for way in WAYS:
                    found[way].append(given[way].give(FRAMES))
            held += len(callers)
    over = ratio(found["with"], found["without"])
    with_ms, without_ms = (MS * statistics.median(found[way]) for way in WAYS)
    how = (
        f"latency from the source giving a frame to the last action having been called, {MODEL} in a child, "
        f"every frame decided on; {len(found['with'])} interleaved pairs of medians of {FRAMES} frames in "
        f"{scaled(STARTS)} starts, half of them {over.low:.3f} to {over.high:.3f}; here {with_ms:.3f} over "
        f"{without_ms:.3f} ms; the webhook has held {held} connections without an answer"
    )
    value = over.median if held else float("nan")
    return (Row(id="http.block", value=value, sense="<=", limit=1.02, unit="ratio", how=how),)


@contextmanager
def _turns(folder: Path, way: str, bundle: Path, url: str, points: Path) -> Iterator[turns.Turns]:
    """Run an agent with or without the webhook and yield what gives it turns."""
    private, path = folder / way, folder / f"{way}.socket"
    private.mkdir()
    hook: list[dict[str, Any]] = [{"kind": "http", "url": url}] if way == "with" else []
    pipeline = {
        "bundle": bundle,
        "source": {"kind": "turn-pictures", "socket": path},
        "actions": [*hook, {"kind": "turn-seen"}],
        "engine": {"isolation": "child", "threads": 1},
        "idle_s": LONG_S,
        "stale_s": LONG_S,
    }
    with turns.Turns(path) as given, Agent(private, document(private, [pipeline]), points):
        yield given


@contextmanager
def _webhook() -> Iterator[tuple[str, list[socket.socket]]]:
    """Accept every connection and never answer; yield its address and those who wait."""
    listener, waiting = socket.create_server(("127.0.0.1", 0), backlog=128), []

    def accept() -> None:
        while True:
            try:
                waiting.append(listener.accept()[0])
            except OSError:  # it was shut down
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/decisions", waiting
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for caller in waiting:
            caller.close()
