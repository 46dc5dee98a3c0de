"""The command `outrider`: finds the command that is meant, imports only that one, answers for its errors.

Neither Typer nor Rich is imported here: `outrider agent run` starts without them.
"""

import contextlib
import difflib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, version
from typing import TYPE_CHECKING

from outrider_bundle import plugins
from outrider_bundle.errors import MissingExtraError, OutriderError, UsageError

if TYPE_CHECKING:
    import typer

GROUP = "outrider.commands"
TRACEBACK = "OUTRIDER_TRACEBACK"

EXIT_USAGE = 2
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141

EXTRAS = {
    "agent": "agent,onnx",
    "convert": "converter",
    "demo": "fleet,converter",
    "doctor": "agent,onnx",
    "prove": "onnx",
}
"""What to install for a command whose libraries are missing."""

SUMMARIES = {
    "agent": "run a bundle on a device: decide, act, report",
    "bundle": "inspect, verify, sign and extract bundles",
    "convert": "compress a model under an accuracy budget into a bundle",
    "demo": "do all of it on one machine, on real data",
    "doctor": "say what there is on this machine, and what is missing",
    "prove": "prove on this machine that a bundle computes what it should",
}
"""Known here, because help must not import what it lists."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `outrider` and return its exit code.

    Args:
        argv: the arguments behind the program's name; those of the process if None.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime would report its use to a server
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except OutriderError as error:
        _trace()
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _silence()
        return EXIT_PIPE
    except Exception as error:  # noqa: BLE001 - the last resort: never a traceback before a user
        _trace()
        what = f"unexpected {type(error).__name__}: {error}"
        return _fail(f"{what}; run with {TRACEBACK}=1 to see where", EXIT_INTERNAL)
    return code


def run_app(app: "typer.Typer", argv: Sequence[str], name: str) -> int:
    """Run a Typer application below the dispatcher and return its exit code.

    A wrong command line is answered here, with exit code 2; our own errors pass through to `main`.

    Args:
        app: its commands may return an exit code.
        argv: the arguments behind `name`.
        name: how the user called it, for example `outrider bundle`.
    """
    try:
        result = app(args=list(argv), prog_name=name, standalone_mode=False)
    except Exception as error:
        # Typer before 0.20 stands on click, later on a copy of its own: told by shape, not by class.
        if type(error).__name__ == "Abort":
            return EXIT_INTERRUPTED
        code, message = getattr(error, "exit_code", None), getattr(error, "format_message", None)
        if isinstance(error, OutriderError) or not isinstance(code, int) or not callable(message):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(str(message()))  # empty where Rich has printed the help already
            return code
        if message():
            return _fail(f"{_dot(str(message()))} See: {_called(error, name)} --help", code)
        return code
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _run(arguments: list[str]) -> int:
    first = arguments[0] if arguments else "--help"
    if first in {"--help", "-h", "help"}:
        sys.stdout.write(_help())
        return 0 if arguments else EXIT_USAGE
    if first in {"--version", "-V"}:
        sys.stdout.write(f"outrider {version('outrider')}\n")
        return 0
    return _call(first, arguments[1:])


def _call(name: str, arguments: list[str]) -> int:
    point = _find(name)
    try:
        command: Callable[[list[str]], int | None] = point.load()
        return command(arguments) or 0
    except SystemExit as ended:
        return _exit_code(ended)
    except ModuleNotFoundError as error:
        raise _missing(name, point.value.partition(".")[0].partition(":")[0], error) from error


def _find(name: str) -> EntryPoint:
    known = plugins.names(GROUP)
    if name in known:
        return plugins.find(GROUP, name)
    close = difflib.get_close_matches(name, known, n=1)
    cure = f"Did you mean 'outrider {close[0]}'?" if close else f"Commands: {', '.join(known) or 'none'}"
    raise UsageError(f"There is no command '{name[:80]}'", cure)


def _missing(name: str, package: str, error: ModuleNotFoundError) -> OutriderError:
    """Tell a missing extra from a library that a user's own file or another library wants."""
    module = (error.name or "").partition(".")[0]
    if not module or module.startswith("outrider_"):
        return OutriderError(
            f"'outrider {name}' is not installed as a whole: {error}", "Install outrider again"
        )
    importer = _importer(error)
    if importer.startswith("outrider_") or importer == package:
        what = f"'outrider {name}' needs {module}, which is not installed"
        return MissingExtraError(what, EXTRAS.get(name, name))
    return OutriderError(f"'{importer}' needs {module}, which is not installed", "Install it beside outrider")


def _importer(error: ModuleNotFoundError) -> str:
    """Return the top-level package whose import failed."""
    importer = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
        if not module.startswith("importlib"):
            importer = module.partition(".")[0]
    return importer


def _exit_code(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    return _fail(ended.code, 1)


def _trace() -> None:
    if os.environ.get(TRACEBACK):
        traceback.print_exc()


def _fail(message: str, code: int) -> int:
    """Say what is wrong. Names in a message may come from a hostile file: no control character passes."""
    text = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in message)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"outrider: error: {text}\n")
    return code


def _silence() -> None:
    """Let the interpreter's last flush fail in silence: whoever read the output has left."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dot(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."


def _called(error: Exception, name: str) -> str:
    """Return the command that was called, with its subcommand where Typer got so far."""
    return str(getattr(getattr(error, "ctx", None), "command_path", None) or name)


def _help() -> str:
    names = plugins.names(GROUP)
    width = max((len(name) for name in names), default=0)
    lines = [f"  {name:<{width}}  {SUMMARIES.get(name, 'a plug-in')}" for name in names]
    return "\n".join(
        [
            "Usage: outrider COMMAND ...",
            "",
            "Compress a model under one accuracy budget, prove it on the device, run it, update it.",
            "",
            "Commands:",
            *lines,
            "",
            "Options:",
            "  --version  print the version",
            "  --help     print this, or with a command its own help",
            "",
            "Examples:",
            "  outrider convert recipe.toml --out build",
            "  outrider bundle inspect build/app.orb",
            "  outrider agent run --config agent.toml",
            "",
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
