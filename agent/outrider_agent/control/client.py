"""The command line's side of the control socket."""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from outrider_agent.control import wire
from outrider_bundle.errors import OutriderError

CONNECT_S = 5.0


def ask(
    state_dir: Path,
    request: dict[str, Any],
    on_progress: Callable[[str], None] = lambda _: None,
    timeout_s: float = 5.0,
    on_item: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Send `request` to the agent that holds `state_dir`; return its result.

    Args:
        state_dir: as the agent's configuration has it.
        request: `command` and what belongs to it.
        on_progress: told of each step.
        timeout_s: the longest silence to bear, in seconds.
        on_item: given each part of a result that comes in parts.

    Raises:
        OutriderError: no agent answers there, it is another user's, or it refused; the exit code of a
            refusal is the agent's.
    """
    path = state_dir / wire.NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        try:
            agent.settimeout(CONNECT_S)
            with wire.address(path) as name:
                agent.connect(name)
            agent.settimeout(timeout_s)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused early: it says why
                agent.sendall(wire.encode(request))
            return _listen(agent, on_progress, on_item)
        except PermissionError as error:
            raise OutriderError(f"{path} belongs to another user", "Use the agent's user, or sudo") from error
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            cure = "Start one with 'outrider agent run', or correct device.state_dir"
            raise OutriderError(f"No agent runs with the state directory {state_dir}", cure) from error
        except TimeoutError as error:
            cure = "Look into its log; it may be under heavy load"
            raise OutriderError(f"The agent at {path} has been silent for {timeout_s:g} s", cure) from error
        except OSError as error:
            raise OutriderError(f"The agent at {path} does not answer: {error.strerror or error}") from error


def _listen(
    agent: socket.socket,
    on_progress: Callable[[str], None],
    on_item: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    with agent.makefile("rb") as lines:
        for line in lines:
            message = wire.decode(line)
            if "progress" in message:
                on_progress(str(message["progress"]))
            elif isinstance(item := message.get("item"), dict):
                on_item(item)
            elif "error" in message:
                raise _refusal(str(message["error"]), message.get("exit"))
            elif isinstance(result := message.get("result"), dict):
                return result
    raise OutriderError("The agent ended before it answered", "Look into its log")


def _refusal(text: str, code: object) -> OutriderError:
    """Return the agent's error as it was there: same words, same exit code."""
    known = code if isinstance(code, int) and 0 < code < 256 else OutriderError.exit_code  # noqa: PLR2004 - one byte
    kind: type[OutriderError] = type("RefusedError", (OutriderError,), {"exit_code": known})
    return kind(text)
