import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from deployer.optimizer import statistics
from deployer.optimizer.metrics.tally import Mean, Ratio


def mean(values):
    return Mean("accuracy", np.asarray(values, np.float64))


@given(x=st.floats(0, 1), a=st.floats(0.05, 5000), b=st.floats(0.05, 5000))
def test_the_beta_function_is_scipys(x, a, b):
    assert statistics.beta_cdf(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-9)


@given(p=st.floats(0.001, 0.999), a=st.floats(0.5, 3000), b=st.floats(0.5, 3000))
def test_its_quantile_is_scipys(p, a, b):
    assert statistics.beta_quantile(p, a, b) == pytest.approx(special.betaincinv(a, b, p), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("hits", "n"), [(0, 59), (0, 1), (1, 60), (7, 350), (350, 350), (349, 350)])
def test_shares_are_bounded_as_clopper_and_pearson_do(hits, n):
    test = stats.binomtest(hits, n)
    high = test.proportion_ci(0.9, "exact").high
    low = test.proportion_ci(0.9, "exact").low
    assert statistics.share_high(hits, n) == pytest.approx(high, abs=1e-9)
    assert statistics.share_low(hits, n) == pytest.approx(low, abs=1e-9)


def test_fifty_nine_rows_without_harm_exclude_one_in_twenty():
    assert statistics.FEWEST == 59
    assert statistics.share_high(0, 59) <= 0.05 < statistics.share_high(0, 58)


@pytest.mark.parametrize(("limit", "rows"), [(0.05, 59), (0.02, 149), (0.01, 299), (0.005, 598), (0.5, 5)])
def test_rows_that_a_limit_needs(limit, rows):
    assert statistics.rows_needed(limit) == rows
    assert statistics.share_high(0, rows) <= limit < statistics.share_high(0, rows - 1)


@pytest.mark.parametrize("limit", [0, 1, -1, math.nan])
def test_no_rows_prove_a_limit_of_nothing(limit):
    with pytest.raises(ValueError, match="not between"):
        statistics.rows_needed(limit)


def test_no_difference_is_a_bound_of_zero_but_says_what_may_be_harmed():
    rows = mean([1.0] * 40 + [0.0] * 19)
    found = statistics.compare(rows, rows, limit=0.0, seed=0)
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert (found.worse, found.better, found.p_worse) == (0, 0, 1.0)
    assert found.harmed == pytest.approx(0.0495, abs=1e-4)
    assert found.enough and found.holds


def test_too_few_rows_hold_nothing():
    rows = mean([1.0] * 58)
    found = statistics.compare(rows, rows, limit=0.5, seed=0)
    assert not found.enough and not found.holds


def test_a_loss_beyond_the_limit_does_not_hold():
    base, variant = mean([1.0] * 300), mean([1.0] * 290 + [0.0] * 10)
    found = statistics.compare(variant, base, limit=0.01, seed=1)
    assert found.difference == pytest.approx(-1 / 30)
    assert found.low < found.difference < found.high
    assert not found.holds
    assert statistics.compare(variant, base, limit=0.06, seed=1).holds
    assert (found.worse, found.better) == (10, 0)
    assert found.p_worse == pytest.approx(stats.binomtest(10, 10, alternative="greater").pvalue)


def test_what_gets_hardly_worse_is_not_harmed():
    base = mean([0.5] * 100)
    assert statistics.compare(mean([0.495] * 100), base, limit=0.1, seed=0).worse == 0
    assert statistics.compare(mean([0.48] * 100), base, limit=0.1, seed=0).worse == 100


def test_rows_of_two_tallies_must_be_the_same():
    with pytest.raises(ValueError, match="cannot be compared"):
        statistics.compare(mean([1.0]), mean([1.0, 1.0]), limit=0.1, seed=0)


