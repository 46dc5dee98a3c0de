"""What a swap costs in dropped frames: 50 a second, a 9 ms model, and a swap-free control between any two.

A segment is the time that one swap takes and a moment after it; the control that follows is as long.
"""

import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from outrider_agent.config import Engine
from outrider_bundle.bars import Row
from proofs.agent.runs import apart, say
from proofs.agent.video import frames
from proofs.engine.machine import Others
from proofs.engine.plug_ins import Camera, Watch, part
from proofs.engine.running import Agent, Setting, bundles, play
from proofs.engine.swaps import IMAGES, ORDER

SWAPS = 100
FPS = 50.0
TAIL_S = 0.2


def rows() -> tuple[Row, ...]:
    """Measure it."""
    found = apart(__name__, "measured", {name: str(path) for name, path in bundles().items()}, SWAPS)
    swap, control = found["swap"], found["control"]
    return (
        Row(
            id="swap.lost",
            value=swap["dropped"] / swap["offered"] - control["dropped"] / control["offered"],
            sense="<=",
            limit=0.002,
            unit="share",
            how=(
                f"MobileNetV2 on one thread, {FPS:g} frames a second, {SWAPS} overlap swaps round three "
                f"bundles, each followed by a control of equal length; {swap['dropped']} of "
                f"{swap['offered']} frames dropped during swaps, {control['dropped']} of "
                f"{control['offered']} without; here a swap takes {found['swap_s']:.2f} s and other "
                f"processes used {found['others']:.2f} cores meanwhile"
            ),
        ),
    )


def measured(paths: dict[str, str], swaps: int) -> dict[str, Any]:
    """Swap and do not swap in turns; return frames offered and dropped in both, by bundle too."""
    watch = Watch()
    setting = Setting(
        bundle=Path(paths["first"]),
        source=part("camera", Camera([*frames(IMAGES)], FPS)),
        watches=(watch,),
        engine=Engine(isolation="child", threads=1),
    )

    def scenario(agent: Agent) -> dict[str, Any]:
        segments: dict[str, list[tuple[int, int]]] = {}
        length_s = 0.0
        time.sleep(1.0)
        others = Others()
        for number, name in enumerate(islice(cycle(ORDER), swaps), 1):
            before, begun_s = agent.status(), time.monotonic()
            agent.swap(Path(paths[name]))
            swapped_s = time.monotonic() - begun_s
            length_s += swapped_s
            time.sleep(TAIL_S)
            between = agent.status()
            time.sleep(swapped_s + TAIL_S)
            after = agent.status()
            segments.setdefault("swap", []).append(_counted(before, between))
            segments.setdefault(f"swap to {name}", []).append(_counted(before, between))
            segments.setdefault("control", []).append(_counted(between, after))
            segments.setdefault(f"control of {name}", []).append(_counted(between, after))
            if not number % 10:
                say(f"lost: {number} of {swaps}; {_sums(segments)}")
        return {**_sums(segments), "swap_s": length_s / swaps, "others": others.cores()}

    return play(setting, scenario)


def _counted(before: dict[str, Any], after: dict[str, Any]) -> tuple[int, int]:
    """Return frames offered and dropped between two statuses."""
    frames_, dropped = (after[key] - before[key] for key in ("frames", "dropped"))
    return frames_ + dropped, dropped


def _sums(segments: dict[str, list[tuple[int, int]]]) -> dict[str, dict[str, int]]:
    return {
        name: {"offered": sum(o for o, _ in found), "dropped": sum(d for _, d in found)}
        for name, found in segments.items()
    }
