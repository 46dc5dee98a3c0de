"""Which layout a detector's outputs have, by their shapes and the number of labels."""

from typing import Any

import numpy as np
from msgspec import Struct

from outrider_bundle.errors import DataError, UsageError
from outrider_converter.modelfile import ModelFile
from outrider_runtime.session import Array

LAYOUTS = ("yolo", "yolo-xyxy", "yolo-objectness", "yolo-end", "ssd")
"""What `--layout` may say; `DetectionDecoder` and `SsdDecoder` tell what they are."""

END_ROW, SSD_ROW, BOX = 6, 7, 4
"""Numbers of a row of a YOLO that suppresses overlaps itself, of OpenVINO's DetectionOutput, and of a box."""

PROCESSED = 4
"""Outputs of TFLite_Detection_PostProcess."""


class Seen(Struct, frozen=True, kw_only=True):
    """An output: its name and what it answered to noise."""

    name: str
    array: Array

    def __str__(self) -> str:
        """Return it for people."""
        return f"'{self.name}' {self.shape}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape."""
        return tuple(self.array.shape)


class Wish(Struct, frozen=True, kw_only=True):
    """What the user may say of a detector besides its layout; None if it was left out."""

    box: str | None
    background: bool | None
    min_score: float | None
    iou: float | None


class Found(Struct, frozen=True, kw_only=True):
    """A table `output`, and what was inferred of it."""

    table: dict[str, Any]
    inferred: tuple[str, ...] = ()


def seen(model: ModelFile, outputs: tuple[Array, ...]) -> tuple[Seen, ...]:
    """Return the outputs of a file with what they answered."""
    pairs = zip(model.outputs, outputs, strict=True)
    return tuple(Seen(name=port.name, array=array) for port, array in pairs)


def detector(layout: str | None, labels: tuple[str, ...], wish: Wish, outputs: tuple[Seen, ...]) -> Found:
    """Return how a detector's outputs are read.

    Args:
        layout: one of `LAYOUTS`; inferred if None.
        labels: of the objects, without a background.
        wish: the other options.
        outputs: of the file.

    Raises:
        UsageError: two layouts fit, or the one that was said does not, or options contradict it.
        DataError: none fits.
    """
    told: tuple[str, ...] = ()
    fitting = _fitting(len(labels), outputs)
    shown = " and ".join(map(str, outputs))
    if layout is None:
        layout = _only(fitting, len(labels), shown)
        told = (f"the layout is {layout}, by {shown} and {len(labels)} labels",)
        if layout == "yolo":
            told = (*told, "its boxes are centre and size (else: --layout yolo-xyxy)")
    elif layout not in LAYOUTS:
        raise UsageError(f"There is no layout '{layout}'", f"Say --layout with one of: {', '.join(LAYOUTS)}")
    elif layout.replace("yolo-xyxy", "yolo") not in fitting:
        raise UsageError(
            f"--layout {layout} with {len(labels)} labels does not fit {shown}",
            f"Say {' or '.join(fitting)}" if fitting else f"Correct the labels: {_wanted(outputs)}",
        )
    found = _ssd(len(labels), wish, outputs) if layout == "ssd" else Found(table=_yolo(layout, wish))
    chosen = {key: getattr(wish, key) for key in ("min_score", "iou") if getattr(wish, key) is not None}
    return Found(table={**found.table, "labels": list(labels), **chosen}, inferred=(*told, *found.inferred))


def _only(fitting: tuple[str, ...], labels: int, shown: str) -> str:
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise DataError(
            f"The outputs {shown} fit no known detector of {labels} labels",
            "Give as many labels as there are, without a background; (1, 4 + labels, n), (1, 5 + labels, n), "
            "(1, n, 6) and the outputs of SSD are known. Or add --labels none for raw outputs",
        )
    raise UsageError(
        f"The outputs {shown} with {labels} labels fit {' and '.join(fitting)}",
        f"Say which: --layout {' or --layout '.join(fitting)}",
    )


def _fitting(labels: int, outputs: tuple[Seen, ...]) -> tuple[str, ...]:
    """Return the layouts that shapes allow."""
    first, *others = outputs
    if others:
        return ("ssd",) if _roles(labels, outputs) else ()
    shape = first.shape
    if len(shape) == 4 and shape[:2] == (1, 1) and shape[3] == SSD_ROW:  # noqa: PLR2004 - (1, 1, n, 7)
        return ("ssd",)
    if len(shape) != 3 or shape[0] != 1:  # noqa: PLR2004 - (1, rows, n)
        return ()
    found = []
    if BOX + labels in shape[1:]:
        found.append("yolo")
    if BOX + 1 + labels in shape[1:]:
        found.append("yolo-objectness")
    if shape[2] == END_ROW:
        found.append("yolo-end")
    return tuple(found)


