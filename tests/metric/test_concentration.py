import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.evaluator import metrics as recbole_metrics

from recbole_enhance.metric.concentration import (
    average_popularity,
    gini_index,
    item_coverage,
    popularity_groups,
    shannon_entropy,
    tail_items,
    tail_share,
)


def recbole(name, **options):
    return getattr(recbole_metrics, name)(
        {"topk": [10], "metric_decimal_place": 4, "tail_ratio": None, **options}
    )


RECBOLE = recbole("GiniIndex")


@st.composite
def lists(draw, first=1):
    n_users, k, n_items = draw(st.integers(1, 8)), draw(st.integers(1, 6)), draw(st.integers(2, 30))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    return torch.randint(first, n_items, (n_users, k), generator=generator), n_items


@settings(deadline=None)
@given(lists())
def test_equals_recboles_helper(case):
    items, n_items = case
    assert gini_index(items, n_items).item() == pytest.approx(
        RECBOLE.get_gini(items.numpy(), n_items - 1), abs=1e-12
    )


@settings(deadline=None)
@given(lists())
def test_what_recboles_collector_prints_counts_padding_as_an_item(case):
    items, n_items = case
    printed = RECBOLE.get_gini(items.numpy(), n_items)
    assert gini_index(items, n_items + 1).item() == pytest.approx(printed, abs=1e-12)
    ours = gini_index(items, n_items).item()
    assert printed - ours == pytest.approx((1 - ours) / n_items, abs=1e-12)


@settings(deadline=None)
@given(lists(first=0))
def test_against_all_pairs(case):
    """Gini is half the mean absolute difference of two items' counts, over their mean."""
    items, n_items = case
    counts = [0] * n_items
    for listed in items.tolist():
        for item in listed:
            counts[item] += 1
    counts = counts[1:]
    result = gini_index(items, n_items).item()
    if sum(counts) == 0:
        assert result != result
        return
    differences = sum(abs(a - b) for a in counts for b in counts)
    assert result == pytest.approx(differences / (2 * len(counts) * sum(counts)), abs=1e-12)
    assert 0 <= result <= 1 - 1 / len(counts) + 1e-12


@st.composite
def popular(draw, least=0):
    """Lists, and how many users have each item; nobody has the padding."""
    items, n_items = draw(lists(first=0))
    popularity = torch.tensor(
        [0, *draw(st.lists(st.integers(least, 6), min_size=n_items - 1, max_size=n_items - 1))]
    )
    return items, popularity


@settings(deadline=None)
@given(lists(first=0))
def test_coverage_and_entropy_against_a_loop(case):
    items, n_items = case
    shown = [item for listed in items.tolist() for item in listed if item]
    coverage, entropy = item_coverage(items, n_items), shannon_entropy(items, n_items)
    assert coverage.dtype == entropy.dtype == torch.float64
    assert coverage.item() == pytest.approx(len(set(shown)) / (n_items - 1))
    if not shown:
        assert entropy.isnan()
        return
    shares = [shown.count(item) / len(shown) for item in set(shown)]
    expected = -sum(p * math.log(p) for p in shares)
    assert entropy.item() == pytest.approx(expected, abs=1e-12)
    assert 0 <= entropy <= math.log(n_items - 1) + 1e-12


@settings(deadline=None)
@given(lists())
def test_what_differs_from_recboles_coverage_and_entropy(case):
    """RecBole counts the padding as an item, and divides the entropy by the items shown."""
    items, n_items = case
    theirs = recbole("ItemCoverage").get_coverage(items.numpy(), n_items)
    assert item_coverage(items, n_items).item() * (n_items - 1) == pytest.approx(theirs * n_items)
    theirs = recbole("ShannonEntropy").get_entropy(items.numpy())
    shown = len(items.unique())
    assert shannon_entropy(items, n_items).item() == pytest.approx(theirs * shown, abs=1e-12)


@settings(deadline=None)
@given(popular(), st.integers(2, 8))
def test_popularity_and_tail_against_a_loop(case, threshold):
    items, popularity = case
    tail = tail_items(popularity, threshold)
    means, shares = average_popularity(items, popularity), tail_share(items, tail)
    assert means.dtype == shares.dtype == torch.float64
    for user, listed in enumerate(items.tolist()):
        real = [popularity[item].item() for item in listed if item]
        if not real:
            assert means[user].isnan()
            assert shares[user].isnan()
            continue
        assert means[user].item() == pytest.approx(sum(real) / len(real))
        rare = sum(count <= threshold for count in real)
        assert shares[user].item() == pytest.approx(rare / len(real))


