import itertools
import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recbole_enhance.metric.fairness import (
    ERRORS,
    activity_groups,
    differential_fairness,
    group_gap,
    group_mad,
    group_statistics,
    group_table,
    non_parity,
    unfairness,
)


@st.composite
def grouped(draw):
    """Values, some unknown, of users in groups, some unknown and some empty."""
    n, n_groups = draw(st.integers(0, 25)), draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    values = torch.rand(n, generator=generator, dtype=torch.float64)
    values[torch.rand(n, generator=generator) < 0.2] = math.nan
    return values, torch.randint(-1, n_groups, (n,), generator=generator), n_groups


@st.composite
def scored(draw):
    """Scores of held-out pairs, their items and their users' groups."""
    n, n_items = draw(st.integers(0, 30)), draw(st.integers(2, 8))
    n_groups = draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    scores = torch.randn(n, generator=generator)
    items = torch.randint(1, n_items, (n,), generator=generator)
    codes = torch.randint(-1, n_groups, (n,), generator=generator)
    return scores, items, codes, n_groups, n_items


def members(values, codes, n_groups):
    """Known values of each group that has any."""
    held = [[] for _ in range(n_groups)]
    for value, code in zip(values.tolist(), codes.tolist()):
        if code >= 0 and not math.isnan(value):
            held[code].append(value)
    return held


def same(result, expected):
    assert result.dtype == torch.float64
    assert result.item() == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(deadline=None)
@given(grouped())
def test_statistics_gap_and_mad_against_a_loop(case):
    held = members(*case)
    count, mean, variance = group_statistics(*case)
    assert count.tolist() == [len(values) for values in held]
    for g, values in enumerate(held):
        expected = statistics.mean(values) if values else math.nan
        assert mean[g].item() == pytest.approx(expected, nan_ok=True)
        expected = statistics.variance(values) if len(values) > 1 else math.nan
        assert variance[g].item() == pytest.approx(expected, nan_ok=True)
    means = [statistics.mean(values) for values in held if values]
    differences = [abs(a - b) for a, b in itertools.combinations(means, 2)]
    gap, mad = group_gap(*case), group_mad(*case)
    same(gap, max(differences, default=math.nan))
    same(mad, statistics.mean(differences) if differences else math.nan)
    if differences:
        assert 0 <= mad <= gap + 1e-12


def test_equal_groups_have_no_gap_and_an_empty_one_does_not_count():
    values, codes = torch.tensor([0.1, 0.3, 0.2]), torch.tensor([0, 0, 3])
    assert group_gap(values, codes, 5).item() == pytest.approx(0, abs=1e-8)
    assert group_mad(values, codes, 5).item() == pytest.approx(0, abs=1e-8)


@settings(deadline=None)
@given(grouped())
def test_table_against_scipy(case):
    values, codes, n_groups = case
    held, labels = members(*case), [f"g{g}" for g in range(n_groups)]
    rows = group_table({"ndcg@5": values}, "age", codes, labels)
    groups = [row for row in rows if not row.group.startswith("gap: ")]
    assert [row.group for row in groups] == labels
    for row, mine in zip(groups, held):
        assert (row.field, row.metric, row.users) == ("age", "ndcg@5", len(mine))
        low = high = math.nan
        if len(mine) > 1:
            interval = stats.ttest_1samp(mine, 0).confidence_interval(0.95)
            low, high = interval.low, interval.high
        assert (row.ci_low, row.ci_high) == pytest.approx((low, high), nan_ok=True)
    known = [g for g, mine in enumerate(held) if mine]
    gaps = [row for row in rows if row.group.startswith("gap: ")]
    assert len(gaps) == (len(known) > 1)
    for row in gaps:
        top = max(known, key=lambda g: statistics.mean(held[g]))
        low = min(known, key=lambda g: statistics.mean(held[g]))
        assert row.group == f"gap: g{top} - g{low}"
        assert row.users == len(held[top]) + len(held[low])
        assert row.mean == pytest.approx(group_gap(*case).item())
        if min(len(held[top]), len(held[low])) > 1:
            test = stats.ttest_ind(held[top], held[low], equal_var=False)
            interval = test.confidence_interval(0.95)
            assert (row.ci_low, row.ci_high) == pytest.approx((interval.low, interval.high))
        else:
            assert math.isnan(row.ci_low)


