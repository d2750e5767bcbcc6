"""The scheduler: works of many requests, driven by a few threads that join their runs into batches.

No timer: whatever queued while the last batch ran is the next one. A free runner brings what is fresh to
its first run, takes the runs that fit together, and hands everybody their outputs; so all that costs CPU
(decoding, the graph, encoding) happens on as many threads as the replica has, and the event loop only
moves bytes. Requests that cost less than waking a thread are worked in the loop instead, all that came
within one of its ticks at once.
"""

import asyncio
import logging
import math
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from deployer.server.errors import Terminated, Words
from deployer.server.graph import Outputs, Run
from deployer.server.http import Response
from deployer.server.problems import Problem

if TYPE_CHECKING:
    import onnxruntime

Answering = Generator[Run | Response | bytes, Any, Response | None]
"""The work of a request: yields runs, or the head and the pieces of a streamed answer; returns the answer."""

QUEUE = 128  # requests that may wait, beyond those that run
FRESH = 64  # works that one runner brings to their runs before it takes a batch
GATHERING = 0.1  # of its last turn's time a runner awaits the next requests of those it has just answered
FADING = 0.9  # of the level of requests after each turn
QUICK = 200e-6  # CPU seconds: a route that costs less is worked in the event loop
LIGHT = 4096  # bytes of a body that may be worked there
SETTLED = 16  # requests after which a route's cost is believed
TOO_LONG = 0.02  # CPU seconds of one request after which its route never comes back to the loop
LEAVING = 2.0  # seconds for a runner to end
STUCK = 0.25  # seconds after which a run in the loop is ended, and done on a thread

log = logging.getLogger("market.server")


class Cost:
    """What requests of one route cost in CPU seconds, and so where they are worked."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.seen = 0
        self.heavy = False

    @property
    def quick(self) -> bool:
        """Whether they may be worked in the event loop."""
        return self.seen >= SETTLED and self.seconds < QUICK and not self.heavy

    def observe(self, seconds: float) -> None:
        """Learn from one request."""
        self.seen += 1
        self.seconds += max(0.1, 1 / self.seen) * (seconds - self.seconds)
        if seconds > TOO_LONG and self.seen > SETTLED:
            self.heavy = True


class Job:
    """One request's work, and whom it is for."""

    __slots__ = (
        *("batch", "cancelled", "caller", "cost", "deadline"),
        *("paused", "reply", "run", "spent", "work"),
    )

    def __init__(self, work: Answering, cost: Cost, caller: Any = None, deadline: float = math.inf) -> None:
        self.work = work
        self.cost = cost
        self.caller = caller
        self.deadline = deadline
        self.run: Run | None = None
        self.reply: Outputs | Exception | None = None
        self.spent = 0.0
        self.cancelled = False
        self.paused = False  # until the caller has taken its last part
        self.batch: _Batch | None = None

    @property
    def rows(self) -> int:
        """Rows of the run that it waits for."""
        run = self.run
        assert run is not None
        return len(run.feeds[run.graph.names[0]])

    @property
    def room(self) -> int:
        """Rows that fit into one run with its own."""
        assert self.run is not None
        return self.run.graph.room(self.run)

    def end(self) -> None:
        """Give up the work, so that it lets go of what it holds."""
        try:
            self.work.close()
        except Exception:
            log.exception("a work did not end well")


class Desk(Protocol):
    """Where answers go; called in the event loop."""

    def answer(self, job: Job, response: Response | None, error: Exception | None) -> None:
        """A job has ended with an answer or an error."""

    def part(self, job: Job, item: Response | bytes) -> None:
        """A job has a part of its answer ready; it goes on when it is resumed."""


class _Step(NamedTuple):
    """What a job has come to: a part of its answer, or its end."""

    job: Job
    value: Any = None
    error: Exception | None = None
    last: bool = True


class _Batch(NamedTuple):
    """Jobs in one run, and the options by which it can be ended."""

    jobs: list[Job]
    options: "onnxruntime.RunOptions"

    def end_if_unwanted(self) -> None:
        """End the run when all its callers have gone."""
        if all(job.cancelled for job in self.jobs):
            self.options.terminate = True


