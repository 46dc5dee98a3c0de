"""`outrider agent check`: every fault of a configuration at once, without hardware."""

import argparse
import json
import sys
from pathlib import Path

import msgspec

from outrider_bundle import settings
from outrider_bundle.errors import UsageError

EXAMPLES = """\
examples:
  outrider agent check agent.toml
  outrider agent check agent.toml --json

Judged are the file and all options, the files and programs that it names, the bundles (whole, signed, for
this device, a task to act on), and whether sources, rules, cascades and actions fit the models: a label that
no model has is a fault. No camera, broker or output is touched. A bundle that is not there yet is a warning.

Exit codes: 0 no faults, 2 faults; all of them are printed.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.description = "Find every fault of a configuration and of its bundles, without hardware."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the agent's TOML file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Check and print; return 0, or with `--json` 2 if there are faults.

    Raises:
        UsageError: there are faults; the message lists them all.
    """
    from outrider_agent.checking import check as checks  # noqa: PLC0415 - the parser needs none of it

    report = checks.check(arguments.config)
    if arguments.json:
        sys.stdout.write(f"{json.dumps(msgspec.to_builtins(report))}\n")
        return UsageError.exit_code if report.faults else 0
    for warning in report.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if report.faults:
        raise UsageError(settings.summary(str(arguments.config), [*report.faults]), settings.CURE)
    sys.stdout.write(f"{checks.text(report)}\n")
    return 0
