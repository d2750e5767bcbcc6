"""A bounded choice among any number of rows: those of the smallest hashes, which is as good as chance."""

import heapq

from deployer.optimizer.rows.row import Row

MOST_HELD = 128 << 20  # bytes of rows in memory


class Keeper:
    """Keeps at most `limit` rows and MOST_HELD bytes; the same rows whatever order they come in.

    A row that is kept to the end was kept since it first came, as the bound only falls; so its repeats are
    counted exactly without remembering the others.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.duplicates = 0
        self._held = 0
        self._bound: int | None = None  # the smallest that was dropped
        self._heap: list[int] = []  # negated orders: the greatest lies on top
        self._rows: dict[int, Row] = {}
        self._repeats: dict[int, int] = {}

    def add(self, row: Row) -> None:
        """Take a row, or leave it."""
        if self._bound is not None and int(row.key, 16) > self._bound >> 64:
            return
        order = _order(row)
        if order in self._rows:
            self._repeats[order] = self._repeats.get(order, 0) + 1
            return
        if self._bound is not None and order > self._bound:
            return
        heapq.heappush(self._heap, -order)
        self._rows[order] = row
        self._held += row.cost
        while len(self._heap) > self.limit or (self._held > MOST_HELD and len(self._heap) > 1):
            self._drop()

    def rows(self) -> list[Row]:
        """What was kept, in the order of the keys."""
        self.duplicates = sum(self._repeats.values())
        return [self._rows[order] for order in sorted(self._rows)]

    def _drop(self) -> None:
        order = -heapq.heappop(self._heap)
        self._held -= self._rows.pop(order).cost
        self._repeats.pop(order, None)
        self._bound = order


def _order(row: Row) -> int:
    """A number from the request's key, then the label."""
    return int(row.key, 16) << 64 | int(row.label_mark[:16], 16)
