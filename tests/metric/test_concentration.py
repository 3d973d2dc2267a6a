import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.evaluator.metrics import GiniIndex

from recbole_enhance.metric import concentration
from recbole_enhance.metric.concentration import gini_index

RECBOLE = GiniIndex({"topk": [10], "metric_decimal_place": 4})


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same():
    items = torch.randint(0, 40, (50, 10), generator=torch.Generator().manual_seed(0))
    assert gini_index(items.cuda(), 40).item() == gini_index(items, 40).item()


def test_examples():
    assert doctest.testmod(concentration).failed == 0
