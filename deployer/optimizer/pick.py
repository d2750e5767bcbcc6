"""The decision: which candidates would be a gain, in which order, and whether the evidence is enough.

With labels a variant holds when the lower 95 % bound of (its score − the model's own), paired over the
same rows, is no lower than the allowed loss. Without labels it holds when it agrees with the model on 98 %
of the rows; from 85 % on labels are asked for, since such agreement was seen to hide anything from a gain
of 1.3 to a loss of 21 points; below, it is broken. Too few rows are no evidence. Rows that a candidate was
chosen by do not count, and each further candidate that is judged needs more confidence.
"""

from collections.abc import Sequence

from deployer.optimizer.objective import Objective
from deployer.optimizer.report import Baseline, Confirmation, Interval, Quality, Reason, Trial

LEAST_ROWS = 59  # fewer cannot exclude, with 95 % confidence, that one row in twenty is harmed
AGREES, AGREES_SURELY, ASKS = 0.98, 0.95, 0.85
SLOWEST = 0.95  # of the baseline's speed, for what is chosen for its size
SMALLER = 0.98  # of the baseline's size, to count as smaller
FASTER = 1.02
AS_FAST = 0.98
SIZE_WEIGHS = 0.1
GB_PER_CORE = 8.0  # what a core costs more than a gigabyte, on the price lists of large clouds


def gain(trial: Trial, baseline: Baseline, objective: Objective, control: Interval | None) -> Reason | None:
    """None for a candidate that would be a gain; else why not."""
    speed, ratio = trial.speed, trial.size / max(1, baseline.size)
    if objective.kind == "smallest":
        if ratio > SMALLER:
            return Reason("not-smaller", f"{ratio:.2f} × the size", f"体积为原来的 {ratio:.2f} 倍")
        if speed is not None and speed.value < SLOWEST:
            return _slower(speed)
        return None
    if speed is None:
        return Reason("not-measured", "its speed was not measured", "未测速度")
    noise = _noise(control)
    if objective.kind == "cheapest" and ratio <= SMALLER and speed.value >= SLOWEST:
        return None if _cost(trial, baseline) < 1 else _no_faster(speed, noise)
    if speed.value > noise and speed.low > 1:
        return None
    # As fast as before and smaller is a gain too, if nothing faster holds.
    return None if speed.value >= AS_FAST and ratio <= SMALLER else _no_faster(speed, noise)


def _noise(control: Interval | None) -> float:
    return max(FASTER, control.high if control else FASTER)


def over_bounds(
    size: int, milliseconds: float | None, seen: Confirmation | None, objective: Objective
) -> Reason | None:
    """Which bound on size, latency or memory is broken, as far as they were measured; None for none.

    Where real servers were seen at work, their latency counts, not that of the graphs alone.
    """
    latency = seen.latency_ms.get("p50") if seen else milliseconds
    if objective.max_size and size > objective.max_size:
        over = f"{size} > {objective.max_size} B"
        return Reason("too-large", over, over)
    if objective.max_latency_ms and latency is not None and latency > objective.max_latency_ms:
        over = f"{latency:.3g} > {objective.max_latency_ms:.3g} ms"
        return Reason("too-slow", over, over)
    if objective.max_memory and seen and seen.memory > objective.max_memory:
        over = f"{seen.memory} > {objective.max_memory} B"
        return Reason("too-much-memory", over, over)
    return None


def unconfirmed(seen: Confirmation | None) -> Reason | None:
    """Why a candidate is no gain in real servers; None when it is one, or none were asked."""
    if seen is None:
        return None
    if seen.same_answers < 1:
        share = 1 - seen.same_answers
        en = f"on the target {share:.0%} of the answers differ from those that were judged"
        return Reason("other-answers", en, f"在目标设备上有 {share:.0%} 的回答与评判时不同")
    noise = abs(1 - seen.control.value) if seen.control else 0.0
    if seen.cpu is not None and seen.cpu.high < SLOWEST and seen.cpu.value < SLOWEST - noise:
        en = f"{seen.cpu.value:.2f} × the speed on the target"
        return Reason("slower-on-target", en, f"在目标设备上速度为 {seen.cpu.value:.2f} 倍")
    return None


def decide(
    quality: Quality,
    objective: Objective,
    *,
    size: int,
    speed: Interval | None,
    milliseconds: float | None,
    seen: Confirmation | None,
) -> Reason | None:
    """The whole rule by which a variant is let through, from its figures alone; None when it is."""
    if speed is not None and speed.value < SLOWEST:
        return _slower(speed)
    return holds(quality, objective) or over_bounds(size, milliseconds, seen, objective) or unconfirmed(seen)


def _slower(speed: Interval) -> Reason:
    return Reason("slower", f"{speed.value:.2f} × the speed", f"速度为原来的 {speed.value:.2f} 倍")


def _no_faster(speed: Interval, noise: float) -> Reason:
    if speed.value < SLOWEST:
        return _slower(speed)
    return Reason(
        "no-faster",
        f"{speed.value:.2f} × the speed, within what the same file measures against itself ({noise:.2f})",
        f"速度为原来的 {speed.value:.2f} 倍，不超出同一文件自测的波动（{noise:.2f}）",
    )


def _cost(trial: Trial, baseline: Baseline) -> float:
    """What a call costs, against the baseline: processor time, and memory held meanwhile."""
    speed = trial.speed.value if trial.speed else 1.0
    spared = (baseline.size - trial.size) / 1e9 / GB_PER_CORE
    return (1 / max(speed, 1e-9)) * (1 - min(0.9, spared))


