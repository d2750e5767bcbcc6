"""The decision: what is a gain, in which order, and when the evidence is enough."""

import pytest

from deployer.optimizer import pick
from deployer.optimizer.errors import ObjectiveRefused
from deployer.optimizer.objective import Objective, check, check_for
from deployer.optimizer.report import Baseline, Confirmation, Interval, Quality, Trial

BASELINE = Baseline(size=100_000_000, milliseconds=10.0)
CONTROL = Interval(1.0, 0.97, 1.04)


def trial(speed: float, size: float = 0.25, id: str = "t", spread: float = 0.01) -> Trial:
    return Trial(
        id,
        {"model": id},
        size=int(size * BASELINE.size),
        speed=Interval(speed, speed - spread, speed + spread),
        milliseconds=BASELINE.milliseconds / speed,
    )


def labelled(difference: float, low: float, rows: int = 400) -> Quality:
    high = 2 * difference - low
    return Quality(
        rows,
        "labels",
        agreement=Interval(0.99, 0.98, 1.0),
        metric="accuracy",
        score=Interval(0.9, 0.88, 0.92),
        baseline=0.9 - difference,
        difference=Interval(difference, low, high),
    )


def unlabelled(value: float, low: float, rows: int = 400) -> Quality:
    return Quality(rows, "agreement", agreement=Interval(value, low, 1.0))


def code(reason: object) -> str:
    return getattr(reason, "code", "")


@pytest.mark.parametrize(
    ("kind", "speed", "size", "why"),
    [
        ("fastest", 2.0, 0.25, ""),
        ("fastest", 2.0, 1.1, ""),
        ("fastest", 1.03, 1.0, "no-faster"),  # inside the band of the same file against itself
        ("fastest", 1.03, 0.25, ""),  # no faster, but smaller
        ("fastest", 0.97, 0.25, "no-faster"),
        ("fastest", 0.3, 0.25, "slower"),
        ("smallest", 0.96, 0.25, ""),
        ("smallest", 0.9, 0.25, "slower"),
        ("smallest", 2.0, 0.99, "not-smaller"),
        ("cheapest", 2.0, 1.0, ""),
        ("cheapest", 1.0, 0.25, ""),
        ("cheapest", 0.9, 0.25, "slower"),
        ("cheapest", 1.0, 1.0, "no-faster"),
    ],
)
def test_a_gain_is_beyond_what_noise_explains(kind: str, speed: float, size: float, why: str) -> None:
    objective = Objective(kind=kind)  # type: ignore[arg-type]
    assert code(pick.gain(trial(speed, size), BASELINE, objective, CONTROL)) == why


def seen(
    p50: float = 2.0, memory: int = 100, cpu: float = 2.0, same: float = 1.0, twin: float = 1.0
) -> Confirmation:
    return Confirmation(
        runtime="process",
        latency_ms={"p50": p50, "p95": 2 * p50},
        baseline_latency_ms={"p50": 4.0, "p95": 8.0},
        cpu=Interval(cpu, cpu - 0.02, cpu + 0.02),
        memory=memory,
        baseline_memory=100,
        cold_start=0.2,
        baseline_cold_start=0.2,
        throughput=100.0,
        baseline_throughput=50.0,
        same_answers=same,
        control=Interval(twin, twin - 0.02, twin + 0.02),
    )


@pytest.mark.parametrize(
    ("objective", "milliseconds", "found", "why"),
    [
        (Objective(max_size=10), 5.0, None, "too-large"),
        (Objective(max_latency_ms=4), 5.0, None, "too-slow"),
        (Objective(max_latency_ms=6), 5.0, None, ""),
        (Objective(max_latency_ms=6), 5.0, seen(p50=7.0), "too-slow"),  # what a caller waits for counts
        (Objective(max_latency_ms=6), 7.0, seen(p50=5.0), ""),
        (Objective(max_memory=50), 5.0, seen(memory=60), "too-much-memory"),
        (Objective(max_memory=70), 5.0, seen(memory=60), ""),
    ],
)
def test_bounds_are_held_against_what_was_measured(
    objective: Objective, milliseconds: float, found: Confirmation | None, why: str
) -> None:
    assert code(pick.over_bounds(25, milliseconds, found, objective)) == why


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (seen(), ""),
        (seen(cpu=0.97), ""),
        (seen(cpu=0.8), "slower-on-target"),
        (seen(cpu=0.9, twin=0.88), ""),  # no slower than the very same model beside it
        (seen(same=0.96), "other-answers"),
    ],
)
def test_real_servers_have_the_last_word(found: Confirmation, why: str) -> None:
    assert code(pick.unconfirmed(found)) == why


def test_the_order_is_the_objectives() -> None:
    trials = [trial(1.5, 0.2, "small"), trial(2.5, 0.9, "fast"), trial(2.0, 0.5, "middle")]
    first = {
        kind: pick.order(trials, BASELINE, Objective(kind=kind))[0].id  # type: ignore[arg-type]
        for kind in ("fastest", "smallest", "cheapest")
    }
    same = [trial(1.0, 0.6, "half"), trial(1.03, 0.9, "noise"), trial(1.01, 0.3, "third")]
    assert pick.order(same, BASELINE, Objective(), CONTROL)[0].id == "third"
    assert first == {"fastest": "fast", "smallest": "small", "cheapest": "fast"}


