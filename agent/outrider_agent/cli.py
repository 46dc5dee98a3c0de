"""`outrider agent`: argparse and nothing heavier, since this is how a device starts."""

import argparse
import json
import sys
from pathlib import Path

from outrider_agent import admission, config, daemon, logs
from outrider_agent.bench import command as bench
from outrider_agent.control import commands
from outrider_bundle.container import Bundle

EXAMPLES = """\
examples:
  outrider agent check agent.toml
  outrider agent run --config agent.toml
  outrider agent run --config agent.toml --summary summary.json --log-level debug
  outrider agent status --config agent.toml
  outrider agent swap sorter-2.orb --config agent.toml --shadow 0.25
  outrider agent bench sorter.orb --isolation child

`run` ends when the input does (images without `loop`) or on SIGTERM and SIGINT, with exit code 0.
Other exit codes: 2 configuration, 3 a part is not installed, 10 broken bundle, 11 signature,
12 bundle for another device, 21 no variant reproduces its golden vectors here.
"""


def main(argv: list[str]) -> int:
    """Run `outrider agent` with the arguments behind its name; return the exit code.

    Raises:
        OutriderError: with a message for the user and an exit code.
    """
    arguments = _parser().parse_args(argv)
    if arguments.command in commands.COMMANDS:
        return commands.COMMANDS[arguments.command](arguments)
    if arguments.command == "bench":
        return bench.run(arguments)
    read = config.read(arguments.config)
    if arguments.command == "check":
        return _check(read, arguments.config, as_json=arguments.json)
    logs.start(arguments.log_level)
    return daemon.run(read, arguments.summary)


def _check(read: config.Config, path: Path, *, as_json: bool) -> int:
    names = [pipeline.table.id for pipeline in read.pipelines]
    for pipeline in read.pipelines:
        if pipeline.table.bundle.exists():  # it may come later
            with Bundle.open(pipeline.table.bundle) as bundle:
                admission.check_device(bundle.manifest, read.device)
                admission.check_task(bundle.manifest)
    if as_json:
        sys.stdout.write(
            json.dumps({"config": str(path), "device": read.device.id, "pipelines": names}) + "\n"
        )
    else:
        sys.stdout.write(f"{path}: device {read.device.id}, pipelines {', '.join(names)}: no faults\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="outrider agent",
        description="Run bundles on this device: perceive, decide, act, report.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = subparsers.add_parser("run", help="run until stopped", epilog=EXAMPLES, formatter_class=raw)
    run.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's TOML file")
    run.add_argument("--summary", type=Path, metavar="FILE", help="write what the run came to, as JSON")
    run.add_argument("--log-level", choices=logs.LEVELS, default="info", help="default: info")
    check = subparsers.add_parser(
        "check", help="find every fault of a configuration and of bundles that are there, without hardware"
    )
    check.add_argument("config", type=Path, metavar="CONFIG", help="the agent's TOML file")
    check.add_argument("--json", action="store_true", help="print the result as JSON")
    commands.add(subparsers)
    bench.add(
        subparsers.add_parser(
            "bench",
            help="measure the loop's processor time against the bare runtime",
            epilog=bench.EXAMPLES,
            formatter_class=raw,
        )
    )
    return parser
