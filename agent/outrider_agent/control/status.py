"""`outrider agent status`: how the running agent is."""

import argparse
from pathlib import Path

from outrider_agent.control import text
from outrider_agent.control.asking import show, state_dir_of
from outrider_agent.control.client import ask

EXAMPLES = """\
examples:
  outrider agent status --config agent.toml
  outrider agent status --config agent.toml --json

Exit code 1 if no agent runs.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.description = "Ask the running agent how it is."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's TOML file")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print what the agent says of itself; return 0.

    Raises:
        UsageError: the configuration does not say where the agent is.
        OutriderError: no agent answers there.
    """
    described = ask(state_dir_of(arguments.config), {"command": "status"})
    show(described, text.status, as_json=arguments.json)
    return 0
