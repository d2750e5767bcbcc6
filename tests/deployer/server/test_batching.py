"""The scheduler with real graphs: batches, the loop's own lane, cancelling, deadlines, streams, errors."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from deployer.server.batching import LIGHT, QUEUE, SETTLED, Cost, Job, Scheduler
from deployer.server.errors import BadInput, Words
from deployer.server.graph import Graph, Run
from deployer.server.http import Response
from deployer.server.model import Model
from deployer.server.problems import Problem
from tests.deployer.server.conftest import graph, identity, write_model

WIDTH = 256


class Desk:
    """Keeps what the scheduler says, and wakes who waits for it."""

    def __init__(self) -> None:
        self.answers: dict[Job, Any] = {}
        self.parts: list[Any] = []
        self.changed = asyncio.Event()

    def answer(self, job: Job, response: Response | None, error: Exception | None) -> None:
        self.answers[job] = error or response
        self.changed.set()

    def part(self, job: Job, item: Response | bytes) -> None:
        self.parts.append(item)
        self.changed.set()

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


Scenario = Callable[[Scheduler, Desk], Awaitable[None]]


def run(scenario: Scenario, threads: int = 1) -> None:
    async def main() -> None:
        desk = Desk()
        scheduler = Scheduler(threads, asyncio.get_running_loop(), desk)
        try:
            await scenario(scheduler, desk)
        finally:
            scheduler.close()

    asyncio.run(main())


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """y = x · w · w · … for rows [n, WIDTH]: some milliseconds each time, rows by themselves."""
    weights = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    names = ["x", *(f"h{number}" for number in range(300)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)]
    rows = ["n", WIDTH]
    model = graph(nodes, [("x", TensorProto.FLOAT, rows)], [("y", TensorProto.FLOAT, rows)], w=weights)
    return Model.open(write_model(tmp_path_factory.mktemp("h"), model, options={"batching": True})).graph()


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    folder = write_model(tmp_path_factory.mktemp("l"), identity(), options={"batching": True})
    return Model.open(folder).graph()


@pytest.fixture
def slow(slow_dir: Path) -> Iterator[Graph]:
    yield Model.open(slow_dir).graph()


def work(found: Graph, feeds: dict[str, Any], closed: list[bool] | None = None) -> Generator[Run, Any, Any]:
    try:
        outputs = yield Run(found, feeds, found.all_outputs)
        return Response(next(iter(outputs.values())).tobytes())
    finally:
        if closed is not None:
            closed.append(True)


def row(seed: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).normal(size=(1, WIDTH)).astype(np.float32)}


def test_what_queues_while_a_batch_runs_is_the_next_and_each_gets_its_own(heavy: Graph) -> None:
    async def scenario(scheduler: Scheduler, desk: Desk) -> None:
        jobs = [Job(work(heavy, row(seed)), Cost()) for seed in range(60)]
        for job in jobs:
            scheduler.submit(job)
        await desk.until(lambda: len(desk.answers) == len(jobs))
        for seed, job in enumerate(jobs):
            expected = heavy.run(Run(heavy, row(seed), heavy.all_outputs))["y"]
            assert np.allclose(np.frombuffer(desk.answers[job].body, np.float32), expected[0], atol=1e-4)
        assert max(scheduler.batches) == heavy.rows
        assert sum(size * count for size, count in scheduler.batches.items()) == len(jobs)
        assert sum(scheduler.batches.values()) <= len(jobs) / 4
        assert not scheduler.jobs

    run(scenario, threads=2)


def test_quick_work_moves_into_the_loop_and_heavy_work_stays_out(light: Graph, heavy: Graph) -> None:
    cost, costly = Cost(), Cost()
    threads: list[int] = []

    def noted(found: Graph, feeds: dict[str, Any]) -> Generator[Run, Any, Any]:
        threads.append(threading.get_ident())
        return (yield from work(found, feeds))

    async def scenario(scheduler: Scheduler, desk: Desk) -> None:
        async def one(found: Graph, feeds: dict[str, Any], of: Cost, size: int = 0) -> int:
            job = Job(noted(found, feeds), of)
            scheduler.submit(job, size)
            await desk.until(lambda: job in desk.answers)
            return threads[-1]

        here = threading.get_ident()
        small = {"x": np.ones((1, 2), np.float32)}
        assert await one(light, small, cost) != here
        for _ in range(10 * SETTLED):  # a busy machine may take a few more to show it
            if await one(light, small, cost) == here:
                break
        assert await one(light, small, cost) == here
        assert await one(light, small, cost, LIGHT + 1) != here
        for _ in range(SETTLED + 2):
            assert await one(heavy, row(1), costly) != here

    run(scenario)


def test_a_run_that_holds_the_loop_is_ended_and_done_on_a_thread(slow: Graph) -> None:
    cost = Cost()

    async def scenario(scheduler: Scheduler, desk: Desk) -> None:
        async def one(times: int) -> Job:
            job = Job(work(slow, {"times": np.array([times], np.int64)}), cost)
            scheduler.submit(job)
            return job

        for _ in range(200):
            job = await one(0)
            await desk.until(lambda job=job: job in desk.answers)  # type: ignore[misc]
            if cost.quick:
                break
        assert cost.quick
        endless = await one(1_000_000_000)
        await asyncio.sleep(0)  # the loop is held for a moment here
        began = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - began < 10
        assert cost.heavy
        assert endless in scheduler.jobs
        scheduler.cancel(endless)
        after = await one(1)
        await desk.until(lambda: after in desk.answers)
        assert np.frombuffer(desk.answers[after].body, np.int64).tolist() == [1]

    run(scenario)


def test_cancelling_ends_the_run_and_the_work(slow: Graph) -> None:
    closed: list[bool] = []

    async def scenario(scheduler: Scheduler, desk: Desk) -> None:
        first = Job(work(slow, {"times": np.array([1_000_000_000], np.int64)}, closed), Cost())
        second = Job(work(slow, {"times": np.array([1_000_000_000], np.int64)}), Cost())
        scheduler.submit(first)
        scheduler.submit(second)
        async with asyncio.timeout(20):
            while first.batch is None:
                await asyncio.sleep(0.005)
        scheduler.cancel(second)
        scheduler.cancel(first)
        last = Job(work(slow, {"times": np.array([3], np.int64)}), Cost())
        scheduler.submit(last)
        await desk.until(lambda: last in desk.answers)
        assert set(desk.answers) == {last}
        assert not scheduler.jobs
        assert closed == [True]

    run(scenario)


def test_deadlines(slow: Graph) -> None:
    async def scenario(scheduler: Scheduler, desk: Desk) -> None:
        late = Job(work(slow, {"times": np.array([1_000_000_000], np.int64)}), Cost(), deadline=10.0)
        kept = Job(work(slow, {"times": np.array([2], np.int64)}), Cost(), deadline=30.0)
        scheduler.submit(late)
        scheduler.submit(kept)
        assert scheduler.expire(9.0) == []
        assert scheduler.expire(10.0) == [late]
        await desk.until(lambda: kept in desk.answers)
        assert late not in desk.answers

    run(scenario)


def test_the_queue_is_bounded(slow: Graph) -> None:
    async def scenario(scheduler: Scheduler, desk: Desk) -> None:
        for _ in range(QUEUE + scheduler.threads):
            scheduler.submit(Job(work(slow, {"times": np.array([1_000_000_000], np.int64)}), Cost()))
        with pytest.raises(Problem) as refused:
            scheduler.submit(Job(work(slow, {"times": np.array([1], np.int64)}), Cost()))
        assert (refused.value.code, refused.value.status) == ("overloaded", 429)
        assert 1 <= int(refused.value.headers["Retry-After"]) <= 60

    run(scenario)


def test_errors_reach_their_caller_and_nobody_else(light: Graph) -> None:
    def bad() -> Generator[Run, Any, Any]:
        raise BadInput("x", Words("is bad", "不好"))
        yield

    def worse() -> Generator[Run, Any, Any]:
        yield Run(light, {"x": np.ones((1, 2), np.float32)}, light.all_outputs)
        raise RuntimeError("after the run")

    def mended() -> Generator[Run, Any, Any]:
        with pytest.raises(BadInput):
            yield Run(light, {"x": np.ones((1, 3), np.float32)}, light.all_outputs)
        return Response(b"went on")

    async def scenario(scheduler: Scheduler, desk: Desk) -> None:
        good = work(light, {"x": np.ones((1, 2), np.float32)})
        jobs = [Job(w, Cost()) for w in (bad(), worse(), mended(), good)]
        for job in jobs:
            scheduler.submit(job)
        await desk.until(lambda: len(desk.answers) == 4)
        first, second, third, fourth = (desk.answers[job] for job in jobs)
        assert isinstance(first, BadInput)
        assert isinstance(second, RuntimeError)
        assert third.body == b"went on"
        assert fourth.body == np.ones(2, np.float32).tobytes()

    run(scenario)


def test_a_stream_goes_on_when_it_is_resumed(light: Graph) -> None:
    def streamed() -> Generator[Any, Any, Any]:
        yield Response(streams=True)
        for number in range(3):
            yield Run(light, {"x": np.ones((1, 2), np.float32)}, light.all_outputs)
            yield b"%d" % number

    async def scenario(scheduler: Scheduler, desk: Desk) -> None:
        job = Job(streamed(), Cost())
        scheduler.submit(job)
        for count in range(1, 5):
            await desk.until(lambda count=count: len(desk.parts) == count)  # type: ignore[misc]
            assert not scheduler._lane  # nothing more comes unasked
            scheduler.resume(job)
        await desk.until(lambda: job in desk.answers)
        assert desk.parts[1:] == [b"0", b"1", b"2"]
        assert desk.answers[job] is None

    run(scenario)


def test_a_closed_scheduler_ends_what_runs(slow: Graph) -> None:
    async def scenario(scheduler: Scheduler, desk: Desk) -> None:
        for _ in range(5):
            scheduler.submit(Job(work(slow, {"times": np.array([1_000_000_000], np.int64)}), Cost()))
        async with asyncio.timeout(20):
            while not scheduler.batches:
                await asyncio.sleep(0.005)

    began = time.monotonic()
    run(scenario, threads=2)
    assert time.monotonic() - began < 20