def test_table_has_a_row_for_each_metric_and_group_and_one_gap_each():
    metrics = {"recall@5": torch.ones(4), "recall@10": torch.tensor([0.0, 1.0, 0.0, 1.0])}
    rows = group_table(metrics, "gender", torch.tensor([0, 1, 0, 1]), ["F", "M"])
    assert [(r.metric, r.group, r.mean) for r in rows] == [
        ("recall@5", "F", 1.0),
        ("recall@5", "M", 1.0),
        ("recall@5", "gap: F - M", 0.0),
        ("recall@10", "F", 0.0),
        ("recall@10", "M", 1.0),
        ("recall@10", "gap: M - F", 1.0),
    ]
    assert rows[2].ci_low == rows[2].ci_high == 0  # no spread leaves no doubt
    assert group_table({}, "gender", torch.tensor([0]), ["F"]) == []


def test_the_interval_covers_the_true_gap_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    codes, covered, runs = torch.arange(60) % 2, 0, 400
    for _ in range(runs):
        values = torch.randn(60, generator=generator) * (1 + codes) + codes * 5
        gap = group_table({"m": values}, "f", codes, ["a", "b"])[-1]
        covered += gap.ci_low <= 5 <= gap.ci_high
    assert 0.92 < covered / runs < 0.98


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 6))
def test_activity_groups_against_a_loop(lengths, n_groups):
    labels, codes = activity_groups(torch.tensor([99, *lengths]), n_groups)
    assert codes[0] == -1
    below = [sum(other < length for other in lengths) for length in lengths]
    quantile = [b * n_groups // len(lengths) for b in below]
    names = sorted(set(quantile))
    assert codes[1:].tolist() == [names.index(q) for q in quantile]
    for g, label in enumerate(labels):
        mine = [length for length, code in zip(lengths, codes[1:].tolist()) if code == g]
        ends = sorted({min(mine), max(mine)})
        assert label == "-".join(map(str, ends))
    assert len(labels) == len(names) <= n_groups


def test_activity_groups_are_quantiles_where_no_two_users_are_alike():
    _, codes = activity_groups(torch.arange(41), 4)
    assert torch.bincount(codes[1:]).tolist() == [10, 10, 10, 10]
    with pytest.raises(ValueError, match="n_groups=0: must be above 0"):
        activity_groups(torch.arange(3), 0)


@settings(deadline=None)
@given(scored())
def test_non_parity_against_a_loop(case):
    scores, _, codes, n_groups, _ = case
    means = [statistics.mean(held) for held in members(scores, codes, n_groups) if held]
    expected = math.nan
    if len(means) == 2:
        expected = abs(means[0] - means[1])
    elif len(means) > 2:
        expected = statistics.pstdev(means)
    same(non_parity(scores, codes, n_groups), expected)


def by_item(case):
    """Item -> group -> scores, of the groups that have any score at all."""
    scores, items, codes, _, _ = case
    triples = [t for t in zip(scores.tolist(), items.tolist(), codes.tolist()) if t[2] >= 0]
    groups = sorted({g for _, _, g in triples})
    return groups, {
        item: {g: [s for s, i, c in triples if (i, c) == (item, g)] for g in groups}
        for item in sorted({i for _, i, _ in triples})
    }


@settings(deadline=None)
@given(scored(), st.sampled_from(sorted(ERRORS)))
def test_unfairness_against_a_loop(case, kind):
    groups, table = by_item(case)
    transform = {
        "value": lambda x: x,
        "absolute": abs,
        "under": lambda x: max(-x, 0),
        "over": lambda x: max(x, 0),
    }[kind]
    pairs = []
    for g, h in itertools.combinations(groups, 2):
        differences = []
        for held in table.values():
            a, b = (statistics.mean(held[x]) - 1 if held[x] else 0 for x in (g, h))
            differences.append(abs(transform(a) - transform(b)))
        pairs.append(statistics.mean(differences))
    same(unfairness(kind, *case), max(pairs, default=math.nan))


def fairrec(case, transform):
    """What RecBole-FairRec does with the positives in full ranking, its smoothing included."""
    scores, items, codes, _, _ = case
    differences = []
    for item in items.unique():
        error = []
        for g in codes.unique():
            mine = scores[(items == item) & (codes == g)]
            count = len(mine) + 1e-5
            error.append(transform(float(mine.sum()) / count - len(mine) / count))
        differences.append(abs(error[0] - error[1]))
    return statistics.mean(differences)


@settings(deadline=None)
@given(scored())
def test_two_groups_are_read_as_recbole_fairrec_reads_them(case):
    scores, items, codes, _, n_items = case
    codes = (codes > 0).long()
    if len(codes.unique()) < 2:
        return
    case = (scores, items, codes, 2, n_items)
    for kind, transform in ERRORS.items():
        theirs = fairrec(case, lambda x, f=transform: f(torch.tensor(x)).item())
        assert unfairness(kind, *case).item() == pytest.approx(theirs, abs=1e-3)


@settings(deadline=None)
@given(scored())
def test_differential_fairness_against_a_loop(case):
    scores, items, codes, n_groups, n_items = case
    case = (scores.sigmoid(), items, codes, n_groups, n_items)
    groups, table = by_item(case)
    epsilons = []
    for held in table.values():
        rates = [(sum(held[g]) + 0.5) / (len(held[g]) + 1) for g in groups]
        ratios = [math.log(a / b) for a, b in itertools.permutations(rates, 2)]
        ratios += [math.log((1 - a) / (1 - b)) for a, b in itertools.permutations(rates, 2)]
        epsilons.append(max(ratios, default=math.nan))
    same(differential_fairness(*case), statistics.mean(epsilons) if epsilons else math.nan)


@pytest.mark.parametrize("score", [-0.1, 1.1])
def test_what_is_no_probability_is_refused(score):
    one = torch.tensor([1])
    with pytest.raises(ValueError, match="not in"):
        differential_fairness(torch.tensor([score]), one, one, 2, 2)


def test_an_unknown_kind_is_refused():
    one = torch.tensor([1])
    with pytest.raises(ValueError, match="kind=fair: one of value, absolute, under, over"):
        unfairness("fair", one, one, one, 2, 2)


def test_the_same_scores_for_both_groups_are_fair():
    scores, items = torch.tensor([0.3, 0.7, 0.3, 0.7]), torch.tensor([1, 2, 1, 2])
    codes = torch.tensor([0, 0, 1, 1])
    assert non_parity(scores, codes, 2).item() == 0
    for kind in ERRORS:
        assert unfairness(kind, scores, items, codes, 2, 3).item() == 0
    assert differential_fairness(scores, items, codes, 2, 3).item() == 0


def test_probabilities_make_over_unfairness_zero_and_the_others_one():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(50, generator=generator)
    items, codes = torch.randint(1, 9, (2, 50), generator=generator)
    case = (scores, items, codes % 2, 2, 9)
    value, absolute, under, over = (unfairness(kind, *case).item() for kind in ERRORS)
    assert over == 0
    assert value == pytest.approx(absolute)
    assert value == pytest.approx(under)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(90, generator=generator)
    items = torch.randint(1, 9, (90,), generator=generator)
    codes = torch.randint(-1, 3, (90,), generator=generator)
    for metric, args in (
        (group_gap, (codes, 3)),
        (group_mad, (codes, 3)),
        (non_parity, (codes, 3)),
        (lambda *x: unfairness("value", *x), (items, codes, 3, 9)),
        (differential_fairness, (items, codes, 3, 9)),
    ):
        there = [x.cuda() if isinstance(x, torch.Tensor) else x for x in args]
        cuda = metric(scores.cuda(), *there)
        torch.testing.assert_close(cuda.cpu(), metric(scores, *args), rtol=1e-10, atol=1e-12)
    labels = ["a", "b", "c"]
    cuda = group_table({"m": scores.cuda()}, "f", codes.cuda(), labels)
    for ours, theirs in zip(cuda, group_table({"m": scores}, "f", codes, labels)):
        assert ours[:4] == theirs[:4]
        assert ours[4:] == pytest.approx(theirs[4:], nan_ok=True)
