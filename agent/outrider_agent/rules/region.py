"""Regions of a frame, and whether a box lies in one.

Places are shares of the frame's width and height, 0..1 from its top left. What lies on the edge lies inside.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct

from outrider_runtime.perception import Box

Anchor = Literal["center", "bottom", "any"]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Point = tuple[float, float]
Edge = tuple[Point, Point]

# Its length is bounded and not written as a pair: msgspec 0.22 dies of a pair beside a bounded number.
Pair = Annotated[tuple[Share, ...], Meta(min_length=2, max_length=2)]
Corners = Annotated[tuple[Share | Pair, ...], Meta(min_length=3, max_length=64)]
"""Left, top, width and height of a rectangle, or the corners of a polygon."""

NEAR = 1e-9
"""So close to an edge is on it: shares of pixels are rounded."""

SOME_AREA = 1e-12
"""Of the frame. A smaller overlap is a common edge and rounding."""

SIDES = 4


class Region(Protocol):
    """An area of the frame."""

    def holds(self, x: float, y: float) -> bool:
        """Return whether a point lies in it."""
        ...

    def shared(self, box: Box) -> float:
        """Return the area that it has in common with a box."""
        ...


class Rectangle(Struct, frozen=True):
    """From the left and the top edge to the right and the bottom one."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, x: float, y: float) -> bool:
        """Return whether a point lies in it."""
        across = self.left - NEAR <= x <= self.right + NEAR
        return across and self.top - NEAR <= y <= self.bottom + NEAR

    def shared(self, box: Box) -> float:
        """Return the area that it has in common with a box."""
        width = min(self.right, box[0] + box[2]) - max(self.left, box[0])
        height = min(self.bottom, box[1] + box[3]) - max(self.top, box[1])
        return max(0.0, width) * max(0.0, height)


class Polygon(Struct, frozen=True):
    """A polygon whose edges neither cross nor touch one another; it need not be convex."""

    corners: tuple[Point, ...]
    edges: tuple[Edge, ...]

    def holds(self, x: float, y: float) -> bool:
        """Return whether a point lies in it, by how many edges a ray to the right crosses."""
        inside = False
        for edge in self.edges:
            if _on(edge, (x, y)):
                return True
            (x1, y1), (x2, y2) = edge
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                inside = not inside
        return inside

    def shared(self, box: Box) -> float:
        """Return the area that it has in common with a box.

        The polygon is clipped by each side of the box in turn (Sutherland and Hodgman 1974). Pieces stay tied
        by edges along the box, which run both ways and add nothing to the area.
        """
        left, top, width, height = box
        points = list(self.corners)
        for axis, sign, limit in ((0, 1, left), (0, -1, left + width), (1, 1, top), (1, -1, top + height)):
            points = _clipped(points, axis, sign, limit)
        return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in _edges(points))) / 2.0


class Place(Struct, frozen=True):
    """Where a box must be: its `anchor` in a region, or any part of it."""

    region: Region
    anchor: Anchor

    def has(self, box: Box, frame: tuple[int, int]) -> bool:
        """Return whether `box` is there, in pixels of a frame of that width and height."""
        wide, high = frame
        if wide <= 0 or high <= 0:
            return False
        left, top, width, height = box[0] / wide, box[1] / high, box[2] / wide, box[3] / high
        if self.anchor == "any":
            return self.region.shared((left, top, width, height)) > SOME_AREA
        down = height if self.anchor == "bottom" else height / 2
        return self.region.holds(left + width / 2, top + down)


def region(corners: Corners) -> Region:
    """Return the region that a rule's `region` describes.

    Raises:
        ValueError: it describes none.
    """
    numbers = [one for one in corners if isinstance(one, (int, float))]
    points = [(one[0], one[1]) for one in corners if not isinstance(one, (int, float))]
    if numbers and points:
        raise ValueError("write four numbers or a list of corners, not both")
    return _rectangle(numbers) if numbers else _polygon(points)


def _rectangle(numbers: Sequence[float]) -> Rectangle:
    if len(numbers) != SIDES:
        raise ValueError(f"a rectangle is [left, top, width, height], and these are {len(numbers)} numbers")
    left, top, width, height = numbers
    if width <= 0.0 or height <= 0.0:
        raise ValueError("width and height must be more than 0")
    if left + width > 1.0 + NEAR or top + height > 1.0 + NEAR:
        raise ValueError("left + width and top + height must be at most 1: the frame ends there")
    return Rectangle(left, top, left + width, top + height)


def _polygon(points: list[Point]) -> Polygon:
    edges = _edges(points)
    names = [(at, (at + 1) % len(points)) for at in range(len(points))]
    for (a, one), (b, other) in combinations(enumerate(points, 1), 2):
        if max(abs(one[0] - other[0]), abs(one[1] - other[1])) <= NEAR:
            raise ValueError(f"corners {a} and {b} are the same; leave one out")
    for at, point in enumerate(points):
        for ends, edge in zip(names, edges, strict=True):
            if at not in ends and _on(edge, point):
                raise ValueError(f"corner {at + 1} lies on the edge {_named(ends)}; move it")
    for (one, first), (other, second) in combinations(zip(names, edges, strict=True), 2):
        if not set(one) & set(other) and _cross(first, second):
            raise ValueError(f"the edges {_named(one)} and {_named(other)} cross; reorder the corners")
    return Polygon(tuple(points), tuple(edges))


def _named(ends: tuple[int, int]) -> str:
    return f"from corner {ends[0] + 1} to {ends[1] + 1}"


def _edges(points: list[Point]) -> list[Edge]:
    return list(zip(points, points[1:] + points[:1], strict=True))


def _turn(edge: Edge, point: Point) -> float:
    """Return twice the area of the triangle of an edge and a point, with the sign of the turn."""
    (x1, y1), (x2, y2) = edge
    return (x2 - x1) * (point[1] - y1) - (y2 - y1) * (point[0] - x1)


def _on(edge: Edge, point: Point) -> bool:
    (x1, y1), (x2, y2) = edge
    square = (x2 - x1) ** 2 + (y2 - y1) ** 2
    slack = NEAR * math.sqrt(square)
    along = (x2 - x1) * (point[0] - x1) + (y2 - y1) * (point[1] - y1)
    return abs(_turn(edge, point)) <= slack and -slack <= along <= square + slack


def _cross(one: Edge, other: Edge) -> bool:
    """Return whether two edges cross of which no end lies on the other."""
    parted = _turn(one, other[0]) * _turn(one, other[1]) < 0.0
    return parted and _turn(other, one[0]) * _turn(other, one[1]) < 0.0


def _clipped(points: list[Point], axis: int, sign: int, limit: float) -> list[Point]:
    """Return what a polygon has beyond `limit` along an axis: above it, or below it if `sign` is -1."""
    kept: list[Point] = []
    for one, other in _edges(points):
        here, there = sign * (one[axis] - limit), sign * (other[axis] - limit)
        if here >= 0.0:
            kept.append(one)
        if (here < 0.0 < there) or (there < 0.0 < here):
            share = here / (here - there)
            kept.append((one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])))
    return kept
