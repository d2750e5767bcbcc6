"""Regions, hulls and rectangles, held against slow and obvious ways to find them."""

import math
import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.server.vision.geometry import (
    hull,
    mean_inside,
    ordered,
    reading_order,
    regions,
    smallest_rectangle,
)

masks = st.integers(1, 14).flatmap(
    lambda h: st.integers(1, 14).flatmap(
        lambda w: st.lists(st.booleans(), min_size=h * w, max_size=h * w).map(
            lambda bits: np.array(bits).reshape(h, w)
        )
    )
)
clouds = st.lists(st.tuples(st.integers(-200, 200), st.integers(-200, 200)), min_size=1, max_size=40).map(
    np.array
)


def flood(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """8-connected regions pixel by pixel, as sets of (x, y)."""
    left = {(int(x), int(y)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        region, edge = set(), [min(left, key=lambda p: (p[1], p[0]))]
        while edge:
            x, y = edge.pop()
            if (x, y) in left:
                left.remove((x, y))
                region.add((x, y))
                edge += [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        found.append(region)
    return found


def outermost(region: set[tuple[int, int]]) -> set[tuple[int, int]]:
    rows: dict[int, list[int]] = {}
    for x, y in region:
        rows.setdefault(y, []).append(x)
    return {(x, y) for y, xs in rows.items() for x in (min(xs), max(xs))}


@given(masks)
@settings(max_examples=300, deadline=None)
def test_regions_are_those_of_a_flood_fill(mask: np.ndarray) -> None:
    found = [{(int(x), int(y)) for x, y in points} for points in regions(mask)]
    assert found == [outermost(region) for region in flood(mask)]


def test_a_spiral_and_a_comb_are_one_region_each() -> None:
    spiral = np.zeros((41, 41), bool)
    x = y = 20
    dx, dy, length = 1, 0, 2
    while length < 40:
        for _ in range(2):
            for _ in range(length):
                spiral[y, x] = True
                x, y = x + dx, y + dy
            dx, dy = -dy, dx
        length += 2
    comb = np.zeros((30, 41), bool)
    comb[:, ::4] = True
    comb[-1] = True
    assert len(regions(spiral)) == 1
    assert len(regions(comb)) == 1
    assert len(regions(comb[:-1])) == 11


@given(clouds)
@settings(deadline=None)
def test_a_hull_is_convex_and_holds_every_point(points: np.ndarray) -> None:
    corners = hull(points)
    assert {tuple(c) for c in corners.tolist()} <= {tuple(map(float, p)) for p in points.tolist()}
    if len(corners) < 3:
        return
    following = np.roll(corners, -1, axis=0)
    for (ax, ay), (bx, by) in zip(corners, following, strict=True):
        assert ((bx - ax) * (points[:, 1] - ay) - (by - ay) * (points[:, 0] - ax) >= 0).all()


@given(clouds)
@settings(deadline=None)
def test_a_smallest_rectangle_holds_its_points_and_no_turned_one_is_smaller(points: np.ndarray) -> None:
    found = smallest_rectangle(points)
    across = np.array([-found.axis[1], found.axis[0]])
    away = points - found.center
    assert np.allclose(np.hypot(*found.axis), 1)
    assert (np.abs(away @ found.axis) <= found.sides[0] / 2 + 1e-6).all()
    assert (np.abs(away @ across) <= found.sides[1] / 2 + 1e-6).all()
    area = found.sides[0] * found.sides[1]
    for angle in np.linspace(0, math.pi / 2, 91):
        u, v = points @ [math.cos(angle), math.sin(angle)], points @ [-math.sin(angle), math.cos(angle)]
        assert area <= np.ptp(u) * np.ptp(v) + 1e-6


@given(st.floats(1, 300), st.floats(1, 300), st.floats(-0.7, 0.7), st.floats(-500, 500), st.floats(0, 20))
@settings(deadline=None)
def test_a_turned_rectangle_is_found_again_and_grows_evenly(
    wide: float, high: float, angle: float, shift: float, margin: float
) -> None:
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = np.array([[0, 0], [wide, 0], [wide, high], [0, high]]) @ turn.T + shift
    found = smallest_rectangle(points)
    assert np.allclose(sorted(found.sides), sorted((wide, high)), atol=1e-5)
    assert np.allclose(found.corners(), ordered(points), atol=1e-4)
    grown = found.grown(margin)
    assert np.allclose(grown.center, found.center)
    assert np.allclose(grown.sides, np.array(found.sides) + 2 * margin)


@given(st.floats(-5, 35), st.floats(-5, 35), st.floats(1, 30), st.floats(1, 30), st.floats(-0.7, 0.7))
@settings(deadline=None)
def test_the_mean_inside_lies_between_the_values(
    x: float, y: float, wide: float, high: float, angle: float
) -> None:
    values = np.random.default_rng(1).random((30, 30)) + 1
    corners = (
        smallest_rectangle(np.array([[x, y], [x + wide, y + wide * math.tan(angle)]])).grown(high).corners()
    )
    found = mean_inside(values, corners)
    assert found == 0 or values.min() <= found <= values.max()


def test_the_mean_inside_a_level_box_is_that_of_its_pixels() -> None:
    values = np.arange(100.0).reshape(10, 10)
    corners = np.array([[2, 3], [6, 3], [6, 7], [2, 7]], float)
    assert mean_inside(values, corners) == values[3:8, 2:7].mean()


@given(st.permutations(range(12)))
def test_shuffled_lines_come_back_in_reading_order(order: list[int]) -> None:
    boxes = np.array(
        [[c * 100, r * 40 + c * 3, c * 100 + 80, r * 40 + c * 3 + 24] for r in range(4) for c in range(3)]
    )
    found = reading_order(boxes[order])
    assert [order[index] for index in found] == list(range(12))


def test_a_dense_page_takes_less_than_a_tenth_of_a_second() -> None:
    mask = np.zeros((1408, 992), bool)
    for line in range(45):
        for word in range(12):
            mask[20 + line * 30 : 36 + line * 30, 20 + word * 80 : 85 + word * 80] = True
    spent = []
    for _ in range(5):
        start = time.process_time()
        found = [smallest_rectangle(points) for points in regions(mask)]
        spent.append(time.process_time() - start)
    assert len(found) == 45 * 12
    assert min(spent) < 0.1
