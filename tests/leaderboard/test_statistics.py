"""Tests of significance against scipy, statsmodels, hand-computed cases, and simulated users."""

import numpy as np
import pytest
from hypothesis import given as any_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests

from recbole_enhance.leaderboard import ranks, statistics

FINITE = st.floats(-100, 100, allow_nan=False, width=32)
DIFFERENCES = arrays(np.float64, st.integers(2, 60), elements=FINITE)
FEW = settings(max_examples=40, deadline=None)
DIRECTIONS = st.sampled_from((1, -1))


def given(*strategies):
    return lambda test: FEW(any_of(*strategies)(test))


@given(DIFFERENCES.filter(lambda d: np.ptp(d) > 1e-3))
def test_the_t_test_is_scipys(difference):
    t, p = statistics.paired_t(difference)
    expected = stats.ttest_rel(difference, np.zeros_like(difference))
    assert t == pytest.approx(expected.statistic, rel=1e-9, abs=1e-12)
    assert p == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-300)


@given(DIFFERENCES.filter(lambda d: np.count_nonzero(d) > 0))
def test_wilcoxon_is_scipys_without_the_ties(difference):
    unequal = difference[difference != 0]
    tied = len(set(np.abs(unequal))) < len(unequal)
    method = "approx" if tied or len(unequal) > 50 else "exact"
    expected = stats.wilcoxon(unequal, zero_method="wilcox", method=method).pvalue
    assert statistics.wilcoxon(difference) == pytest.approx(expected, rel=1e-9)


def test_wilcoxon_by_hand():
    # Ranks 1, 2, 3, 4 with W- = 1: of the 16 signs two are as extreme on each side.
    assert statistics.wilcoxon(np.array([-1.0, 2.0, 3.0, 4.0])) == pytest.approx(4 / 16)


def test_the_t_test_by_hand():
    t, p = statistics.paired_t(np.array([1.0, 3.0]))  # mean 2, s = sqrt 2, so t = 2
    assert t == pytest.approx(2.0)
    assert p == pytest.approx(1 - 2 * np.arctan(2) / np.pi)  # Cauchy


@pytest.mark.parametrize("values", [np.zeros(5), np.zeros(200)])
def test_all_ties_say_nothing(values):
    result = statistics.user_test(values, values, 1)
    assert (result.p_t, result.p_wilcoxon, result.d_z, result.rank_biserial) == (1, 1, 0, 0)
    assert (result.win, result.tie, result.loss) == (0, len(values), 0)


def test_a_constant_difference_has_no_spread():
    base = np.random.default_rng(0).random(30)
    result = statistics.user_test(base + 0.1, base, 1)
    assert result.p_t < 1e-100  # 0.1 is not the same after each addition
    exactly = statistics.user_test(np.full(30, 1.5), np.ones(30), -1)
    assert (exactly.t, exactly.p_t, exactly.d_z) == (np.inf, 0.0, np.inf)
    assert exactly.rank_biserial == 1
    assert (exactly.win, exactly.loss) == (0, 30)


def test_users_of_one_run_only_are_dropped_and_counted():
    nan = np.nan
    result = statistics.user_test(
        np.array([1.0, nan, 3.0, nan, 2.0]), np.array([nan, 1.0, 1.0, nan, 1.0]), 1
    )
    assert (result.users, result.dropped, result.mean) == (2, 2, 1.5)


@pytest.mark.parametrize("n", [0, 1])
def test_one_user_is_no_sample(n):
    result = statistics.user_test(np.ones(n), np.zeros(n), 1)
    assert np.isnan([result.p_t, result.p_wilcoxon, result.d_z]).all()
    assert result.users == n


@given(DIFFERENCES, DIRECTIONS)
def test_direction_turns_wins_round_and_nothing_else(difference, direction):
    zero = np.zeros_like(difference)
    one = statistics.user_test(difference, zero, direction)
    other = statistics.user_test(difference, zero, -direction)
    assert (one.win, one.loss) == (other.loss, other.win)
    assert one._replace(win=0, loss=0) == other._replace(win=0, loss=0) or np.isnan(one.t)
    assert one.win + one.tie + one.loss == one.users


@given(DIFFERENCES)
def test_swapping_the_runs_swaps_the_signs(difference):
    zero = np.zeros_like(difference)
    one, other = (
        statistics.user_test(*pair, 1) for pair in ((difference, zero), (zero, difference))
    )
    assert one.p_t == other.p_t
    assert one.p_wilcoxon == pytest.approx(other.p_wilcoxon)
    assert (one.d_z, one.rank_biserial, one.win) == (-other.d_z, -other.rank_biserial, other.loss)


@given(DIFFERENCES.filter(lambda d: np.count_nonzero(d) > 0))
def test_rank_biserial_against_a_loop(difference):
    unequal = difference[difference != 0]
    size = np.abs(unequal)
    rank = [np.mean([k + 1 for k, s in enumerate(sorted(size)) if s == own]) for own in size]
    plus = sum(r for r, d in zip(rank, unequal) if d > 0)
    minus = sum(r for r, d in zip(rank, unequal) if d < 0)
    assert statistics.rank_biserial(difference) == pytest.approx((plus - minus) / (plus + minus))


