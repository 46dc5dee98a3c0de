"""`outrider agent config`: a configuration that runs, to begin with."""

import argparse
import sys
from pathlib import Path

from outrider_agent.examples.texts import NAMES, bundle, text
from outrider_bundle import atomic
from outrider_bundle.errors import UsageError

CONFIG = "agent.toml"

EXAMPLES = """\
examples:
  outrider agent config --example image
  outrider agent config --example sensor --out spindle
  outrider agent run --config spindle/agent.toml

  image    pictures out of a folder, a classifier, rules
  sensor   windows of samples, an anomaly score, rules with hysteresis
  control  a plant of gymnasium, a policy network, its actions; needs pip install 'outrider[gym]'

Each is commented, with what can take the place of what: cameras, MQTT, GPIO, Modbus, webhooks, safe states,
cascades, shared sources. With --out the folder has all that it needs, and the agent ends by itself.

Exit codes: 1 a file cannot be written; 2 arguments, or the folder has a configuration already.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.description = "Print a commented configuration that runs."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--example", choices=NAMES, required=True, help="which one")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write it there with its bundle and its input; made if need be",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print or write the example; return 0.

    Raises:
        UsageError: the folder has a configuration already.
        OutriderError: a file cannot be written.
    """
    name, folder = arguments.example, arguments.out
    if folder is None:
        command = f"outrider agent config --example {name} --out DIR"
        sys.stdout.write(f"# Its bundle and its input come with: {command}\n{text(name)}")
        return 0
    path = write(name, folder)
    sys.stdout.write(f"{path}: run it with: outrider agent run --config {path}\n")
    return 0


def write(name: str, folder: Path) -> Path:
    """Write the example `name` with all that it needs into `folder`; return the path of its configuration.

    Raises:
        UsageError: one is there already.
        OutriderError: a file cannot be written.
    """
    path = folder / CONFIG
    if path.exists():
        raise UsageError(f"{path} exists", "Choose another folder, or move that one away")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_file(folder / f"{name}.orb", [bundle(name)])
        _input(name, folder)
    except OSError as error:
        raise atomic.unwritable(folder, error) from error
    atomic.write_file(path, [text(name, folder.absolute()).encode()])
    return path


def _input(name: str, folder: Path) -> None:
    from outrider_agent.examples import inputs  # noqa: PLC0415 - to print a text takes no OpenCV

    if name == "image" and not (folder / "frames").exists():
        inputs.frames(folder / "frames")
    elif name == "sensor":
        inputs.windows(folder / "windows.npz")
