"""CPU time from the start of `outrider agent run` to its first decision, over imports + load + first run.

Both are read from outside, on the kernel's clocks of the processes: of the agent and its engine when a
subscriber hears the first decision, of the shortest program when it says that it has run the model. Beside
both: that program with the libraries imported which any such daemon needs, and not a line of this project.
"""

import statistics
import tempfile
from pathlib import Path

from outrider_agent.bench.compare import Ratio, ratio
from outrider_bundle.bars import Row
from outrider_bundle.messages.event import Event
from proofs.agent import daemons
from proofs.agent.runs import bundles, cpu_s, family, say
from tests.fakes.broker import Broker, Listener

ROUNDS = 15
MODEL = "mobilenet"
SLOW_FPS = 0.05
"""One frame at the start and no other until it was measured."""

MS = 1000.0


def rows() -> tuple[Row, ...]:
    """Measure starts in turns."""
    bundles()
    with tempfile.TemporaryDirectory() as name, Broker(Path(name) / "broker") as broker:
        folder = Path(name)
        graph = daemons.graph(MODEL, folder)
        configs = {
            way: daemons.write_config(folder, MODEL, broker.url, way, SLOW_FPS) for way in ("inline", "child")
        }
        first = {way: _agent_s(configs[way], broker.port) for way in configs}
        spent: dict[str, list[float]] = {"inline": [], "child": [], "bare": [], "floor": []}
        for number in range(ROUNDS):
            say(f"start: round {number + 1} of {ROUNDS}")
            for way, config in configs.items():
                spent[way].append(_agent_s(config, broker.port))
            with daemons.bare(graph) as pid:
                spent["bare"].append(cpu_s(pid))
            with daemons.bare(graph, daemons.LIBRARIES) as pid:
                spent["floor"].append(cpu_s(pid))
    inline, child, floor = (ratio(spent[way], spent["bare"]) for way in ("inline", "child", "floor"))
    figures = {way: f"{MS * statistics.median(times):.0f} ms" for way, times in spent.items()}
    how = (
        f"isolation inline, {MODEL} proven with 4 golden vectors, the slot there already, median of {ROUNDS} "
        f"interleaved starts, {_half(inline)}; here {figures['inline']} over {figures['bare']}; child "
        f"{child.median:.3f} ({_half(child)}, {figures['child']} of two processes); first start on a device "
        f"{MS * first['inline']:.0f} and {MS * first['child']:.0f} ms; the bare program with a daemon's "
        f"libraries (msgspec, paho, importlib.metadata, argparse, logging, tomllib) and nothing of ours "
        f"is at {floor.median:.3f} ({_half(floor)})"
    )
    return (Row(id="start.cpu", value=inline.median, sense="<=", limit=1.3, unit="ratio", how=how),)


def _agent_s(config: Path, port: int) -> float:
    """Return the CPU seconds of an agent and its engine up to the first decision that is heard."""
    ears = Listener(port, name="start", filters=("outrider/v1/proof/d/proof/up/evt",))
    with ears, daemons.agent(config) as pid:
        daemons.until(lambda: _decided(ears), f"a decision of {config.stem}")
        return sum(cpu_s(one) for one in family(pid))


def _decided(ears: Listener) -> bool:
    return any(event.kind == "decision" for event in ears.messages("events", Event))


def _half(spread: Ratio) -> str:
    return f"half {spread.low:.3f} to {spread.high:.3f}"
