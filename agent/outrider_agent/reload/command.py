"""`outrider agent reload`: the configuration read anew by the running agent."""

import argparse
import sys
from pathlib import Path

from outrider_agent.control import text
from outrider_agent.control.asking import show, state_dir_of
from outrider_agent.control.client import ask

SILENCE_S = 3600.0
"""The agent itself bounds each step; this is only for one that has stopped altogether."""

EXAMPLES = """\
examples:
  outrider agent reload --config agent.toml
  outrider agent reload --config agent.toml --json
  systemctl reload outrider-agent

The running agent reads the file that it was started with. With any fault nothing changes, and all faults are
said. Pipelines that are as they were go on without a gap; others are built and proven beside what runs, and
take over when all of them are. [device], [link] and what else is not of a pipeline needs a restart, and is
named. SIGHUP does the same and says it in the log.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.description = "Have the running agent read its configuration again."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's TOML file")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Have the agent reload and print what came of it; return 0.

    Raises:
        UsageError: the configuration has faults.
        OutriderError: no agent answers, or it refused; it runs on as before then.
    """
    state_dir = state_dir_of(arguments.config)
    show(ask(state_dir, {"command": "reload"}, _tell, SILENCE_S), text.reload, as_json=arguments.json)
    return 0


def _tell(step: str) -> None:
    sys.stderr.write(f"{text.plain(step)}\n")
    sys.stderr.flush()
