"""From a plan to a process that has loaded it: memory is made, the process started, its word awaited."""

import contextlib
import os
import socket

import msgspec
from msgspec import Struct

from outrider_agent.engine import memory, spawn
from outrider_agent.engine.seam import Plan, SharedError
from outrider_bundle.errors import EngineError, OutriderError
from outrider_runtime.child import wire
from outrider_runtime.session import Array

Slots = tuple[tuple[Array, ...], ...]


POLITE_S = 10.0
"""On cores that are all busy a polite load gets no time at all: so long, and it is begun again otherwise."""


class StarvedError(EngineError):
    """At idle priority it does not load, or threads of it would stay there: the usual one is needed."""


class Launched(Struct, frozen=True, kw_only=True):
    """A child that waits for runs.

    Args:
        process: the child.
        link: this end of the socket to it; does not block.
        inputs: by slot; written here, read there.
        outputs: by slot; written there, read here.
        ready: what it said of itself.
    """

    process: spawn.Process
    link: socket.socket
    inputs: Slots
    outputs: Slots
    ready: wire.Ready


def launch(plan: Plan, *, polite: bool) -> Launched:
    """Start a process and load `plan` there, at idle priority if `polite`.

    Raises:
        StarvedError: `polite` cannot be had.
        SharedError: the runtime wants its device alone.
        EngineError: it cannot be started, died, or cannot load the model, or not in time.
        MissingExtraError: the runtime's library is not installed there.
    """
    try:
        return _launch(plan, polite=polite)
    except OSError as error:
        why = error.strerror or str(error)
        raise EngineError(
            f"The engine cannot be started: {why}", "Look at the limits of memory, processes and open files"
        ) from error


def _launch(plan: Plan, *, polite: bool) -> Launched:
    with contextlib.ExitStack() as undo:
        link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        undo.callback(link.close)
        with theirs:  # left open here, it would hide the end of the child
            arguments = [str(theirs.fileno()), str(os.getpid()), "polite" if polite else "plain"]
            process = spawn.start(arguments, theirs.fileno(), plan.python, plan.user)
        undo.callback(process.end)
        undo.callback(process.kill)
        patience_s = min(POLITE_S, plan.load_s / 2) if polite else plan.load_s
        try:
            inputs, outputs, ready = _loaded(link, process, plan, patience_s)
        except TimeoutError as error:
            what = f"The model has not loaded within {patience_s:g} s"
            cure = "Give it more by engine.load_s, or look after its device"
            raise (StarvedError if polite else EngineError)(what, cure) from error
        link.settimeout(0.0)
        undo.pop_all()
    return Launched(process=process, link=link, inputs=inputs, outputs=outputs, ready=ready)


def _loaded(
    link: socket.socket, process: spawn.Process, plan: Plan, patience_s: float
) -> tuple[Slots, Slots, wire.Ready]:
    try:
        inputs, outputs = _memories(link, plan)
        reply = _reply(link, patience_s)
    except ConnectionError:
        raise _died(process, plan) from None
    if isinstance(reply, wire.Failure):
        raise _refusal(reply)
    return inputs, outputs, reply


def _memories(link: socket.socket, plan: Plan) -> tuple[Slots, Slots]:
    """Make the memory and tell the child what to load."""
    load = wire.Load(
        version=wire.VERSION,
        variant=plan.variant,
        files={role: str(path.absolute()) for role, path in plan.files.items()},
        options=dict(plan.options),
        policy=plan.policy,
        share=plan.share,
        alone=plan.alone,
    )
    frames, outputs = memory.frames(plan.variant.inputs), memory.outputs(plan.variant.outputs)
    try:
        socket.send_fds(link, [wire.encode(load)], [frames.fd, outputs.fd])
    finally:
        os.close(frames.fd)
        os.close(outputs.fd)
    return frames.slots, outputs.slots


def _reply(link: socket.socket, patience_s: float) -> wire.Reply:
    link.settimeout(patience_s)
    message = link.recv(wire.MAX_BYTES)
    if not message:
        raise ConnectionResetError
    try:
        return msgspec.json.decode(message, type=wire.Ready | wire.Failure)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = "The interpreter of the engine has another version of outrider"
        raise EngineError(what, "Install the same into both") from error


def _refusal(reply: wire.Failure) -> OutriderError:
    if reply.kind == wire.STARVED:
        return StarvedError(reply.what)
    if reply.kind == wire.SHARED:
        return SharedError(reply.what, reply.cure)
    return wire.raised(reply)


def _died(process: spawn.Process, plan: Plan) -> EngineError:
    why = process.why()
    what = f"The engine {why} while it loaded {plan.variant.id}"
    if "No module named" not in why:
        return EngineError(what)
    return EngineError(what, f"Install outrider and its runtime for {plan.python or 'this interpreter'}")