class Lane:
    """Jobs that wait for a thread, and a thread's turn at them. `wake` is told when there is more to do."""

    def __init__(
        self,
        batches: Counter[int],
        wake: Callable[[], None],
        options: Callable[[], "onnxruntime.RunOptions"] | None = None,
    ) -> None:
        self.batches = batches
        self.wake = wake
        self.lock = threading.Lock()
        self.ended: list[Job] = []  # whose run was ended though they still wait
        self._options = options
        self._fresh: deque[Job] = deque()
        self._pending: dict[Hashable, deque[Job]] = {}

    def __len__(self) -> int:
        """How many wait; by its lock alone exact."""
        return len(self._fresh) + sum(map(len, self._pending.values()))

    def add(self, job: Job) -> None:
        """Let a job wait; one with a run goes to the runs."""
        if job.run is not None:
            self._wait(job, job.run)
        else:
            self._fresh.append(job)
        self.wake()

    def turn(self) -> list[_Step] | None:
        """Bring waiting jobs one run further, as many as fit together; None when none waits."""
        began = time.thread_time()
        steps: list[_Step] = []
        touched: list[Job] = []
        while self._fresh and len(touched) < FRESH:
            try:
                job = self._fresh.popleft()
            except IndexError:  # another runner was quicker
                break
            touched.append(job)
            self._advance(job, steps)
        batch = self._take()
        if batch:
            if self._fresh or self._pending:
                self.wake()
            touched += batch
            self._run(batch, steps)
        elif not touched:
            return None
        share = (time.thread_time() - began) / len(touched)
        for job in touched:
            job.spent += share
        return steps

    def _advance(self, job: Job, steps: list[_Step]) -> None:
        """Send a job its outputs, and see what it wants next."""
        if job.cancelled:
            job.end()
            return
        reply, job.reply, job.run = job.reply, None, None
        try:
            item = job.work.throw(reply) if isinstance(reply, Exception) else job.work.send(reply)
            if isinstance(item, Run):
                self._wait(job, item)
            else:
                steps.append(_Step(job, item, last=False))
        except StopIteration as end:
            steps.append(_Step(job, end.value))
        except Exception as error:
            job.end()
            steps.append(_Step(job, error=error))

    def _wait(self, job: Job, run: Run) -> None:
        key = run.graph.key(run)
        job.run = run
        with self.lock:
            waiting = self._pending.get(key) if key is not None else None
            if waiting is None:
                self._pending[job if key is None else key] = deque([job])
            else:
                waiting.append(job)

    def _take(self) -> list[Job]:
        """The jobs of the next run: the longest waiting and those that fit to it."""
        batch: list[Job] = []
        unwanted: list[Job] = []
        with self.lock:
            while self._pending and not batch:
                key = next(iter(self._pending))
                waiting = self._pending.pop(key)
                room = 0
                while waiting:
                    job = waiting[0]
                    if job.cancelled:
                        unwanted.append(waiting.popleft())
                        continue
                    # A key of its own is a job: nothing may be joined to it.
                    rows = 0 if key is job else job.rows
                    if batch and rows > room:
                        break
                    if not batch:
                        room = 0 if key is job else job.room
                    room -= rows
                    batch.append(waiting.popleft())
                if waiting:  # behind the others, so that no shape starves another
                    self._pending[key] = waiting
        for job in unwanted:  # not under the lock: what a work does at its end is its own
            job.end()
        return batch

    def _run(self, jobs: list[Job], steps: list[_Step]) -> None:
        runs = [job.run for job in jobs if job.run is not None]
        graph = runs[0].graph
        batch = _Batch(jobs, self._options() if self._options else graph.options())
        with self.lock:
            for job in jobs:
                job.batch = batch
            self.batches[len(jobs)] += 1
            batch.end_if_unwanted()
        results: list[Outputs | Exception] | None
        try:
            results = graph.run_all(runs, batch.options)
        except Terminated:
            results = None
        except Exception as error:
            results = [error] * len(jobs)
        with self.lock:
            for job in jobs:
                job.batch = None
        if results is None:
            for job in jobs:
                if job.cancelled:
                    job.end()
                else:
                    self.ended.append(job)
            return
        for job, result in zip(jobs, results, strict=True):
            job.reply = result
            self._advance(job, steps)


