import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.metric.novelty import (
    expected_free_discovery,
    expected_popularity_complement,
    mean_inverse_user_frequency,
    serendipity,
)


@st.composite
def cases(draw):
    """Lists with padding at the end, hits, how many users have each item, number of users."""
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(2, 20))
    k = draw(st.integers(1, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    items = torch.randint(1, n_items, (n_users, k), generator=generator)
    length = torch.randint(0, k + 1, (n_users, 1), generator=generator)
    items[torch.arange(k) >= length] = 0
    relevant = torch.rand(n_users, k, generator=generator) < draw(st.floats(0, 1))
    all_users = draw(st.integers(1, 30))
    popularity = torch.randint(0, all_users + 1, (n_items,), generator=generator)
    popularity[0] = 0
    return items, relevant, popularity, all_users


def real_places(listed, relevant):
    """(rank, item, hit) of the items that are no padding."""
    return [(r, i, h) for r, (i, h) in enumerate(zip(listed, relevant), start=1) if i]


@settings(deadline=None)
@given(cases())
def test_expected_novelty_against_a_loop(case):
    items, relevant, popularity, n_users = case
    count = popularity.tolist()
    epc = expected_popularity_complement(items, relevant, popularity, n_users)
    efd = expected_free_discovery(items, relevant, popularity)
    assert epc.dtype == efd.dtype == torch.float64
    for user, (listed, hit) in enumerate(zip(items.tolist(), relevant.tolist())):
        unseen = information = total = 0.0
        for rank, item, relevance in real_places(listed, hit):
            discount = 1 / math.log2(rank + 1)
            total += discount
            unseen += discount * relevance * (1 - count[item] / n_users)
            share = max(count[item], 1) / max(sum(count), 1)
            information += discount * relevance * -math.log2(share)
        assert epc[user].item() == pytest.approx(unseen / total if total else 0, abs=1e-12)
        assert efd[user].item() == pytest.approx(information / total if total else 0, abs=1e-12)
    assert ((epc >= 0) & (epc <= 1)).all()
    assert ((efd >= 0) & (efd <= math.log2(max(sum(count), 1)) + 1e-12)).all()


@settings(deadline=None)
@given(cases())
def test_self_information_against_a_loop(case):
    items, _, popularity, n_users = case
    result = mean_inverse_user_frequency(items, popularity, n_users)
    for user, listed in enumerate(items.tolist()):
        bits = [-math.log2(max(popularity[i].item(), 1) / n_users) for i in listed if i]
        if not bits:
            assert result[user].isnan()
            continue
        assert result[user].item() == pytest.approx(sum(bits) / len(bits), abs=1e-12)
        assert 0 <= result[user] <= math.log2(n_users) + 1e-12


@settings(deadline=None)
@given(cases())
def test_serendipity_against_a_loop(case):
    items, relevant, popularity, _ = case
    count, n = popularity.tolist(), len(popularity) - 1
    levels = sorted(set(count[1:]), reverse=True)
    result = serendipity(items, relevant, popularity)
    for user, (listed, hit) in enumerate(zip(items.tolist(), relevant.tolist())):
        surprise = []
        for rank, item, relevance in real_places(listed, hit):
            here = (n + 1 - rank) / n
            anywhere = (n - levels.index(count[item])) / n if count[item] else 0
            surprise.append(max(here - anywhere, 0) * relevance)
        expected = sum(surprise) / len(surprise) if surprise else 0
        assert result[user].item() == pytest.approx(expected, abs=1e-12)
    assert ((result >= 0) & (result <= 1)).all()


def test_a_hit_on_a_rare_item_is_worth_more():
    items, hit, popularity = torch.tensor([[1], [2]]), torch.ones(2, 1).bool(), [0, 9, 1, 0]
    popularity = torch.tensor(popularity)
    for values in (
        expected_popularity_complement(items, hit, popularity, 10),
        expected_free_discovery(items, hit, popularity),
        mean_inverse_user_frequency(items, popularity, 10),
        serendipity(items, hit, popularity),
    ):
        assert values[1] > values[0]


def test_without_any_hit_nothing_is_expected():
    items, popularity = torch.tensor([[1, 2]]), torch.tensor([0, 3, 1])
    none = torch.zeros(1, 2).bool()
    assert expected_popularity_complement(items, none, popularity, 4).item() == 0
    assert expected_free_discovery(items, none, popularity).item() == 0
    assert serendipity(items, none, popularity).item() == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same():
    generator = torch.Generator().manual_seed(0)
    items = torch.randint(1, 40, (50, 10), generator=generator)
    relevant = torch.rand(50, 10, generator=generator) < 0.3
    popularity = torch.randint(0, 9, (40,), generator=generator)
    for metric, args in (
        (expected_popularity_complement, (relevant, popularity, 9)),
        (expected_free_discovery, (relevant, popularity)),
        (mean_inverse_user_frequency, (popularity, 9)),
        (serendipity, (relevant, popularity)),
    ):
        there = [x.cuda() if isinstance(x, torch.Tensor) else x for x in args]
        cuda = metric(items.cuda(), *there)
        torch.testing.assert_close(cuda.cpu(), metric(items, *args), rtol=1e-12, atol=1e-14)
