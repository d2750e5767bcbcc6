"""Shapes in a mask: connected regions, their hulls, and the smallest rectangle around each.

What a text detector needs of an image library, in numpy: regions are found from runs of pixels instead of
single pixels, so the time goes with the outlines rather than with the areas. Points are (x, y), y downwards.
"""

from typing import NamedTuple

import numpy as np

from deployer.server.signature import Array


class Rectangle(NamedTuple):
    """A rectangle at any angle: its centre, its two sides and the unit vector along the first."""

    center: Array
    sides: tuple[float, float]
    axis: Array

    def grown(self, margin: float) -> "Rectangle":
        """The same with `margin` more on every side."""
        return Rectangle(self.center, (self.sides[0] + 2 * margin, self.sides[1] + 2 * margin), self.axis)

    def corners(self) -> Array:
        """float64 [4, 2]: top left, top right, bottom right, bottom left, as the rectangle lies."""
        along = self.axis * self.sides[0] / 2
        across = np.array([-self.axis[1], self.axis[0]]) * self.sides[1] / 2
        return ordered(
            self.center + np.stack([-along - across, along - across, along + across, across - along])
        )


def regions(mask: Array) -> list[Array]:
    """For each 8-connected region of a bool [h, w], its outermost pixels row by row: int [n, 2] of (x, y).

    They hold every corner of the region's convex hull. Regions come in the order of their first pixels.
    """
    height, width = mask.shape
    rows, starts, ends = _runs(mask)
    if rows.size == 0:
        return []
    owner = _connect(rows * (width + 2) + starts, rows * (width + 2) + ends, width + 2)
    order = np.lexsort((rows, owner))
    rows, starts, ends, owner = rows[order], starts[order], ends[order], owner[order]
    # One row of one region may hold several runs: only the leftmost and the rightmost end matter.
    fresh = np.flatnonzero(np.diff(owner * height + rows, prepend=-1))
    left, right = np.minimum.reduceat(starts, fresh), np.maximum.reduceat(ends, fresh) - 1
    rows, owner = rows[fresh], owner[fresh]
    cuts = np.flatnonzero(np.diff(owner)) + 1
    points = np.stack([np.stack([left, rows], 1), np.stack([right, rows], 1)], 1)
    return [part.reshape(-1, 2) for part in np.split(points, cuts)]


def _runs(mask: Array) -> tuple[Array, Array, Array]:
    """Row, first column and column after the last, of every horizontal run of set pixels."""
    edges = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    edges[:, 1:-1] = mask
    steps = np.diff(edges, axis=1)
    rows, starts = np.nonzero(steps == 1)
    return rows, starts, np.nonzero(steps == -1)[1]


def _connect(starts: Array, ends: Array, stride: int) -> Array:
    """For runs in reading order, the number of the first run of the region that each belongs to.

    `starts` and `ends` are positions in the mask as one line, `stride` apart from row to row.
    """
    # Runs of the next row that touch [start - 1, end] are neighbours, corner to corner included.
    first = np.searchsorted(ends, starts + stride, "left")
    after = np.searchsorted(starts, ends + stride, "right")
    counts = np.maximum(after - first, 0)
    upper = np.repeat(np.arange(starts.size), counts)
    lower = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    owner = np.arange(starts.size)
    while True:
        a, b = owner[upper], owner[lower]
        apart = a != b
        if not apart.any():
            return owner
        upper, lower, a, b = upper[apart], lower[apart], a[apart], b[apart]
        np.minimum.at(owner, np.maximum(a, b), np.minimum(a, b))
        while True:  # follow the pointers to their end, so that each round joins whole regions
            further = owner[owner]
            if np.array_equal(further, owner):
                break
            owner = further


def hull(points: Array) -> Array:
    """The convex hull of points [n, 2] as its corners in turn, without those on a straight side."""
    found = sorted({(float(x), float(y)) for x, y in points.tolist()})
    if len(found) <= 2:
        return np.array(found)
    lower, upper = _chain(found), _chain(found[::-1])
    return np.array(lower[:-1] + upper[:-1])


def _chain(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Half a hull of sorted points, by Andrew's monotone chain."""
    chain: list[tuple[float, float]] = []
    for x, y in points:
        while len(chain) >= 2:
            (ax, ay), (bx, by) = chain[-2], chain[-1]
            if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain


def smallest_rectangle(points: Array) -> Rectangle:
    """The rectangle of least area around points [n, 2], n ≥ 1; one of its sides lies on the hull's."""
    corners = hull(points)
    edges = np.diff(corners, axis=0, append=corners[:1])
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    edges, lengths = edges[lengths > 0], lengths[lengths > 0]
    if lengths.size == 0:
        return Rectangle(corners[0], (0.0, 0.0), np.array([1.0, 0.0]))
    along = edges / lengths[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    u, v = corners @ along.T, corners @ across.T
    low_u, low_v, high_u, high_v = u.min(0), v.min(0), u.max(0), v.max(0)
    best = int(np.argmin((high_u - low_u) * (high_v - low_v)))
    middle_u, middle_v = (low_u[best] + high_u[best]) / 2, (low_v[best] + high_v[best]) / 2
    center = along[best] * middle_u + across[best] * middle_v
    sides = (float(high_u[best] - low_u[best]), float(high_v[best] - low_v[best]))
    return Rectangle(center, sides, along[best])


def ordered(corners: Array) -> Array:
    """Four corners as top left, top right, bottom right, bottom left."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left = by_x[:2][np.argsort(by_x[:2, 1], kind="stable")]
    right = by_x[2:][np.argsort(by_x[2:, 1], kind="stable")]
    return np.stack([left[0], right[0], right[1], left[1]])


def mean_inside(values: Array, corners: Array) -> float:
    """The mean of values [h, w] at the pixels in a convex quadrilateral, its outline included."""
    height, width = values.shape
    x0, y0 = np.clip(np.floor(corners.min(0)), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(0)), 0, [width - 1, height - 1]).astype(int)
    part = values[y0 : y1 + 1, x0 : x1 + 1]
    x, y = np.arange(x0, x1 + 1), np.arange(y0, y1 + 1)[:, None]
    inside = np.ones(part.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        dx, dy = bx - ax, by - ay
        inside &= dx * (y - ay) - dy * (x - ax) >= -0.5 * np.hypot(dx, dy)
    return float(part[inside].mean()) if inside.any() else 0.0


def reading_order(boxes: Array) -> list[int]:
    """Indices of boxes [n, 4] (x0, y0, x1, y1) line by line from the top, each line from the left.

    A box joins a line when its middle is less than half the smaller height away from the line's middle.
    """
    middles, heights = (boxes[:, 1] + boxes[:, 3]) / 2, boxes[:, 3] - boxes[:, 1]
    lines: list[list[int]] = []
    for index in np.argsort(middles, kind="stable").tolist():
        last = lines[-1][-1] if lines else None
        if last is not None and middles[index] - middles[last] < min(heights[index], heights[last]) / 2:
            lines[-1].append(index)
        else:
            lines.append([index])
    return [index for line in lines for index in sorted(line, key=lambda one: float(boxes[one, 0]))]