@settings(deadline=None)
@given(popular(), st.floats(0.01, 1))
def test_tail_by_share_against_a_loop(case, share):
    _, popularity = case
    n = len(popularity) - 1
    least = sorted(range(1, n + 1), key=lambda item: (popularity[item].item(), item))
    expected = set(least[: max(int(n * share), 1)])
    assert set(tail_items(popularity, share).nonzero().flatten().tolist()) == expected


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=8),
    st.fractions(0, 1, max_denominator=20).filter(lambda share: 0 < share < 1),
)
def test_the_head_is_the_smallest_set_with_its_share_of_the_interactions(counts, share):
    """Against all subsets, with the share as a fraction."""
    groups = popularity_groups(torch.tensor([9, *counts]), float(share)).tolist()
    assert groups[0] == -1
    head = [item for item, group in enumerate(groups) if group == 0]
    tail = [item for item, group in enumerate(groups) if group == 1]
    assert sorted(head + tail) == list(range(1, len(counts) + 1))
    enough = share * sum(counts)
    smallest = next(
        size
        for size in range(len(counts) + 1)
        if any(sum(chosen) >= enough for chosen in itertools.combinations(counts, size))
    )
    assert len(head) == smallest
    assert sum(counts[item - 1] for item in head) >= enough
    # The most popular ones, and of those equally popular the first.
    of = lambda item: (-counts[item - 1], item)  # noqa: E731
    assert not head or not tail or max(map(of, head)) < min(map(of, tail))


def test_head_and_tail_where_the_share_can_be_told():
    even = popularity_groups(torch.tensor([0] + [1] * 100), 0.55)
    assert (even == 0).sum() == 55  # 0.55 * 100 is above 55 in float64
    steep = popularity_groups(torch.tensor([0, 80, *[1] * 20]), 0.8)
    assert steep.tolist() == [-1, 0, *[1] * 20]
    unknown = popularity_groups(torch.tensor([0, 0, 0]), 0.8)
    assert unknown.tolist() == [-1, 1, 1]
    for share in (0, 1, math.nan):
        with pytest.raises(ValueError, match=r"^head_share="):
            popularity_groups(torch.tensor([0, 1]), share)


@settings(deadline=None)
@given(popular(least=1), st.sampled_from([0.1, 0.5, 1, 3]))
def test_equals_recbole_where_all_items_are_known_and_no_list_is_short(case, ratio):
    items, popularity = case
    items = items.clamp(min=1)
    counter = {item: int(popularity[item]) for item in range(1, len(popularity))}
    metric = recbole("AveragePopularity")
    theirs = metric.metric_info(metric.get_pop(items.numpy(), counter))[:, -1]
    assert average_popularity(items, popularity).tolist() == pytest.approx(theirs.tolist())
    metric = recbole("TailPercentage", tail_ratio=ratio)
    theirs = metric.metric_info(metric.get_tail(items.numpy(), counter))[:, -1]
    ours = tail_share(items, tail_items(popularity, ratio))
    assert ours.tolist() == pytest.approx(theirs.tolist())


def test_an_item_that_nobody_has_is_tail_which_recbole_denies():
    popularity = torch.tensor([0, 3, 0, 1])
    items = torch.tensor([[2]])
    metric = recbole("TailPercentage", tail_ratio=0.5)
    assert metric.get_tail(items.numpy(), {1: 3, 3: 1}).item() == 0
    assert tail_share(items, tail_items(popularity, 0.5)).item() == 1


@pytest.mark.parametrize("tail", [0, -1, math.nan])
def test_a_tail_of_nothing_is_refused(tail):
    with pytest.raises(ValueError, match="must be above 0"):
        tail_items(torch.tensor([0, 1]), tail)


@pytest.mark.parametrize("share", [0, 1, 1.5])
def test_head_and_tail_must_both_be_meant(share):
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        popularity_groups(torch.tensor([0, 1]), share)


def test_one_item_only():
    items = torch.tensor([[1], [1]])
    assert item_coverage(items, 2).item() == 1
    assert shannon_entropy(items, 2).item() == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same():
    items = torch.randint(0, 40, (50, 10), generator=torch.Generator().manual_seed(0))
    for metric in (gini_index, item_coverage, shannon_entropy):
        cuda = metric(items.cuda(), 40).item()
        assert cuda == pytest.approx(metric(items, 40).item(), abs=1e-14)
    popularity = torch.randint(0, 9, (40,), generator=torch.Generator().manual_seed(1))
    popularity[0] = 0
    tail = tail_items(popularity.cuda(), 0.3)
    assert torch.equal(tail.cpu(), tail_items(popularity, 0.3))
    cuda = average_popularity(items.cuda(), popularity.cuda())
    torch.testing.assert_close(cuda.cpu(), average_popularity(items, popularity), equal_nan=True)
