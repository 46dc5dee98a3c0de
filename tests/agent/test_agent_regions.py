"""Regions: boxes in them by table, and membership and areas against exact arithmetic."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from outrider_agent.policies.rules import RulesOptions
from outrider_agent.rules.region import SOME_AREA, Anchor, Corners, Place, Region, region
from outrider_bundle import settings
from outrider_runtime.perception import Box

GRID = 16
ELL = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.5, 0.5), (0.5, 1.0), (0.0, 1.0))
"""All but the quarter at the bottom right."""

Corner = tuple[int, int]


@pytest.mark.parametrize(
    ("corners", "anchor", "box", "there"),
    [
        # A frame of 200 x 100.
        ((0.5, 0.0, 0.5, 1.0), "center", (80, 0, 40, 10), True),  # the center is on the left edge
        ((0.5, 0.0, 0.5, 1.0), "center", (79, 0, 40, 10), False),
        ((0.7, 0.1, 0.1, 0.2), "center", (150, 25, 20, 10), True),  # on the right edge, with rounding
        ((0.0, 0.5, 1.0, 0.5), "center", (0, 0, 10, 60), False),
        ((0.0, 0.5, 1.0, 0.5), "bottom", (0, 0, 10, 60), True),
        ((0.0, 0.5, 1.0, 0.5), "bottom", (0, 0, 10, 100), True),
        ((0.5, 0.5, 0.5, 0.5), "bottom", (0, 0, 190, 60), False),  # the middle of the lower edge is not there
        ((0.5, 0.5, 0.5, 0.5), "any", (0, 0, 190, 60), True),
        ((0.5, 0.5, 0.5, 0.5), "any", (0, 0, 100, 60), False),  # they touch
        ((0.5, 0.5, 0.5, 0.5), "any", (0, 0, 101, 51), True),
        ((0.4, 0.4, 0.1, 0.1), "any", (0, 0, 200, 100), True),  # the region lies in the box
        (ELL, "center", (120, 60, 40, 20), False),
        (ELL, "center", (20, 60, 40, 20), True),
        (ELL, "center", (120, 10, 40, 20), True),
        (ELL, "center", (80, 30, 40, 40), True),  # on the inner corner
        (ELL, "any", (120, 60, 40, 20), False),
        (ELL, "any", (100, 50, 100, 50), False),
        (ELL, "any", (99, 50, 100, 50), True),
    ],
)
def test_a_box_is_in_a_region(corners: Corners, anchor: Anchor, box: Box, *, there: bool) -> None:
    assert Place(region(corners), anchor).has(box, (200, 100)) is there


def test_a_frame_without_a_size_has_no_places() -> None:
    assert not Place(region((0.0, 0.0, 1.0, 1.0)), "any").has((0.0, 0.0, 5.0, 5.0), (0, 0))


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ([0.1, 0.2], "p.rules[0].region: expected list of length >= 3"),
        ([0.1, 0.2, 0.3], "region: a rectangle is [left, top, width, height], and these are 3 numbers"),
        ([0.1, 0.2, 0.3, 0.4, 0.5], "these are 5 numbers"),
        ([0.1, 0.2, 0.0, 0.4], "region: width and height must be more than 0"),
        ([0.5, 0.2, 0.6, 0.4], "region: left + width and top + height must be at most 1"),
        ([0.5, 0.2, 60, 0.4], "p.rules[0].region[2]: expected float <= 1.0"),
        ([-0.5, 0.2, 0.6, 0.4], "p.rules[0].region[0]: expected float >= 0.0"),
        ([[0, 0], [1, 0]], "expected list of length >= 3"),
        ([[0, 0], [1, 0], [1]], "p.rules[0].region[2]: expected list of length >= 2"),
        ([[0, 0], [1, 0], [1, 2]], "p.rules[0].region[2][1]: expected float <= 1.0"),
        ([[0, 0], [1, 0], 0.5], "region: write four numbers or a list of corners, not both"),
        ([[0, 0], [1, 0], [1, 1], [0, 0]], "region: corners 1 and 4 are the same; leave one out"),
        ([[0, 0], [0.5, 0], [1, 0]], "region: corner 2 lies on the edge from corner 3 to 1; move it"),
        (
            [[0, 0], [1, 1], [1, 0], [0, 1]],
            "region: the edges from corner 1 to 2 and from corner 3 to 4 cross",
        ),
        ("left", "p.rules[0].region: expected list, got str"),
    ],
)
def test_a_malformed_region_is_refused_with_the_reason(written: object, fault: str) -> None:
    made, faults = settings.convert({"rules": [{"region": written}]}, RulesOptions, "p")
    assert made is None
    assert fault in "\n".join(faults)


# --- against exact arithmetic ---------------------------------------------------------------------


@st.composite
def polygons(draw: st.DrawFn) -> tuple[list[Corner], Region]:
    """Return corners on a grid, in order around a point: a polygon that is seldom convex."""
    corner = st.tuples(st.integers(0, GRID), st.integers(0, GRID))
    found = draw(st.lists(corner, min_size=3, max_size=9, unique=True))
    x, y = draw(st.sampled_from([(8.25, 7.6), (3.1, 11.7), (12.3, 4.9)]))
    corners = sorted(found, key=lambda one: math.atan2(one[1] - y, one[0] - x))
    try:
        return corners, region(shares(corners))
    except ValueError:
        reject()


def shares(corners: list[Corner]) -> Corners:
    return tuple((x / GRID, y / GRID) for x, y in corners)


def sides(corners: list[Corner]) -> list[tuple[Corner, Corner]]:
    return list(zip(corners, corners[1:] + corners[:1], strict=True))


def winding(corners: list[Corner], x: Fraction, y: Fraction) -> int | None:
    """Return how often the polygon turns around a point (Sunday 2001); None for a point on an edge."""
    turns = 0
    for (x1, y1), (x2, y2) in sides(corners):
        left = (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)
        if left == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            return None
        if y1 <= y < y2 and left > 0:
            turns += 1
        if y2 <= y < y1 and left < 0:
            turns -= 1
    return turns


def area(corners: list[Corner], left: Fraction, top: Fraction, right: Fraction, bottom: Fraction) -> Fraction:
    """Return the area of a polygon within a box: in slabs without corners and crossings, trapezia."""
    levels = {top, bottom} | {Fraction(y) for _, y in corners if top <= y <= bottom}
    for (x1, y1), (x2, y2) in sides(corners):
        for x in (left, right):
            if x1 != x2 and min(x1, x2) <= x <= max(x1, x2):
                levels.add(y1 + Fraction(y2 - y1, x2 - x1) * (x - x1))
    ordered = sorted(level for level in levels if top <= level <= bottom)
    total = Fraction(0)
    for upper, lower in pairwise(ordered):
        middle = (upper + lower) / 2
        crossings = sorted(
            x1 + Fraction(x2 - x1, y2 - y1) * (middle - y1)
            for (x1, y1), (x2, y2) in sides(corners)
            if min(y1, y2) < middle < max(y1, y2)
        )
        for first, second in zip(crossings[::2], crossings[1::2], strict=True):
            total += (lower - upper) * max(Fraction(0), min(second, right) - max(first, left))
    return total


@given(polygons(), st.lists(st.tuples(st.integers(-4, 68), st.integers(-4, 68)), min_size=1, max_size=20))
def test_a_point_is_inside_if_the_polygon_turns_around_it(
    polygon: tuple[list[Corner], Region], points: list[tuple[int, int]]
) -> None:
    corners, found = polygon
    for x, y in points:
        turns = winding(corners, Fraction(x, 4), Fraction(y, 4))
        assert found.holds(x / 4 / GRID, y / 4 / GRID) is (turns != 0)


@given(polygons(), st.data())
def test_corners_and_edges_lie_inside(polygon: tuple[list[Corner], Region], data: st.DataObject) -> None:
    corners, found = polygon
    (x1, y1), (x2, y2) = data.draw(st.sampled_from(sides(corners)))
    share = data.draw(st.floats(0.0, 1.0))
    assert found.holds((x1 + share * (x2 - x1)) / GRID, (y1 + share * (y2 - y1)) / GRID)


@given(polygons(), st.tuples(*[st.integers(0, 62)] * 2), st.tuples(*[st.integers(1, 64)] * 2))
def test_the_shared_area_is_exact(
    polygon: tuple[list[Corner], Region], start: tuple[int, ...], size: tuple[int, ...]
) -> None:
    corners, found = polygon
    (x, y), (width, height) = start, size
    quarters = [Fraction(one, 4) for one in (x, y, x + width, y + height)]
    expected = area(corners, *quarters) / GRID**2
    shared = found.shared((x / 64, y / 64, width / 64, height / 64))
    assert shared == pytest.approx(float(expected), abs=1e-12)
    assert (shared > SOME_AREA) is (expected > 0)


@given(st.tuples(*[st.integers(0, 9)] * 2), st.tuples(*[st.integers(1, 6)] * 2), st.data())
def test_a_rectangle_is_its_polygon(
    start: tuple[int, ...], size: tuple[int, ...], data: st.DataObject
) -> None:
    (x, y), (width, height) = start, size
    rectangle = region((x / GRID, y / GRID, width / GRID, height / GRID))
    same = region(shares([(x, y), (x + width, y), (x + width, y + height), (x, y + height)]))
    at, down, wide, high = data.draw(st.tuples(*[st.integers(0, 64)] * 2, *[st.integers(1, 64)] * 2))
    assert rectangle.holds(at / 64, down / 64) is same.holds(at / 64, down / 64)
    box = (at / 64, down / 64, wide / 64, high / 64)
    assert rectangle.shared(box) == pytest.approx(same.shared(box), abs=1e-12)