def _wanted(outputs: tuple[Seen, ...]) -> str:
    shape = outputs[0].shape
    if len(outputs) == 1 and len(shape) == 3:  # noqa: PLR2004 - (1, rows, n)
        rows = min(shape[1:])
        return f"{max(rows - BOX, 0)} fit, or {max(rows - BOX - 1, 0)} with objectness"
    return "one a class, without a background"


def _yolo(layout: str, wish: Wish) -> dict[str, Any]:
    """Return the table of a detector with everything in one output."""
    if wish.box is not None or wish.background is not None:
        raise UsageError(f"--box and --background are of SSD, the layout is {layout}", "Leave them out")
    boxes = {"yolo-xyxy": "xyxy", "yolo-end": "end"}.get(layout, "xywh")
    table: dict[str, Any] = {"kind": "yolo", "layout": boxes}
    return {**table, "objectness": True} if layout == "yolo-objectness" else table


def _ssd(labels: int, wish: Wish, outputs: tuple[Seen, ...]) -> Found:
    """Return the table of a detector with outputs of their own, or rows.

    Raises:
        UsageError: the order of a box's edges or the background is not known.
    """
    if len(outputs) == 1:
        if wish.background is None:
            raise UsageError(
                "Rows of a detector may count the background as label 0",
                "Say --background or --no-background",
            )
        if wish.box == "yxyx":
            raise UsageError("Rows of a detector are left, top, right, bottom", "Leave --box out")
        return Found(table=_table(("rows",), "xyxy", background=wish.background))
    roles = _roles(labels, outputs)
    named = ", ".join(f"'{one.name}' {role}" for one, role in zip(outputs, roles, strict=True))
    told = f"the outputs are: {named}"
    if len(outputs) == PROCESSED:
        box = wish.box or "yxyx"
        return Found(table=_table(roles, box, background=bool(wish.background)), inferred=(told,))
    if wish.box is None:
        raise UsageError(
            "A box of this detector may begin with its left or its top edge", "Say --box xyxy or --box yxyx"
        )
    extra = outputs[roles.index("scores")].shape[2] == labels + 1
    if wish.background is not None and wish.background != extra:
        count = outputs[roles.index("scores")].shape[2]
        raise UsageError(
            f"There are {count} scores and {labels} labels", f"Leave --{'no-' * extra}background out"
        )
    return Found(table=_table(roles, wish.box, background=extra), inferred=(told,))


def _table(roles: tuple[str, ...], box: str, *, background: bool) -> dict[str, Any]:
    return {"kind": "ssd", "outputs": list(roles), "box": box, "background": background}


def _roles(labels: int, outputs: tuple[Seen, ...]) -> tuple[str, ...]:
    """Return what each of several outputs is; nothing if they are no detector's."""
    if len(outputs) == 2:  # noqa: PLR2004 - boxes and scores
        return _pair(labels, outputs)
    if len(outputs) != PROCESSED:
        return ()
    roles = ["boxes" if len(o.shape) == 3 and o.shape[2] == BOX else "" for o in outputs]  # noqa: PLR2004
    roles = [
        "count" if not role and o.array.size == 1 else role for role, o in zip(roles, outputs, strict=True)
    ]
    if roles.count("boxes") != 1 or roles.count("count") != 1:
        return ()
    one, other = (place for place, role in enumerate(roles) if not role)
    if outputs[one].shape != outputs[other].shape:
        return ()
    if _is_scores(outputs[one]) and not _is_scores(outputs[other]):
        one, other = other, one
    roles[one], roles[other] = "classes", "scores"
    return tuple(roles)


def _pair(labels: int, outputs: tuple[Seen, ...]) -> tuple[str, ...]:
    def boxes(one: Seen) -> bool:
        return len(one.shape) == 3 and one.shape[2] == BOX  # noqa: PLR2004 - (1, n, 4)

    def scores(one: Seen) -> bool:
        return len(one.shape) == 3 and one.shape[2] in (labels, labels + 1)  # noqa: PLR2004 - (1, n, labels)

    first, second = outputs
    if first.shape[:2] != second.shape[:2]:
        return ()
    if boxes(first) and scores(second):
        return ("boxes", "scores")
    return ("scores", "boxes") if scores(first) and boxes(second) else ()


def _is_scores(one: Seen) -> bool:
    """Return whether an output's name or its numbers are those of scores: classes are whole numbers."""
    name = one.name.lower()
    if "score" in name or "class" in name:
        return "score" in name
    return bool((one.array != np.rint(one.array)).any())
