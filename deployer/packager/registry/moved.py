"""Many blobs moved at once, and one count of their bytes for whoever watches."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from deployer.spec import Progress

AT_ONCE = 4
Thing = TypeVar("Thing")


class Stopped(Exception):
    """Another transfer failed, or nobody waits any more."""


class Tally:
    """Bytes moved and bytes that needed no moving; reports both as done, never more than there are."""

    def __init__(self, total: int, progress: Progress, note: str) -> None:
        self.moved = 0
        self.skipped = 0
        self._total = total
        self._progress = progress
        self._note = note
        self._stopped = False
        self._lock = threading.Lock()

    def move(self, count: int) -> None:
        """So many bytes went over the wire; ends the transfer that says so when all are to stop."""
        with self._lock:
            if self._stopped:
                raise Stopped
            self.moved += count
            self._tell()

    def stop(self) -> None:
        """End the transfers that still run."""
        with self._lock:
            self._stopped = True

    def skip(self, count: int) -> None:
        """So many bytes are there already."""
        with self._lock:
            self.skipped += count
            self._tell()

    def _tell(self) -> None:
        self._progress(min(self.moved + self.skipped, self._total), self._total, self._note)


def each(things: Iterable[Thing], work: Callable[[Thing], None], tally: Tally) -> None:
    """Do it to all of them, four at a time; the first error stops the others and is raised."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="registry") as pool:
        begun = [pool.submit(work, thing) for thing in things]
        try:
            for done in as_completed(begun):
                done.result()
        except BaseException:
            tally.stop()
            pool.shutdown(cancel_futures=True)
            raise
