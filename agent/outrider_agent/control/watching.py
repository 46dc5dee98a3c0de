"""The agent's side of `snapshot` and `record`: views of a loop, made to be sent.

Nothing here writes a file: the command that asks does, with the rights of its user.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Annotated, Any, Literal, Protocol, TypeVar

import cv2
import msgspec
import numpy as np
from msgspec import Meta, Struct

from outrider_agent.control.server import Reply
from outrider_agent.tap import Tap, Taps, View
from outrider_bundle.errors import OutriderError, UsageError
from outrider_runtime.session import Array

Format = Literal["png", "jpg", "npy"]

MAX_BYTES = 64 << 20
"""Of a frame; an 8K picture has 100 MB, and no loop looks at those."""
JPEG_QUALITY = 90
TURN_S = 0.25
"""How soon it is noticed that a pipeline has ended."""
ROOM = 4
"""Views that wait for a peer; what comes beyond is left out of its film."""

R = TypeVar("R", bound=Struct)


class Watched(Protocol):
    """What is needed of `pipeline.Pipeline`."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def finished(self) -> bool:
        """Whether there will be no more frames."""
        ...

    @property
    def taps(self) -> Taps:
        """Of its loop."""
        ...


class SnapshotRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`{"command": "snapshot", ...}`: the next frame, waited for no longer than `wait_s`."""

    command: str
    pipeline: str
    wait_s: Annotated[float, Meta(gt=0.0, le=300.0)] = 10.0


class RecordRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`{"command": "record", ...}`: frames for `seconds`, no more than `fps` in each of them."""

    command: str
    pipeline: str
    seconds: Annotated[float, Meta(gt=0.0, le=86400.0)]
    fps: Annotated[float, Meta(gt=0.0, le=240.0)] = 10.0
    wait_s: Annotated[float, Meta(gt=0.0, le=300.0)] = 10.0


def snapshot(pipelines: Sequence[Watched], request: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """Send the next view of a pipeline as an item, its picture without a loss.

    Raises:
        UsageError: there is no such pipeline, or that is no request.
        OutriderError: no frame came in time.
    """
    wanted = _converted(request, SnapshotRequest)
    pipeline, tap = _chosen(pipelines, wanted.pipeline), Tap()
    with _shown(pipeline, tap):
        reply.item(packed(_next(pipeline, tap, wanted.wait_s), "png"))
    return {"pipeline": pipeline.id}


def record(pipelines: Sequence[Watched], request: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """Send views of a pipeline as items until the time is over or it ends; return how many.

    Raises:
        UsageError: there is no such pipeline, or that is no request.
        OutriderError: no frame came in time, or the peer has left.
    """
    wanted = _converted(request, RecordRequest)
    pipeline = _chosen(pipelines, wanted.pipeline)
    tap, frames = Tap(ROOM, 1.0 / wanted.fps), 0
    with _shown(pipeline, tap):
        view: View | None = _next(pipeline, tap, wanted.wait_s)
        until_s = monotonic() + wanted.seconds
        while True:
            if view is not None:
                reply.item(packed(view, "jpg"))
                frames += 1
            left_s = until_s - monotonic()
            if left_s <= 0 or (view is None and pipeline.finished):
                return {"pipeline": pipeline.id, "frames": frames, "dropped": tap.dropped}
            view = tap.take(min(TURN_S, left_s))


def packed(view: View, picture: Literal["png", "jpg"]) -> dict[str, Any]:
    """Return `view` as an item: what it says, with a picture in the format asked for, a sample as npy.

    Raises:
        OutriderError: it is too large, or cannot be encoded.
    """
    if view.array.nbytes > MAX_BYTES:
        raise OutriderError(
            f"The frame has {view.array.nbytes} bytes and at most {MAX_BYTES} are sent",
            "Let the source give smaller pictures",
        )
    form: Format = picture if _is_picture(view.array) else "npy"
    taken = datetime.now(UTC) - timedelta(seconds=monotonic() - view.time_s)
    return {
        "frame": view.frame,
        "seq": view.seq,
        "time": taken.isoformat(timespec="milliseconds"),
        "time_s": view.time_s,
        "took_ms": round(view.took_ns / 1e6, 3),
        "perception": msgspec.to_builtins(view.perception),
        "decisions": list(view.decisions),
        "why": list(view.why),
        "error": view.error,
        "format": form,
        "data": _encoded(view.array, form),
    }


def _encoded(array: Array, form: Format) -> bytes:
    if form == "npy":
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        return file.getvalue()
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if form == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(f".{form}", array, options)
    if not done:
        raise OutriderError(f"The frame of shape {array.shape} cannot be encoded as {form}")
    return data.tobytes()


def _is_picture(array: Array) -> bool:
    """Tell a gray or BGR picture from a sample of numbers."""
    return array.dtype == np.uint8 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3))  # noqa: PLR2004


def _converted(request: dict[str, Any], kind: type[R]) -> R:
    try:
        return msgspec.convert(request, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"The agent cannot do that: {error}", "Correct that argument") from error


def _chosen(pipelines: Sequence[Watched], name: str) -> Watched:
    for one in pipelines:
        if one.id == name:
            return one
    names = ", ".join(one.id for one in pipelines)
    raise UsageError(f"There is no pipeline '{name[:80]}'", f"There are: {names or 'none yet'}")


@contextmanager
def _shown(pipeline: Watched, tap: Tap) -> Iterator[None]:
    pipeline.taps.add(tap)
    try:
        yield
    finally:
        pipeline.taps.remove(tap)


def _next(pipeline: Watched, tap: Tap, wait_s: float) -> View:
    until_s = monotonic() + wait_s
    while (left_s := until_s - monotonic()) > 0:
        view = tap.take(min(TURN_S, left_s))
        if view is not None:
            return view
        if pipeline.finished:
            raise OutriderError(f"The pipeline '{pipeline.id}' has ended", "Its input has, or its log says")
    raise OutriderError(
        f"The pipeline '{pipeline.id}' has looked at no frame within {wait_s:g} s",
        "See 'outrider agent status' for its source and model, or wait longer with --wait",
    )
