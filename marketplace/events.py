"""Tells waiting readers that something changed; what changed is read from the database."""

import asyncio
import threading
import time
from collections import defaultdict


class Hub:
    """A version number a topic, raised from any thread, awaited on any event loop.

    Only numbers travel: a reader that misses one still sees the newest state.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Numbers start at the clock so that they also rise over a restart of the process.
        self._start = int(time.time() * 1000)
        self._versions: dict[str, int] = {}
        self.closed = False
        self._waiters: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(list)

    def version(self, topic: str) -> int:
        """The topic's number now."""
        with self._lock:
            return self._versions.get(topic, self._start)

    def notify(self, topic: str) -> int:
        """Raise the topic's number and wake its readers; returns the new number."""
        with self._lock:
            version = self._versions[topic] = self._versions.get(topic, self._start) + 1
            waiters = self._waiters.pop(topic, [])
        for loop, event in waiters:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)
        return version

    def close(self) -> None:
        """Wake every reader for good: the shop ends, and streams must not hold it."""
        self.closed = True
        for topic in list(self._waiters):
            self.notify(topic)

    async def wait(self, topic: str, after: int, timeout: float) -> int:  # noqa: ASYNC109
        """Wait until the topic's number is above `after`, `timeout` seconds at most; returns the number."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            version = self._versions.get(topic, self._start)
            if version != after or self.closed:
                return version
            self._waiters[topic].append(waiter)
        try:
            await asyncio.wait_for(waiter[1].wait(), timeout)
        except TimeoutError:
            pass
        finally:
            with self._lock:
                if waiter in self._waiters.get(topic, []):
                    self._waiters[topic].remove(waiter)
        return self.version(topic)
