"""How slow a source may be: one that crawls would keep its place from everybody else for days."""

import time

SLOWEST, OVER = 4096, 120.0  # bytes a second at least, on average over so many seconds
LONGEST = 6 * 3600.0  # seconds that all files of an import may take to come; what came is gone on with


class Pace:
    """Looks at a download while it goes on."""

    def __init__(self, done: int = 0) -> None:
        self._done, self._since = done, time.monotonic()

    def complaint(self, done: int) -> str:
        """Why it is to end at so many bytes; "" while it is quick enough."""
        if (passed := time.monotonic() - self._since) < OVER:
            return ""
        if done - self._done < SLOWEST * passed:
            return f"fewer than {SLOWEST} bytes a second for {round(passed)} s"
        self._done, self._since = done, time.monotonic()
        return ""