class Scheduler:
    """Takes jobs from the event loop and works them, on `threads` runners or in the loop itself."""

    def __init__(self, threads: int, loop: asyncio.AbstractEventLoop, desk: Desk) -> None:
        self.threads = threads
        self.loop = loop
        self.desk = desk
        self.jobs: set[Job] = set()  # those that are not done; the event loop's own
        self.batches: Counter[int] = Counter()  # runs by their number of requests
        self.seconds = 0.0  # of CPU, spent on jobs that are done
        self._level = 0.0  # how many requests there are at a time, of late at most
        self._closing = False
        self._sleepers: list[_Sleeper] = []
        self._lane = Lane(self.batches, self._wake)
        self._watch = Watch()
        self._ticking = False
        self._light = Lane(self.batches, self._call_tick, self._watch.options)
        self._runners = [
            threading.Thread(target=self._runner, name=f"runner-{number}", daemon=True)
            for number in range(threads)
        ]
        for runner in self._runners:
            runner.start()

    def submit(self, job: Job, size: int = 0) -> None:
        """Take a job over a body of `size` bytes; refused when too many wait."""
        if len(self.jobs) >= self.threads + QUEUE:
            raise self._overloaded()
        self.jobs.add(job)
        self._level = max(self._level, len(self.jobs))
        (self._light if size <= LIGHT and job.cost.quick else self._lane).add(job)

    def resume(self, job: Job) -> None:
        """Go on with a job whose last part was sent."""
        if job.paused and job in self.jobs:
            job.paused = False
            self._lane.add(job)

    def cancel(self, job: Job) -> None:
        """Forget a job: its caller has gone, or its time is over. A run that serves nobody else ends."""
        if job in self.jobs:
            self.jobs.discard(job)
            with self._lane.lock:
                job.cancelled = True
                if job.batch is not None:
                    job.batch.end_if_unwanted()

    def expire(self, now: float) -> list[Job]:
        """Cancel the jobs whose deadline has passed; returns them."""
        late = [job for job in self.jobs if job.deadline <= now]
        for job in late:
            self.cancel(job)
        return late

    def close(self) -> None:
        """Cancel what is left and end the runners."""
        for job in list(self.jobs):
            self.cancel(job)
        with self._lane.lock:
            self._closing = True
            sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            sleeper.bell.put(None)
        for runner in self._runners:
            runner.join(LEAVING)
        self._watch.close()

    @property
    def ended(self) -> bool:
        """Whether every runner has ended, so that the model can be let go of."""
        return not any(runner.is_alive() for runner in self._runners)

    # On the runners.

    def _runner(self) -> None:
        bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        gathers_until = 0.0
        while not self._closing:
            now = time.perf_counter()
            if gathers_until > now and self._sleep(_Sleeper(bell, gathers=True), gathers_until - now):
                continue
            began = time.perf_counter()
            try:
                steps = self._lane.turn()
            except Exception:
                log.exception("a runner's turn failed")
                continue
            if steps is None:
                self._sleep(_Sleeper(bell, gathers=False), None)
                continue
            if steps:
                self.loop.call_soon_threadsafe(self._hand_over, steps)
            ended = time.perf_counter()
            self._level = max(FADING * self._level, len(self.jobs))
            gathers_until = ended + GATHERING * (ended - began)

    def _sleep(self, sleeper: "_Sleeper", seconds: float | None) -> bool:
        """Wait to be woken, unless there is enough to do; True when something may have changed."""
        with self._lane.lock:
            if self._closing or self._enough(sleeper):
                return False
            self._sleepers.append(sleeper)
        try:
            sleeper.bell.get(timeout=seconds)
        except queue.Empty:
            with self._lane.lock:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)
                    return False
            sleeper.bell.get()  # woken as the time was over
        return True

    def _enough(self, sleeper: "_Sleeper") -> bool:
        """Whether a runner should set to work: one who gathers awaits its share of all requests."""
        return len(self._lane) >= (self._level / self.threads if sleeper.gathers else 1)

    def _wake(self) -> None:
        with self._lane.lock:
            ready = next((one for one in self._sleepers if self._enough(one)), None)
            if ready is None:
                return
            self._sleepers.remove(ready)
        ready.bell.put(None)

    # In the event loop.

    def _call_tick(self) -> None:
        if not self._ticking:
            self._ticking = True
            self.loop.call_soon(self._tick)

    def _tick(self) -> None:
        """Work what came within this tick of the loop."""
        self._ticking = False
        with self._watch:
            while (steps := self._light.turn()) is not None:
                self._hand_over(steps)
        for job in self._light.ended:  # too long for the loop: done again, on a thread
            job.cost.heavy = True
            self._lane.add(job)
        self._light.ended.clear()

    def _hand_over(self, steps: list[_Step]) -> None:
        """Give answers to those who wait for them; one that cannot be given is lost alone."""
        for job, value, error, last in steps:
            try:
                if job.cancelled:
                    job.end()
                elif last:
                    self.jobs.discard(job)
                    self.seconds += job.spent
                    job.cost.observe(job.spent)
                    self.desk.answer(job, value, error)
                else:
                    job.paused = True
                    self.desk.part(job, value)
            except Exception:
                log.exception("an answer could not be given")

    def _overloaded(self) -> Problem:
        waiting = len(self.jobs)
        seconds = sum(job.cost.seconds for job in self.jobs) / self.threads
        cause = Words(f"{waiting} requests are waiting or running.", f"有 {waiting} 个请求正在等待或处理。")
        return Problem("overloaded", cause, headers={"Retry-After": str(min(max(1, math.ceil(seconds)), 60))})


class _Sleeper(NamedTuple):
    """A runner that waits for its bell: for anything to do, or, if it gathers, for its share."""

    bell: "queue.SimpleQueue[None]"
    gathers: bool


class Watch:
    """Ends a graph's run that holds the event loop for STUCK seconds; costs nothing while none does."""

    def __init__(self) -> None:
        self._options: onnxruntime.RunOptions | None = None
        self._entered = 0
        self._inside = False
        self._awake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def options(self) -> "onnxruntime.RunOptions":
        """The options of runs inside; made anew after they ended one."""
        if self._options is None or self._options.terminate:
            import onnxruntime as ort

            self._options = ort.RunOptions()
            self._options.log_severity_level = 4
        return self._options

    def __enter__(self) -> None:
        self._entered += 1
        self._inside = True
        if not self._awake.is_set():
            self._awake.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
                self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._inside = False

    def close(self) -> None:
        """End the watching thread."""
        self._closed.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while True:
            self._awake.wait()
            seen = self._entered
            if self._closed.wait(STUCK):
                return
            if self._entered != seen:
                continue
            if self._inside:
                if self._options is not None:
                    self._options.terminate = True
                continue
            self._awake.clear()
            if self._inside or self._closed.is_set():  # just as we fell asleep
                self._awake.set()