@pytest.mark.parametrize(
    ("quality", "why"),
    [
        (labelled(-0.002, -0.009), ""),
        (labelled(-0.002, -0.011), "bound-missed"),
        (labelled(0.02, 0.01), ""),
        (labelled(0.0, 0.0, rows=58), "not-enough-rows"),
        (labelled(0.0, 0.0, rows=59), ""),
        (unlabelled(0.985, 0.96), ""),
        (unlabelled(0.985, 0.94), "labels-needed"),
        (unlabelled(0.9, 0.88), "labels-needed"),
        (unlabelled(0.84, 0.8), "disagrees"),
        (Quality(3, "lossless", agreement=Interval(1, 1, 1)), ""),
    ],
)
def test_what_the_judged_rows_prove(quality: Quality, why: str) -> None:
    assert code(pick.holds(quality, Objective(max_drop=0.01))) == why


def test_a_missed_bound_says_by_how_much_in_both_languages() -> None:
    reason = pick.holds(labelled(-0.02, -0.031), Objective(max_drop=0.01))
    assert reason is not None
    assert "0.0210" in reason.why_en
    assert "0.0210" in reason.why_zh


def test_a_narrow_bound_without_labels_asks_for_more_agreement() -> None:
    assert pick.holds(unlabelled(0.985, 0.96), Objective(max_drop=0.005)) is None
    assert code(pick.holds(unlabelled(0.985, 0.96), Objective(max_drop=0.0))) == "labels-needed"
    assert pick.holds(unlabelled(1.0, 0.99), Objective(max_drop=0.0)) is None


def test_few_rows_only_give_up_what_is_broken() -> None:
    assert pick.broken(labelled(-0.1, -0.2, rows=30)) is None
    assert code(pick.broken(labelled(-0.4, -0.5, rows=30))) == "broken"
    assert pick.broken(unlabelled(0.8, 0.6, rows=30)) is None
    assert code(pick.broken(unlabelled(0.4, 0.2, rows=30))) == "broken"


def test_what_can_still_hold_is_held_against_the_judged_rows() -> None:
    objective = Objective(max_drop=0.01)
    assert pick.promising(labelled(-0.015, -0.03), objective) is None
    assert code(pick.promising(labelled(-0.05, -0.06), objective)) == "bound-missed"
    assert code(pick.promising(unlabelled(0.9, 0.85), objective)) == "labels-needed"


def test_what_the_judged_rows_will_probably_not_bear_out_waits() -> None:
    objective = Objective(max_drop=0.01)
    assert pick.likelihood(labelled(0.0, 0.0, rows=150), 350, objective) == pytest.approx(0.01)
    assert pick.likelihood(labelled(-0.005, -0.03, rows=150), 350, objective) < 0
    assert pick.likelihood(labelled(0.01, -0.002, rows=150), 350, objective) > 0
    assert (
        pick.likelihood(unlabelled(0.99, 0.95), 350, objective)
        > 0
        > pick.likelihood(unlabelled(0.97, 0.95), 350, objective)
    )


def test_each_further_candidate_needs_more_confidence() -> None:
    assert [pick.level(n) for n in (1, 2, 4)] == [0.95, 0.99, 0.99]


@pytest.mark.parametrize(
    "objective",
    [
        Objective(kind="best"),  # type: ignore[arg-type]
        Objective(max_drop=-0.1),
        Objective(max_drop=0.9),
        Objective(max_drop=float("nan")),
        Objective(max_latency_ms=-1),
        Objective(max_latency_ms=float("inf")),
        Objective(max_memory=-5),
        Objective(max_size=10),
        Objective(max_size=2000, max_memory=1500),
    ],
)
def test_contradictory_bounds_are_refused(objective: Objective) -> None:
    with pytest.raises(ObjectiveRefused):
        check(objective, smallest_size=1000)


def test_sensible_bounds_are_taken() -> None:
    check(Objective(kind="smallest", max_drop=0, max_size=2000, max_memory=10_000), smallest_size=1000)


@pytest.mark.parametrize(
    ("device", "objective", "confirmed"),
    [
        ("cuda", Objective(), True),
        ("arm64", Objective("fastest"), True),
        ("arm64", Objective("smallest", max_latency_ms=3), True),
        ("cpu", Objective(max_memory=1 << 30), False),
        ("openvino", Objective(max_memory=1 << 30), True),
    ],
)
def test_what_cannot_be_measured_is_not_promised(device: str, objective: Objective, confirmed: bool) -> None:
    with pytest.raises(ObjectiveRefused):
        check_for(device, objective, confirmed=confirmed)


def test_what_can_be_measured_is_taken() -> None:
    check_for("cpu", Objective(max_memory=1 << 30, max_latency_ms=3), confirmed=True)
    check_for("arm64", Objective("smallest"), confirmed=False)
