import asyncio
import threading

from marketplace.events import Hub


def test_a_reader_wakes_when_another_thread_notifies() -> None:
    hub = Hub()

    async def read() -> int:
        before = hub.version("a")
        threading.Timer(0.05, hub.notify, ["a"]).start()
        after = await hub.wait("a", before, timeout=10)
        assert after == before + 1
        return after

    asyncio.run(read())


def test_what_happened_before_the_wait_is_not_missed() -> None:
    hub = Hub()
    before = hub.version("a")
    hub.notify("a")
    assert asyncio.run(hub.wait("a", before, timeout=10)) == before + 1


def test_other_topics_do_not_wake_and_the_wait_ends() -> None:
    hub = Hub()
    before = hub.version("a")
    hub.notify("b")
    assert asyncio.run(hub.wait("a", before, timeout=0.05)) == before


def test_no_waiter_is_kept_after_its_wait() -> None:
    hub = Hub()
    asyncio.run(hub.wait("a", hub.version("a"), timeout=0.01))
    assert not hub._waiters["a"]
