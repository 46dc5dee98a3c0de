"""`outrider agent record`: an annotated film of the running agent's live frames."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider_agent.control.asking import choose, show, state_dir_of
from outrider_agent.control.client import ask
from outrider_agent.control.text import plain
from outrider_bundle.errors import UsageError

if TYPE_CHECKING:
    from outrider_agent.viewing.film import Film

SECONDS, MAX_SECONDS = 10.0, 3600.0
FPS, MAX_FPS = 10.0, 60.0
WAIT_S = 10.0
"""For the first frame."""
GRACE_S = 10.0

EXAMPLES = """\
examples:
  outrider agent record --config agent.toml --out belt.avi
  outrider agent record --config agent.toml --pipeline belt --seconds 60 --fps 15 --out belt.avi

The film shows each frame with what was perceived and decided on it, in real time; it is made by this
command, beside the agent's loop, which goes on as without. Samples of numbers are drawn as curves.
Ctrl-C ends it early and keeps what there is.

Exit codes: 1 no agent runs, or no frame came in time; 2 arguments; 130 ended with Ctrl-C.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.description = "Record what the running agent sees and decides, annotated, as a film."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's TOML file")
    parser.add_argument("--pipeline", default="", metavar="ID", help="needed where there are several")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the film, NAME.avi (MJPG)")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="N", help=f"how long; default: {SECONDS:g}"
    )
    parser.add_argument(
        "--fps", type=float, default=FPS, metavar="N", help=f"frames a second, at most; default: {FPS:g}"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Record, tell progress, print what came of it; return 0.

    Raises:
        UsageError: the command line or the configuration is wrong.
        OutriderError: no agent answers, no frame came, or the film cannot be written.
    """
    _check(arguments)
    from outrider_agent.viewing.film import Film  # noqa: PLC0415 - the parser needs no OpenCV

    state_dir = state_dir_of(arguments.config)
    running = ask(state_dir, {"command": "status"}).get("pipelines") or {}
    name = choose(running, arguments.pipeline)
    request = {"command": "record", "pipeline": name, "wait_s": WAIT_S}
    request |= {"seconds": arguments.seconds, "fps": arguments.fps}
    with Film(arguments.out, arguments.fps) as film:
        telling = _Telling(film, arguments.seconds)
        answer = ask(state_dir, request, timeout_s=WAIT_S + GRACE_S, on_item=telling.item)
    result = {
        "pipeline": name,
        "file": str(arguments.out),
        "frames": film.seen,
        "dropped": answer.get("dropped", 0),
        "seconds": round(film.seconds, 3),
        "bytes": arguments.out.stat().st_size,
    }
    show(result, _text, as_json=arguments.json)
    return 0


class _Telling:
    """Puts items into a film and says each second how far it is."""

    def __init__(self, film: "Film", seconds: float) -> None:
        self._film, self._seconds, self._said = film, seconds, 0

    def item(self, item: dict[str, Any]) -> None:
        from outrider_agent.viewing.received import received  # noqa: PLC0415

        self._film.show(received(item))
        if (now := int(self._film.seconds)) > self._said:
            self._said = now
            sys.stderr.write(f"{now} of {self._seconds:g} s, {self._film.seen} frames\n")
            sys.stderr.flush()


def _check(arguments: argparse.Namespace) -> None:
    for name, most in (("seconds", MAX_SECONDS), ("fps", MAX_FPS)):
        value = getattr(arguments, name)
        if not 0.0 < value <= most:
            raise UsageError(f"--{name} is {value:g}", f"Give a number above 0, up to {most:g}")
    if arguments.out.suffix.lower() != ".avi":
        raise UsageError(f"{arguments.out} is no .avi", "The film is MJPG in AVI; call it NAME.avi")


def _text(result: dict[str, Any]) -> str:
    counted = f"{result['frames']} frames in {result['seconds']:.1f} s, {result['dropped']} dropped"
    return plain(f"{result['file']}: {counted}, {result['bytes'] / 1e6:.1f} MB")
