"""What an agent answers to through its control socket."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from outrider_agent.control.server import Handler
from outrider_agent.engine.order import Progress, Swapped, Wish
from outrider_bundle.errors import UsageError


class Steered(Protocol):
    """What is needed of `supervisor.Agent`."""

    def describe(self) -> dict[str, Any]:
        """Return what status shows."""
        ...

    def swap(self, pipeline: str, bundle: Path, wish: Wish, progress: Progress, /) -> Swapped:
        """Put `bundle` in place of what `pipeline` runs."""
        ...


class SwapRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`{"command": "swap", ...}`.

    Args:
        command: `swap`.
        pipeline: its id.
        bundle: absolute path of the `.orb` file.
        wish: how it is to be done.
    """

    command: str
    pipeline: str
    bundle: str
    wish: Wish = Wish()


def handlers(agent: Steered) -> Mapping[str, Handler]:
    """Return the commands of `agent`, for a `Server`."""

    def status(_request: dict[str, Any], _progress: Callable[[str], None]) -> dict[str, Any]:
        return agent.describe()

    def swap(request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        wanted = _swap_request(request)
        done = agent.swap(wanted.pipeline, Path(wanted.bundle), wanted.wish, progress)
        answer: dict[str, Any] = msgspec.to_builtins(done)
        return answer

    return {"status": status, "swap": swap}


def _swap_request(request: dict[str, Any]) -> SwapRequest:
    try:
        wanted = msgspec.convert(request, SwapRequest)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"That is no swap: {error}", "Use the command line of the agent's version"
        ) from error
    if not Path(wanted.bundle).is_absolute():
        raise UsageError(f"'{wanted.bundle}' is no absolute path", "The agent's working directory is its own")
    return wanted