def order(
    trials: Sequence[Trial], baseline: Baseline, objective: Objective, control: Interval | None = None
) -> list[Trial]:
    """The best for the objective first; speeds inside the noise are one and the same."""
    if objective.kind == "smallest":
        return sorted(trials, key=lambda t: (round(t.size / max(1, baseline.size), 2), -_speed(t)))
    if objective.kind == "cheapest":
        return sorted(trials, key=lambda t: _cost(t, baseline))
    noise = _noise(control)
    return sorted(trials, key=lambda t: -_worth(t, baseline, noise))


def _worth(trial: Trial, baseline: Baseline, noise: float) -> float:
    """Its speed, where a tenth of a magnitude in size weighs as much as a hundredth of one in speed.

    Without it a hair's breadth of speed, which the next run would give to another, decided over megabytes.
    """
    speed = _speed(trial) if _speed(trial) > noise else 1.0
    return float(speed * (baseline.size / max(1, trial.size)) ** SIZE_WEIGHS)


def _speed(trial: Trial) -> float:
    return trial.speed.value if trial.speed else 0.0


def broken(quality: Quality) -> Reason | None:
    """Why a candidate is given up after a few rows: it is not merely worse, it is wrong."""
    if quality.basis == "labels":
        assert quality.difference
        lost = -quality.difference.value
        if lost > 0.15:
            return Reason("broken", f"it lost {lost:.3f} on a few rows", f"在少量数据上即损失 {lost:.3f}")
        return None
    assert quality.agreement
    agreed = quality.agreement.value
    if agreed < ASKS - 0.1:
        return Reason("broken", f"it agrees on {agreed:.0%} only", f"与原模型一致的仅 {agreed:.0%}")
    return None


def promising(quality: Quality, objective: Objective) -> Reason | None:
    """Why a candidate is not worth holding against the judged rows; None when it may well hold."""
    if quality.basis == "labels":
        assert quality.difference
        # Half of the interval is the noise of few rows.
        slack = (quality.difference.value - quality.difference.low) / 2
        if quality.difference.value + slack < -objective.max_drop:
            return _missed(quality, objective)
        return None
    assert quality.agreement
    return None if quality.agreement.value >= AGREES - 0.02 else _disagrees(quality)


def likelihood(chosen: Quality, judged: int, objective: Objective) -> float:
    """How far inside the bound the judged rows will probably put a candidate, by the rows to choose by.

    Below 0 it will probably miss. The few rows' difference is halved, since much of it is chance; the noise
    of a bound shrinks with the root of the number of rows.
    """
    if chosen.basis == "labels":
        assert chosen.difference
        noise = (chosen.difference.value - chosen.difference.low) * (chosen.rows / max(1, judged)) ** 0.5
        return float(chosen.difference.value / 2 - noise + objective.max_drop)
    return chosen.agreement.value - AGREES if chosen.agreement else 0.0


def holds(quality: Quality, objective: Objective) -> Reason | None:
    """None when the evidence of the judged rows is enough; else by how much it is not."""
    if quality.basis == "lossless":
        return None
    if quality.rows < LEAST_ROWS:
        return Reason(
            "not-enough-rows",
            f"{quality.rows} rows to judge by are not enough; {LEAST_ROWS} are, from about 90 rows in all",
            f"可用于评判的只有 {quality.rows} 行，至少要 {LEAST_ROWS} 行（总数约 90 行起）",
        )
    if quality.basis == "labels":
        assert quality.difference
        return _missed(quality, objective) if quality.difference.low < -objective.max_drop else None
    assert quality.agreement
    # Agreement of .98 never hid more than half a point; a narrower bound asks for more.
    wanted = max(AGREES, 1 - 4 * objective.max_drop)
    if quality.agreement.value >= wanted and quality.agreement.low >= AGREES_SURELY:
        return None
    return _disagrees(quality)


def _missed(quality: Quality, objective: Objective) -> Reason:
    assert quality.difference
    d, bound = quality.difference, -objective.max_drop
    return Reason(
        "bound-missed",
        f"{quality.metric} {d.value:+.4f}, at worst {d.low:+.4f} ({quality.level:.0%}): "
        f"{bound - d.low:.4f} beyond the bound of {bound:+.4f}",
        f"{quality.metric} 变化 {d.value:+.4f}，最坏 {d.low:+.4f}（{quality.level:.0%}），"
        f"超出允许的 {bound:+.4f} "
        f"{bound - d.low:.4f}",
    )


def _disagrees(quality: Quality) -> Reason:
    assert quality.agreement
    agreed = quality.agreement.value
    shown, shown_zh = f"it agrees on {agreed:.2%} of the rows", f"与原模型一致的占 {agreed:.2%}"
    if agreed < ASKS:
        return Reason("disagrees", shown, shown_zh)
    return Reason(
        "labels-needed",
        f"{shown}: without labels nobody can tell whether that is a loss",
        f"{shown_zh}：没有标签就无法判断是否变差",
    )


def level(attempt: int) -> float:
    """The confidence that the n-th candidate (from 1) held against the judged rows must reach.

    95 % for the first, 99 % for each further one: four of them may err together in 8 cases of a hundred.
    """
    return 0.95 if attempt == 1 else 0.99