def test_a_seed_gives_the_same_bounds_again():
    random = np.random.default_rng(0)
    one, other = mean(random.random(200)), mean(random.random(200))
    first, again, another = (statistics.compare(one, other, limit=0.1, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.low != another.low


def test_an_interval_of_right_and_wrong_is_exact():
    found = statistics.interval(mean([1.0] * 59), seed=0)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(stats.binomtest(59, 59).proportion_ci(0.95, "exact").low)


def test_any_other_interval_is_a_bootstraps():
    random = np.random.default_rng(0)
    top, bottom = random.integers(0, 5, 400).astype(float), np.full(400, 5.0)
    tally = Ratio("f1", top / bottom, top, bottom)
    found = statistics.interval(tally, seed=0)
    spread = 1.96 * (top / bottom).std() / math.sqrt(400)
    assert found.low == pytest.approx(found.value - spread, abs=spread / 8)
    assert found.high == pytest.approx(found.value + spread, abs=spread / 8)


def test_agreement_of_zeros_and_ones_is_exact():
    found = statistics.agreement(np.array([1.0] * 97 + [0.0] * 3))
    assert found.value == 0.97
    assert found.low == pytest.approx(stats.binomtest(97, 100).proportion_ci(0.9, "exact").low)


def test_agreement_of_nothing_says_nothing():
    assert statistics.agreement(np.zeros(0)) == statistics.Interval(0, 0, 1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_agreement_lies_within_its_bounds(values):
    found = statistics.agreement(np.array(values))
    assert 0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1


def test_a_ratio_is_the_median_of_rounds_in_turn():
    found = statistics.ratio([2.0, 2.2, 1.8, 2.0, 2.1, 40.0], [1.0, 1.1, 1.0, 1.0, 1.0, 20.0])
    assert found.value == 2.0
    assert (found.low, found.high) == (1.8, 2.1)


def test_few_rounds_get_their_range():
    assert statistics.ratio([3.0], [2.0]) == statistics.Interval(1.5, 1.5, 1.5)


@pytest.mark.parametrize(
    ("base", "variant"), [([], []), ([1.0], [1.0, 2.0]), ([1.0], [0.0]), ([math.nan], [1.0])]
)
def test_rounds_that_cannot_be_compared(base, variant):
    with pytest.raises(ValueError, match="round"):
        statistics.ratio(base, variant)


# How often a bound of 95 % holds, over simulated data whose truth is known. The error of a share of 600
# simulations is about one in a hundred; the bar is 93 %.


def covered(simulate, times=600):
    return sum(simulate(np.random.default_rng(seed)) for seed in range(times)) / times


@pytest.mark.parametrize(("n", "worse", "better"), [(150, 0.08, 0.05), (350, 0.03, 0.02), (60, 0.15, 0.15)])
def test_the_lower_bound_of_a_difference_covers_it(n, worse, better):
    def simulate(random):
        base = (random.random(n) < 0.9).astype(float)
        flips = random.random(n)
        variant = np.where(base > 0, flips >= worse, flips < better).astype(float)
        truth = -0.9 * worse + 0.1 * better
        seed = int(random.integers(1 << 30))
        return statistics.compare(mean(variant), mean(base), limit=0, seed=seed, draws=400).low <= truth

    assert covered(simulate) >= 0.93


def test_the_lower_bound_of_a_measure_between_covers_it():
    def simulate(random):
        base = random.beta(8, 2, 80)
        variant = base + random.normal(-0.01, 0.05, 80)
        seed = int(random.integers(1 << 30))
        return statistics.compare(mean(variant), mean(base), limit=0, seed=seed, draws=400).low <= -0.01

    assert covered(simulate) >= 0.93


def test_the_bound_of_the_harmed_covers_where_the_bootstrap_cannot():
    """One row in a hundred is made worse: 100 rows often show none of it, and nothing is left to draw."""

    def simulate(random, which):
        variant = (random.random(100) >= 0.01).astype(float)
        found = statistics.compare(mean(variant), mean(np.ones(100)), limit=0, seed=0, draws=400)
        return found.harmed >= 0.01 if which == "harmed" else found.low <= -0.01

    assert covered(lambda random: simulate(random, "harmed")) >= 0.93
    assert covered(lambda random: simulate(random, "low")) < 0.8  # why `harmed` is told beside it


@pytest.mark.parametrize("draw", [lambda r: r.random(80) < 0.97, lambda r: r.beta(30, 1, 80)])
def test_the_lower_bound_of_agreement_covers_it(draw):
    truth = float(np.mean(np.concatenate([draw(np.random.default_rng(seed)) for seed in range(1000)])))

    def simulate(random):
        return statistics.agreement(np.asarray(draw(random), np.float64)).low <= truth

    assert covered(simulate) >= 0.93


def test_the_interval_of_a_ratio_covers_it():
    def simulate(random):
        common = random.lognormal(0, 0.5, 9)  # how busy the machine is in a round
        base, variant = 2 * common * random.lognormal(0, 0.05, 9), common * random.lognormal(0, 0.05, 9)
        found = statistics.ratio(base.tolist(), variant.tolist())
        return found.low <= 2 <= found.high

    assert covered(simulate) >= 0.93
