"""The files of a snapshot: the frame, the same annotated, and what is known of both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import msgspec

from outrider_agent.viewing.annotate import annotated
from outrider_agent.viewing.received import Received
from outrider_bundle import atomic
from outrider_bundle.errors import OutriderError

UNSAID = frozenset({"data", "time_s"})
"""What of a view is no news for people: its bytes, and a time on the clock of another process."""


def save(folder: Path, about: Mapping[str, Any], view: Received) -> dict[str, Any]:
    """Write all three files into `folder`, called by pipeline and time; return the JSON document.

    Args:
        folder: made if it is not there.
        about: what the document says beside the view; `pipeline` names it.
        view: what is saved.

    Raises:
        OutriderError: a file cannot be written.
    """
    array = view.array()
    moment = "".join(c for c in view.time if c.isdigit())[:17]
    stem = folder / f"{about['pipeline']}-{moment}"
    files = {
        "frame": Path(f"{stem}.{view.format}"),
        "annotated": Path(f"{stem}-annotated.png"),
        "view": Path(f"{stem}.json"),
    }
    told = {key: value for key, value in msgspec.to_builtins(view).items() if key not in UNSAID}
    document = {
        **about,
        **told,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "files": {what: str(path) for what, path in files.items()},
    }
    done, picture = cv2.imencode(".png", annotated(view))
    if not done:
        raise OutriderError("The annotated picture cannot be encoded")
    text = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise atomic.unwritable(folder, error) from error
    for what, content in (("frame", view.data), ("annotated", picture.tobytes()), ("view", text)):
        atomic.write_file(files[what], [content])
    return document