def test_rounding_makes_no_winners():
    three = np.array([0.1 + 0.2, 1e9 * (0.1 + 0.2), 0.0])
    assert statistics.differences(three, np.array([0.3, 1e9 * 0.3, 0.0])).tolist() == [0, 0, 0]
    assert statistics.differences(np.array([1e-9]), np.array([0.0])).tolist() == [1e-9]


# ---- over seeds --------------------------------------------------------------------------------


@given(DIFFERENCES.filter(lambda d: np.ptp(d) > 1e-3))
def test_the_interval_is_scipys(difference):
    result = statistics.seed_interval(difference)
    low, high = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    assert result.p == pytest.approx(stats.ttest_1samp(difference, 0).pvalue, rel=1e-9)
    assert (result.p < 0.05) == (result.low > 0 or result.high < 0)


def test_one_seed_has_no_interval():
    result = statistics.seed_interval(np.array([0.2, np.nan]))
    assert (result.n, result.mean) == (1, 0.2)
    assert np.isnan([result.low, result.high, result.p]).all()


def test_equal_seeds_have_an_interval_of_no_width():
    result = statistics.seed_interval(np.array([0.1, 0.1, 0.1]))
    assert (result.low, result.high, result.p) == pytest.approx((0.1, 0.1, 0.0))


@given(DIFFERENCES.filter(lambda d: np.ptp(d) > 1e-3), st.floats(1e-6, 1.0))
def test_rounding_widens_the_interval_by_its_variance(difference, unit):
    plain, wide = (statistics.seed_interval(difference, u) for u in (0.0, unit))
    n = len(difference)
    error = np.sqrt((difference.var(ddof=1) + unit**2 / 6) / n)
    half = stats.t.ppf(0.975, n - 1) * error
    assert (wide.low, wide.high) == pytest.approx((plain.mean - half, plain.mean + half), rel=1e-9)
    assert wide.p == pytest.approx(2 * stats.t.sf(abs(plain.mean) / error, n - 1), rel=1e-9)
    assert wide.p >= plain.p * (1 - 1e-9)


def test_seeds_that_round_alike_are_no_proof():
    """Two seeds, no effect, a spread of three units: without the unit .07 are found, not .0125."""
    draw, found = np.random.default_rng(0).normal(size=(20_000, 2, 2)) * 3e-4 / np.sqrt(2), 0
    rounded = draw.round(4)
    for difference in rounded[:, 0] - rounded[:, 1]:
        found += statistics.seed_interval(difference, 1e-4).p < 0.0125  # one of four, by Holm
    assert found / len(draw) < 0.015


@given(arrays(np.float64, (2, 3, 5), elements=st.one_of(FINITE, st.just(np.nan))))
def test_the_average_over_seeds_against_a_loop(values):
    method, backbone = statistics.seed_average(values[0], values[1])
    for user in range(5):
        both = zip(values[0, :, user], values[1, :, user])
        pairs = [pair for pair in both if not np.isnan(pair).any()]
        if pairs:
            means = np.mean(pairs, axis=0)
            assert (method[user], backbone[user]) == pytest.approx(tuple(means), abs=1e-9)
        else:
            assert np.isnan(method[user])
            assert np.isnan(backbone[user])


def test_other_seeds_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        statistics.seed_average(np.zeros((2, 3)), np.zeros((3, 3)))


# ---- families ----------------------------------------------------------------------------------


def test_holm_and_benjamini_hochberg_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert statistics.corrected(p, "holm") == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.corrected(p, "fdr_bh") == pytest.approx([0.02, 0.04, 0.04, 0.02])


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)))
def test_correction_leaves_out_what_was_not_tested(p):
    with_gaps = np.insert(p, 0, np.nan)
    for method in ("holm", "fdr_bh"):
        result = statistics.corrected(with_gaps, method)
        assert np.isnan(result[0])
        assert result[1:] == pytest.approx(multipletests(p, method=method)[1])
        assert (result[1:] >= p - 1e-15).all()


def test_nothing_to_correct():
    assert np.isnan(statistics.corrected(np.array([np.nan]), "holm")).all()
    assert statistics.corrected(np.array([]), "holm").shape == (0,)


# ---- ranks -------------------------------------------------------------------------------------

VALUES = arrays(
    np.float64,
    st.tuples(st.integers(2, 12), st.integers(3, 5)),
    elements=st.integers(0, 3).map(float),
)


