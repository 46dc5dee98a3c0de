"""One measurement as the command line asks for it."""

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from outrider_agent.bench import pictures
from outrider_agent.bench.compare import interleave
from outrider_agent.bench.report import Report, report
from outrider_agent.bench.setup import Setup
from outrider_agent.bench.sides import AgentSide, Side
from outrider_agent.config import Isolation
from outrider_bundle.container import Bundle


class Wish(Struct, frozen=True, kw_only=True):
    """What to measure and how long; `video` is None for random frames, the rest as in `Setup`."""

    bundle: Path
    variant: str | None = None
    isolation: Isolation = "auto"
    threads: int | None = None
    video: Path | None = None
    frames: int = 30
    pairs: int = 15


def measure(wish: Wish, progress: Callable[[int], None] = lambda _: None) -> Report:
    """Run both sides in turns.

    Args:
        wish: what is asked for.
        progress: told how many pairs are done.

    Raises:
        UsageError: there is no such video.
        BundleError: the bundle is broken, or not for an agent.
        ProofError: no variant reproduces its golden vectors here.
        EngineError: the loop failed on a frame.
    """
    with Bundle.open(wish.bundle) as bundle:
        images = pictures.video(wish.video) if wish.video else pictures.noise(bundle.manifest)
    setup = Setup(
        bundle=wish.bundle,
        images=images,
        variant=wish.variant,
        isolation=wish.isolation,
        threads=wish.threads,
    )
    with AgentSide(setup) as agent:
        sides: dict[str, Side] = {"agent": agent, "bare": agent.bare()}
        spent = interleave(sides, wish.pairs, wish.frames, progress)
        return report(agent.described, spent["agent"], spent["bare"], wish.frames)
