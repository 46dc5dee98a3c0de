"""`outrider agent swap`: another bundle for the running agent."""

import argparse
import sys
from pathlib import Path
from typing import Any

from outrider_agent.control import text
from outrider_agent.control.asking import choose, show, state_dir_of
from outrider_agent.control.client import ask
from outrider_bundle.errors import UsageError

SHARE = 0.25
FRAMES = 200
SILENCE_S = 3600.0
"""The agent itself bounds each step of a swap; this is only for one that has stopped altogether."""

EXAMPLES = """\
examples:
  outrider agent swap sorter-2.orb --config agent.toml
  outrider agent swap sorter-2.orb --config agent.toml --pipeline belt --shadow 0.5 --frames 1000
  outrider agent swap sorter-2.orb --config agent.toml --mode replace

The new bundle is checked and proven as at the start. With `overlap` it is loaded beside the running
one, computes a share of the live frames in its shadow, and takes over between two frames; decisions
go on. With `replace` the old one is freed first: for devices that only one model can hold. Ctrl-C ends
the waiting, not the swap. The configuration file is not changed.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.description = "Give the running agent another bundle, without a gap."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the new bundle, NAME.orb")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's TOML file")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--pipeline", default="", metavar="ID", help="needed where there are several")
    parser.add_argument("--mode", choices=("overlap", "replace"), default="overlap", help="default: overlap")
    parser.add_argument(
        "--shadow",
        type=float,
        metavar="SHARE",
        help=f"share of the frames that the new one computes too, 0 to 1; default: {SHARE}, with replace 0",
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=FRAMES,
        metavar="N",
        help=f"how many of them before it takes over; default: {FRAMES}",
    )
    parser.add_argument(
        "--agreement",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="the old one stays where the new one agrees with it on less; default: 0",
    )


def run(arguments: argparse.Namespace) -> int:
    """Have the agent swap bundles and print what came of it; return 0.

    Raises:
        UsageError: the command line or the configuration is wrong.
        OutriderError: no agent answers, or it refused; the old bundle runs on then.
    """
    wish = _wish(arguments)
    state_dir = state_dir_of(arguments.config)
    running = ask(state_dir, {"command": "status"}).get("pipelines") or {}
    request = {
        "command": "swap",
        "pipeline": choose(running, arguments.pipeline),
        "bundle": str(arguments.bundle.absolute()),  # the agent's working directory is another
        "wish": wish,
    }
    show(ask(state_dir, request, _tell, SILENCE_S), text.swap, as_json=arguments.json)
    return 0


def _wish(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return how the swap is to be done, see `order.Wish`."""
    mode, share = arguments.mode, arguments.shadow
    frames, agreement = arguments.frames, arguments.agreement
    if mode == "replace" and (share or agreement):
        raise UsageError(
            "With --mode replace nothing runs in the shadow", "Leave out --shadow and --agreement"
        )
    for name, value in (("shadow", share), ("agreement", agreement)):
        if value is not None and not 0.0 <= value <= 1.0:
            raise UsageError(f"--{name} is {value:g}", "Give a share from 0 to 1")
    if frames < 1:
        raise UsageError(f"--frames is {frames}", "Give at least 1, or --shadow 0 for no shadow")
    share = SHARE if share is None else share
    if mode == "replace" or share == 0.0:
        if agreement:
            raise UsageError("--agreement needs a shadow", "Give --shadow a share above 0")
        return {"mode": mode, "frames": 0}
    return {"mode": mode, "share": share, "frames": frames, "agreement": agreement}


def _tell(step: str) -> None:
    sys.stderr.write(f"{text.plain(step)}\n")
    sys.stderr.flush()