@given(VALUES.filter(lambda v: any(len(set(row)) > 1 for row in v)), DIRECTIONS)
def test_friedman_is_scipys(values, direction):
    result = ranks.ranking(values, direction)
    expected = stats.friedmanchisquare(*values.T).pvalue
    assert result.p_friedman == pytest.approx(expected, rel=1e-9, abs=1e-12)
    k = values.shape[1]
    assert result.ranks.mean() == pytest.approx((k + 1) / 2)
    turned = ranks.ranking(values, -direction)
    assert turned.ranks == pytest.approx(k + 1 - result.ranks)


def test_users_who_rank_all_alike_find_nothing():
    assert ranks.ranking(np.ones((5, 3)), 1).p_friedman == 1.0


def test_the_smaller_value_ranks_first_where_smaller_is_better():
    values = np.array([[0.1, 0.2, 0.3]] * 4)
    assert ranks.ranking(values, -1).ranks.tolist() == [1, 2, 3]
    assert ranks.ranking(values, 1).ranks.tolist() == [3, 2, 1]


def test_ranks_need_three_rows_and_two_users():
    with pytest.raises(ValueError, match="three rows and two users"):
        ranks.ranking(np.ones((5, 2)), 1)
    with pytest.raises(ValueError, match="1 users"):
        ranks.ranking(np.array([[1.0, 2.0, 3.0], [np.nan, 1.0, 1.0]]), 1)


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_demsars_table(k, q):
    assert ranks.nemenyi_distance(k, 6) == pytest.approx(q * np.sqrt(k * (k + 1) / 36), abs=2e-3)


@given(arrays(np.float64, st.integers(2, 8), elements=st.floats(1, 8)), st.floats(0.1, 4))
def test_cliques_against_all_pairs(average, distance):
    groups = ranks.cliques(average, distance)
    joined = {frozenset((a, b)) for group in groups for a in group for b in group if a != b}
    near = {
        frozenset((a, b))
        for a in range(len(average))
        for b in range(a)
        if max(average[a], average[b]) <= min(average[a], average[b]) + distance
    }
    assert joined == near
    assert not any(set(a) < set(b) for a in groups for b in groups)


@given(
    arrays(
        np.float64, st.tuples(st.integers(1, 9), st.just(2)), elements=st.integers(0, 3).map(float)
    ),
    st.tuples(DIRECTIONS, DIRECTIONS),
)
def test_the_pareto_front_against_a_loop(points, directions):
    good = points * directions
    expected = [
        not any((other >= own).all() and (other > own).any() for other in good) for own in good
    ]
    assert ranks.pareto_front(points, directions).tolist() == expected


def test_a_point_without_a_value_is_on_no_front():
    assert ranks.pareto_front(np.array([[np.nan, 1.0], [0.0, 0.0]]), (1, 1)).tolist() == [0, 1]


# ---- simulated users ---------------------------------------------------------------------------


def simulated(rng, effect, seeds=3, users=400):
    """Values like those of a metric: many zeros, users who differ, noise of the training."""
    taste = rng.beta(0.5, 3.0, users)
    shape = (seeds, users)
    base = (rng.random(shape) < taste) * rng.random(shape)
    method = (rng.random(shape) < taste + effect) * rng.random(shape)
    return statistics.seed_average(method, base)


@pytest.mark.slow
@pytest.mark.parametrize("test", ["p_t", "p_wilcoxon"])
def test_no_effect_is_found_once_in_twenty(test):
    rng = np.random.default_rng(2020)
    n = 200
    found = sum(
        getattr(statistics.user_test(*simulated(rng, 0.0), 1), test) < 0.05 for _ in range(n)
    )
    low, high = stats.binom.ppf([0.005, 0.995], n, 0.05)
    assert low <= found <= high


@pytest.mark.slow
def test_an_effect_is_found_and_its_sign_too():
    rng = np.random.default_rng(2021)
    results = [statistics.user_test(*simulated(rng, 0.08), 1) for _ in range(200)]
    for test in ("p_t", "p_wilcoxon"):
        power = np.mean([getattr(result, test) < 0.05 for result in results])
        assert power > 0.9
    assert np.mean([result.mean > 0 for result in results]) > 0.99


@pytest.mark.slow
def test_the_families_keep_what_they_promise():
    """Of 20 comparisons 4 are real: Holm errs in at most 5 % of the tables, BH in 5 % of finds."""
    rng = np.random.default_rng(2022)
    holm_errs, bh_shares, found = 0, [], 0
    for _ in range(60):
        p = np.array(
            [
                statistics.user_test(*simulated(rng, 0.08 if n < 4 else 0.0), 1).p_t
                for n in range(20)
            ]
        )
        holm = statistics.corrected(p, "holm") < 0.05
        bh = statistics.corrected(p, "fdr_bh") < 0.05
        holm_errs += holm[4:].any()
        bh_shares.append(bh[4:].sum() / max(1, bh.sum()))
        found += holm[:4].sum()
    assert holm_errs <= stats.binom.ppf(0.995, 60, 0.05)
    assert np.mean(bh_shares) <= 0.05 + 3 * np.std(bh_shares) / np.sqrt(60)
    assert found / 240 > 0.6
