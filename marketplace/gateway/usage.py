"""Counts per deployment and key, handed to the shop once a second in batches that may be sent twice.

A batch keeps its id until the shop has taken it; what is counted meanwhile waits for the next.
"""

import asyncio
import json
import uuid
from dataclasses import asdict, dataclass

from marketplace.gateway.upstream import Pools, UpstreamGone
from marketplace.gateway.wire import log


@dataclass(slots=True)
class Count:
    """What one key did at one deployment since the last batch."""

    requests: int = 0
    errors: int = 0
    tokens: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0


class Usage:
    """Collects counts and hands them over."""

    def __init__(self, pools: Pools, shop: str, interval: float = 1.0) -> None:
        self._pools, self._shop, self._interval = pools, shop, interval
        self._counts: dict[tuple[str, str], Count] = {}
        self._batch: bytes | None = None

    def add(
        self,
        deployment: str,
        key_id: str,
        *,
        status: int,
        tokens: int,
        bytes_in: int,
        bytes_out: int,
        seconds: float,
    ) -> None:
        """Count one exchange."""
        count = self._counts.setdefault((deployment, key_id), Count())
        count.requests += 1
        count.errors += status >= 500
        count.tokens += tokens
        count.bytes_in += bytes_in
        count.bytes_out += bytes_out
        count.seconds += seconds

    async def deliver(self) -> None:
        """Send batches for ever."""
        while True:
            await asyncio.sleep(self._interval)
            await self.flush()

    async def flush(self) -> bool:
        """Send what is there; False if the shop did not take it, which keeps it for the next time."""
        if self._batch is None:
            if not self._counts:
                return True
            counts, self._counts = self._counts, {}
            items = [
                {"deployment": deployment, "key_id": key_id, **asdict(count)}
                for (deployment, key_id), count in counts.items()
            ]
            self._batch = json.dumps({"batch": str(uuid.uuid4()), "items": items}).encode()
        try:
            status, _ = await self._pools.ask(
                self._shop, b"POST", b"/internal/usage", self._batch, seconds=10
            )
        except UpstreamGone:
            return False
        if status >= 500 or status in (404, 408, 429):
            return False
        if status >= 300:
            # The shop will never take this batch; keeping it would block all that follow.
            log("usage-refused", "error", status=status)
        self._batch = None
        return True
