"""What an agent answers to through its control socket."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Struct

from outrider_agent.control.server import Handler, Reply
from outrider_agent.engine.order import Progress, Swapped, Wish
from outrider_bundle.errors import UsageError

if TYPE_CHECKING:
    from outrider_agent.control.watching import Watched


class Steered(Protocol):
    """What is needed of `supervisor.Agent`."""

    @property
    def pipelines(self) -> "Sequence[Watched]":
        """Those that have been built so far."""
        ...

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


Reload = Callable[[Progress], dict[str, Any]]


def handlers(agent: Steered, reloads: Reload | None = None) -> Mapping[str, Handler]:
    """Return the commands of `agent`, for a `Server`; `reloads` does what `reload` asks for."""

    def status(_request: dict[str, Any], _reply: Reply) -> dict[str, Any]:
        return agent.describe()

    def swap(request: dict[str, Any], reply: Reply) -> dict[str, Any]:
        wanted = _swap_request(request)
        done = agent.swap(wanted.pipeline, Path(wanted.bundle), wanted.wish, reply)
        answer: dict[str, Any] = msgspec.to_builtins(done)
        return answer

    # What they need is imported when somebody asks: most agents run for ever without.
    def snapshot(request: dict[str, Any], reply: Reply) -> dict[str, Any]:
        from outrider_agent.control import watching  # noqa: PLC0415

        return watching.snapshot(agent.pipelines, request, reply)

    def record(request: dict[str, Any], reply: Reply) -> dict[str, Any]:
        from outrider_agent.control import watching  # noqa: PLC0415

        return watching.record(agent.pipelines, request, reply)

    def reload(_request: dict[str, Any], reply: Reply) -> dict[str, Any]:
        if reloads is None:
            raise UsageError("This agent has no configuration file to read again")
        return reloads(reply)

    def resume(_request: dict[str, Any], _reply: Reply) -> dict[str, Any]:
        raise UsageError("The agent is not in safe mode: its loop runs")

    return {
        "status": status,
        "swap": swap,
        "snapshot": snapshot,
        "record": record,
        "reload": reload,
        "resume": resume,
    }


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
