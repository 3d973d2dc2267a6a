import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.metric import explanation as metric

F, K = 6, 4
lists = st.lists(st.integers(0, F - 1), unique=True, max_size=K)
truths = st.sets(st.integers(0, F - 1))


def ranking(*rows):
    return torch.tensor([[*row, *[-1] * (K - len(row))] for row in rows])


def truth(*sets):
    return torch.tensor([[f in s for f in range(F)] for s in sets])


@settings(max_examples=200, deadline=None)
@given(lists, truths)
def test_quality_equals_a_loop(e, g):
    r, t = ranking(e), truth(g)
    hit = len(set(e) & g)
    p = hit / len(e) if e else 0.0
    assert metric.precision(r, t).item() == pytest.approx(p)
    assert metric.coverage(r).item() == bool(e)
    if not g:
        for function in (metric.recall, metric.f1, metric.ndcg):
            assert math.isnan(function(r, t).item())
        return
    rec = hit / len(g)
    assert metric.recall(r, t).item() == pytest.approx(rec)
    assert metric.f1(r, t).item() == pytest.approx(2 * p * rec / (p + rec) if hit else 0.0)
    gain = sum(1 / math.log2(n + 2) for n, f in enumerate(e) if f in g)
    ideal = sum(1 / math.log2(n + 2) for n in range(min(K, len(g))))
    assert metric.ndcg(r, t).item() == pytest.approx(gain / ideal)


@settings(max_examples=200, deadline=None)
@given(lists, lists, st.sampled_from([0.5, 0.9, 1.0]))
def test_stability_equals_a_loop(a, b, p):
    union = set(a) | set(b)
    want = len(set(a) & set(b)) / len(union) if union else 1.0
    assert metric.jaccard(ranking(a), ranking(b), F).item() == pytest.approx(want)
    depth = max(len(a), len(b))
    weights = [p**d for d in range(depth)]
    agreement = [
        len(set(a[: d + 1]) & set(b[: d + 1])) / max(len(a[: d + 1]), len(b[: d + 1]))
        for d in range(depth)
    ]
    want = sum(w * x for w, x in zip(weights, agreement)) / sum(weights) if depth else 1.0
    value = metric.rank_biased_overlap(ranking(a), ranking(b), p).item()
    assert value == pytest.approx(want)
    assert value == pytest.approx(metric.rank_biased_overlap(ranking(b), ranking(a), p).item())


@settings(max_examples=100, deadline=None)
@given(st.lists(lists, min_size=1, max_size=5))
def test_an_explanation_is_like_itself_and_unlike_nothing(rows):
    r, none = ranking(*rows), ranking(*[[]] * len(rows))
    assert (metric.jaccard(r, r, F) == 1).all()
    assert torch.allclose(metric.rank_biased_overlap(r, r), torch.ones(len(rows)).double())
    empty = torch.tensor([not row for row in rows]).double()
    assert torch.equal(metric.jaccard(r, none, F), empty)
    assert torch.equal(metric.rank_biased_overlap(r, none), empty)


def test_a_perfect_explanation_has_one_everywhere():
    r, t = ranking([2, 0], [5]), truth({0, 2}, {5})
    for function in (metric.precision, metric.recall, metric.f1, metric.ndcg):
        assert function(r, t).tolist() == [1.0, 1.0]


def test_missing_explanations_count_zero():
    r, t = ranking([1], []), truth({1}, {1})
    assert metric.f1(r, t).tolist() == [1.0, 0.0]


def test_the_top_counts_most():
    clean = ranking([0, 1, 2, 3])
    late, early = ranking([0, 1, 2, 4]), ranking([4, 1, 2, 3])
    assert metric.rank_biased_overlap(clean, late) > metric.rank_biased_overlap(clean, early)


def test_ranks_and_what_follows_from_them():
    scores = torch.tensor([[0.9, 0.5, 0.5, -torch.inf], [0.1, 0.2, 0.3, 0.4]])
    place = torch.tensor([[0, 2, 1, 3], [0, 1, 2, 3]])
    ranks = metric.target_rank(scores, place, torch.tensor([2, 0]))
    assert ranks.tolist() == [1, 3]
    assert metric.target_rank(scores, place, torch.tensor([1, 3])).tolist() == [2, 0]
    assert metric.necessity(ranks, 2).tolist() == [0.0, 1.0]
    assert metric.sufficiency(ranks, 2).tolist() == [1.0, 0.0]
    assert metric.f_ns(0.0, 0.0) == 0.0
    assert metric.f_ns(0.5, 1.0) == pytest.approx(2 / 3)
