"""`outrider agent`: argparse and nothing heavier, since this is how a device starts.

Each command is a module with `add(parser)` and `run(arguments)`, and only the one that is meant is imported.
"""

import argparse
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

EXAMPLES = """\
examples:
  outrider agent config --example image --out line
  outrider agent check line/agent.toml
  outrider agent run --config agent.toml
  outrider agent run --config agent.toml --summary summary.json --log-level debug
  outrider agent status --config agent.toml
  outrider agent snapshot --config agent.toml
  outrider agent record --config agent.toml --seconds 60 --out belt.avi
  outrider agent swap sorter-2.orb --config agent.toml --shadow 0.25
  outrider agent reload --config agent.toml
  outrider agent resume --config agent.toml
  outrider agent safe-state --config agent.toml
  outrider agent bench sorter.orb --isolation child

`run` ends when the input does (images without `loop`) or on SIGTERM and SIGINT, with exit code 0.
On SIGHUP it reads its file again. After crashes in a row it starts without its loop, until `resume`.
Other exit codes: 2 configuration, 3 a part is not installed, 10 broken bundle, 11 signature,
12 bundle for another device, 21 no variant reproduces its golden vectors here.
"""

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("", "run until stopped"),
    "check": ("checking.command", "find every fault of a configuration and of its bundles, without hardware"),
    "config": ("examples.command", "print a configuration that runs, with all that it needs"),
    "status": ("control.status", "ask the running agent how it is"),
    "swap": ("control.swap", "give the running agent another bundle, without a gap"),
    "reload": ("reload.command", "have the running agent read its configuration again"),
    "resume": ("safemode.command", "let the loop run again after crashes"),
    "snapshot": ("viewing.snapshot", "save what the running agent sees, what it decides and why"),
    "record": ("viewing.record", "record what the running agent sees and decides as an annotated film"),
    "safe-state": ("safing", "bring all outputs into their safe state, after an agent was killed"),
    "bench": ("bench.command", "measure the loop's processor time against the bare runtime"),
}
"""What each is, in the order of help: its module, and a line."""

Add = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int]


def main(argv: list[str]) -> int:
    """Run `outrider agent` with the arguments behind its name; return the exit code.

    Raises:
        OutriderError: with a message for the user and an exit code.
    """
    arguments = _parser(argv).parse_args(argv)
    return _command(arguments.command)[1](arguments)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser of what is meant; of the other commands it knows no more than their names."""
    meant = argv[0] if argv else ""
    parser = argparse.ArgumentParser(
        prog="outrider agent",
        description="Run bundles on this device: perceive, decide, act, report.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, line) in COMMANDS.items():
        if meant not in COMMANDS or name == meant:
            subparser = subparsers.add_parser(name, help=line)
            if name == meant:
                _command(name)[0](subparser)
    return parser


def _command(name: str) -> tuple[Add, Run]:
    place = COMMANDS[name][0]
    if not place:
        return _add_run, _run
    module = importlib.import_module(f"outrider_agent.{place}")
    return cast("Add", module.add), cast("Run", module.run)


def _add_run(parser: argparse.ArgumentParser) -> None:
    from outrider_agent import logs  # noqa: PLC0415

    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's TOML file")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write what the run came to, as JSON")
    parser.add_argument("--log-level", choices=logs.LEVELS, default="info", help="default: info")
    parser.add_argument(
        "--log-format",
        choices=logs.FORMS,
        default="auto",
        help="default: auto, which is journal below systemd and plain elsewhere",
    )
    parser.add_argument("--resume", action="store_true", help="run the loop even if the last starts crashed")


def _run(arguments: argparse.Namespace) -> int:
    from outrider_agent import config, daemon, logs  # noqa: PLC0415

    read = config.read(arguments.config)
    logs.start(arguments.log_level, form=arguments.log_format)
    return daemon.run(read, arguments.summary, arguments.config, resume=arguments.resume)
