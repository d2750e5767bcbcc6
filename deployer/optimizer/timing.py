"""How fast graphs are, side by side: in one process, in turns, the baseline also against itself.

On a shared machine the same file measures 0.4 to 1.1 times itself in wall time from one minute to the next,
so no two figures of different minutes are compared: each round runs every candidate on the same inputs, and
what counts is the median over rounds of the ratio of CPU times.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from deployer.optimizer import driving, statistics
from deployer.spec import Progress

CONTROL = "="  # name of the baseline's twin
ROUNDS, MOST_ROUNDS = 9, 200
LEAST = 0.02  # seconds that one turn takes at least, so that the clock's steps do not matter
HOPELESS = 0.5  # of the baseline's speed: not measured further
BATCHES = (1, 2, 4, 8, 16, 32)


class _Here:
    """A session of this process."""

    def __init__(self, path: Path) -> None:
        import onnxruntime as ort

        from deployer.server.model import session_options

        self.session = ort.InferenceSession(str(path), session_options(1), providers=["CPUExecutionProvider"])

    def turn(self, feeds: list[Any], times: int) -> tuple[float, float]:
        """CPU and wall seconds of running all inputs so many times."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            for item in feeds:
                self.session.run(None, item)
        return time.process_time() - cpu, time.perf_counter() - wall

    def close(self) -> None:
        del self.session


class _There:
    """A session on a target, which says itself how long it took."""

    def __init__(self, path: Path, device: str, home: Path, progress: Progress) -> None:
        from deployer.optimizer.targets import executor  # only other devices need it

        self.executor = executor(device, home, progress)
        self.executor.open("model", path)

    def turn(self, feeds: list[Any], times: int) -> tuple[float, float]:
        """CPU and wall seconds, as the target counts them."""
        cpu = wall = 0.0
        for _ in range(times):
            for item in feeds:
                wall += self.executor.run("model", item)[1]
                cpu += self.executor.cpu
        return cpu, wall

    def close(self) -> None:
        self.executor.close()


def run(
    *,
    base: str,
    variants: dict[str, str],
    feeds: str,
    role: str,
    budget: float,
    device: str = "",
    home: str = "",
    progress: Progress,
) -> dict[str, Any]:
    """Ratios of CPU time, baseline ÷ variant, of one graph: {name: [median, low, high]}; the control too."""
    items = driving.load_feeds(Path(feeds), role, 12)
    if not items:
        raise ValueError(f"no inputs of {role} were recorded")
    paths = {"": base, CONTROL: base, **variants}

    def opened(path: str) -> _Here | _There:
        return _There(Path(path), device, Path(home), progress) if device else _Here(Path(path))

    sessions = {name: opened(path) for name, path in paths.items()}
    cpu, wall = _rounds(sessions, items, budget, progress)
    for session in sessions.values():
        session.close()
    per_item = {name: float(np.median(values)) for name, values in cpu.items()}
    ratios = {}
    for name in [CONTROL, *variants]:
        count = len(cpu[name])
        found = statistics.ratio(cpu[""][:count], cpu[name])
        ratios[name] = [found.value, found.low, found.high]
    return {
        "control": ratios.pop(CONTROL),
        "ratios": ratios,
        "milliseconds": {name: 1000 * value for name, value in per_item.items()},
        "wall": {
            name: [1000 * float(np.quantile(values, q)) for q in (0.5, 0.95)] for name, values in wall.items()
        },
        "rounds": len(cpu[""]),
    }


def _rounds(
    sessions: dict[str, Any], items: list[Any], budget: float, progress: Progress
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds for one input, by name and round; those much slower than the baseline leave early."""
    for session in sessions.values():
        session.turn(items[:1], 1)  # lazy work of a first run
    once = max(sessions[""].turn(items, 1)[0], 1e-6)
    times, began = max(1, int(LEAST / once)), time.monotonic()
    if once > budget / (ROUNDS * len(sessions)):  # a heavy graph: fewer inputs a turn
        items = items[: max(1, int(len(items) * budget / (ROUNDS * len(sessions) * once)))]
    cpu: dict[str, list[float]] = {name: [] for name in sessions}
    wall: dict[str, list[float]] = {name: [] for name in sessions}
    order, left = list(sessions), set(sessions)
    for number in range(MOST_ROUNDS):
        if number >= ROUNDS and time.monotonic() - began > budget:
            break
        for name in order:
            if name in left:
                spent, took = sessions[name].turn(items, times)
                cpu[name].append(spent / (times * len(items)))
                wall[name].append(took / (times * len(items)))
        order = [order[-1], *order[:-1]]  # nobody always runs after the same neighbour
        if number == 2:
            own = float(np.median(cpu[""]))
            left -= {n for n in left if n not in ("", CONTROL) and float(np.median(cpu[n])) * HOPELESS > own}
        progress(number, ROUNDS, "rounds")
    return cpu, wall


def batches(*, graph: str, feeds: str, role: str, budget: float, progress: Progress) -> dict[str, Any]:
    """Milliseconds of CPU for one row, by rows of a run: {"1": …, "2": …}; empty where rows cannot join."""
    session = _Here(Path(graph))
    sides = [*session.session.get_inputs(), *session.session.get_outputs()]
    free = all(len(side.shape) > 0 and not isinstance(side.shape[0], int) for side in sides)
    item = next(iter(driving.load_feeds(Path(feeds), role, 1)), None)
    if not free or item is None or {len(array) for array in item.values()} != {1}:
        return {}
    joined = {n: {name: np.repeat(array, n, axis=0) for name, array in item.items()} for n in BATCHES}
    spent: dict[int, list[float]] = {n: [] for n in BATCHES}
    began = time.monotonic()
    for number in range(40):
        if number >= 5 and time.monotonic() - began > budget:
            break
        for n in BATCHES:
            times = max(1, int(LEAST / 2 / max(spent[n][0] * n, 1e-6))) if spent[n] else 1
            spent[n].append(session.turn([joined[n]], times)[0] / (times * n))
        progress(number, 40, "batches")
    return {str(n): 1000 * float(np.median(values[1:])) for n, values in spent.items()}
