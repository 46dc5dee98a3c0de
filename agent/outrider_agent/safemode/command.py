"""`outrider agent resume`: the loop let run again after crashes."""

import argparse
import sys
from pathlib import Path

from outrider_agent import lock
from outrider_agent.control.asking import state_dir_of
from outrider_agent.control.client import ask
from outrider_agent.safemode.crashes import Crashes
from outrider_bundle.errors import OutriderError, UsageError

EXAMPLES = """\
examples:
  outrider agent resume --config agent.toml

An agent in safe mode starts its loop now. Without a running agent the crashes are forgotten, and the next
start is one with a loop; `outrider agent run --resume` does both.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.description = "Let the loop run again after crashes."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's TOML file")


def run(arguments: argparse.Namespace) -> int:
    """Tell the agent, or forget the crashes if none runs; return 0.

    Raises:
        UsageError: the configuration does not say where the agent is, or it is not in safe mode.
        OutriderError: the agent does not answer.
    """
    state_dir = state_dir_of(arguments.config)
    try:
        with lock.held(state_dir):
            Crashes(state_dir, 0).forget()
        told = "no agent runs; the next start is one with a loop"
    except UsageError:
        raise
    except OutriderError:  # an agent holds it
        ask(state_dir, {"command": "resume"})
        told = "the loop starts"
    sys.stdout.write(f"{told}\n")
    return 0
