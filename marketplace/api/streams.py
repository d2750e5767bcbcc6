"""Jobs as streams: what one is whenever it changes, until it ends."""

from collections.abc import AsyncIterator, Callable

from litestar.concurrency import sync_to_thread
from litestar.response import ServerSentEventMessage

from marketplace.services import Services

Read = Callable[[], tuple[str, bool]]
"""The job as JSON, and whether it is over."""


async def changes(
    services: Services, topic: str, event: str, read: Read, gone: type[Exception]
) -> AsyncIterator[ServerSentEventMessage]:
    """An `event` for each change of a hub's topic, then an `end`; a job that is `gone` has ended too."""
    seen, sent = services.hub.version(topic), ""
    while not services.hub.closed:
        try:
            data, over = await sync_to_thread(read)
        except gone:  # removed meanwhile
            data, over = sent, True
        if data != sent:
            yield ServerSentEventMessage(event=event, data=data)
            sent = data
        if over:
            yield ServerSentEventMessage(event="end", data="{}")
            return
        seen = await services.hub.wait(topic, seen, timeout=15)
