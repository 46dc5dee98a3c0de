"""`outrider agent snapshot`: what the running agent sees, what it decides and why, as files."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider_agent.control.asking import choose, show, state_dir_of
from outrider_agent.control.client import ask
from outrider_agent.control.text import plain
from outrider_bundle.errors import OutriderError, UsageError

if TYPE_CHECKING:
    from outrider_agent.viewing.received import Received

WAIT_S, MAX_WAIT_S = 10.0, 300.0
GRACE_S = 10.0
"""Beyond the wait: encoding and sending."""
ABOUT = ("bundle", "version", "variant")
"""What is kept of the pipeline's status."""

EXAMPLES = """\
examples:
  outrider agent snapshot --config agent.toml
  outrider agent snapshot --config agent.toml --pipeline belt --out snapshots
  outrider agent snapshot --config agent.toml --wait 60 --json

Three files are written, with your rights: the frame as the model got it (png, or npy for samples of
numbers), the same annotated, and what was perceived and decided, with the policy's reasons, as JSON.

Exit codes: 1 no agent runs, or no frame came in time; 2 arguments.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.description = "Save what the running agent sees, what it decides and why."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's TOML file")
    parser.add_argument("--pipeline", default="", metavar="ID", help="needed where there are several")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="default: this folder")
    parser.add_argument(
        "--wait", type=float, default=WAIT_S, metavar="SECONDS", help=f"for a frame; default: {WAIT_S:g}"
    )
    parser.add_argument("--json", action="store_true", help="print the JSON that is saved")


def run(arguments: argparse.Namespace) -> int:
    """Ask for a view, save it, print it; return 0.

    Raises:
        UsageError: the command line or the configuration is wrong.
        OutriderError: no agent answers, no frame came, or the files cannot be written.
    """
    if not 0.0 < arguments.wait <= MAX_WAIT_S:
        raise UsageError(f"--wait is {arguments.wait:g}", f"Give seconds, up to {MAX_WAIT_S:g}")
    # The parser needs no OpenCV.
    from outrider_agent.viewing.annotate import words  # noqa: PLC0415
    from outrider_agent.viewing.saving import save  # noqa: PLC0415

    name, about, view = _ask(state_dir_of(arguments.config), arguments.pipeline, arguments.wait)
    document = save(arguments.out, {"pipeline": name, **about}, view)

    def text(_: dict[str, Any]) -> str:
        files = [f"{what}: {path}" for what, path in document["files"].items()]
        return "\n".join(map(plain, [*words(view), *files]))

    show(document, text, as_json=arguments.json)
    return 0


def _ask(state_dir: Path, wanted: str, wait_s: float) -> "tuple[str, dict[str, Any], Received]":
    """Return the pipeline's name, what it runs, and its next view."""
    from outrider_agent.viewing.received import received  # noqa: PLC0415

    running = ask(state_dir, {"command": "status"}).get("pipelines") or {}
    name = choose(running, wanted)
    items: list[dict[str, Any]] = []
    request = {"command": "snapshot", "pipeline": name, "wait_s": wait_s}
    ask(state_dir, request, timeout_s=wait_s + GRACE_S, on_item=items.append)
    if not items:
        raise OutriderError("The agent sent no view", "Use the command line of the agent's own version")
    return name, {key: running[name].get(key) for key in ABOUT}, received(items[0])
