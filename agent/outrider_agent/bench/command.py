"""`outrider agent bench`: what the agent's loop costs over the bare runtime, here."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from outrider_agent import logs
from outrider_agent.config import Isolation

EXAMPLES = """\
examples:
  outrider agent bench sorter.orb
  outrider agent bench sorter.orb --isolation inline --threads 2
  outrider agent bench sorter.orb --variant onnx-int8 --video line.mp4 --json

Two sides take turns: the whole agent (mailbox, preprocessing, engine, decoder, policy, telemetry) on
frames that are in memory already, and the same variant in its runtime alone, on an input that does not
change. Compared is processor time, the engine's own process included; decoding of video is in neither.
The milliseconds are this machine's. Nothing is installed or left behind.

Exit codes: 2 arguments, 10 broken bundle, 12 nothing to decide on, 21 no variant proves itself here.
"""

FRAMES, PAIRS = 30, 15
MOST = 100_000


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.description = "Measure the agent's processor time over the bare runtime's."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle, NAME.orb")
    parser.add_argument("--variant", metavar="ID", help="default: the best that proves itself")
    parser.add_argument(
        "--isolation",
        choices=get_args(Isolation),
        default="auto",
        help="the engine in a process of its own, or inline; default: auto, as in a configuration",
    )
    parser.add_argument("--threads", type=_count, metavar="N", help="of one inference; the runtime's own")
    parser.add_argument("--video", type=Path, metavar="FILE", help="frames; default: random ones, 640x480")
    parser.add_argument("--frames", type=_count, default=FRAMES, metavar="N", help=f"of a block; {FRAMES}")
    parser.add_argument("--pairs", type=_count, default=PAIRS, metavar="N", help=f"of blocks; {PAIRS}")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print and return 0.

    Raises:
        UsageError: there is no such video.
        BundleError: the bundle is broken, or not for an agent.
        ProofError: no variant reproduces its golden vectors here.
        EngineError: the loop failed on a frame.
    """
    # The daemon reads this module too, and starts without what only a measurement needs.
    from outrider_agent.bench import measuring, report  # noqa: PLC0415

    logs.start("error")
    wish = measuring.Wish(
        bundle=arguments.bundle,
        variant=arguments.variant,
        isolation=arguments.isolation,
        threads=arguments.threads,
        video=arguments.video,
        frames=arguments.frames,
        pairs=arguments.pairs,
    )
    result = measuring.measure(wish, _progress(arguments.pairs))
    sys.stdout.write((report.as_json if arguments.json else report.as_text)(result) + "\n")
    return 0


def _progress(pairs: int) -> Callable[[int], None]:
    """Return what shows a person how far it is."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done + 1} of {pairs} pairs" + ("\n" if done + 1 == pairs else ""))
            sys.stderr.flush()

    return show


def _count(text: str) -> int:
    """Return a number from 1 to 100,000; argparse answers any ValueError with exit code 2."""
    number = int(text)
    if not 1 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"{number} is not 1 to {MOST}")
    return number
