import doctest
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.metric import diversity
from recbole_enhance.metric.diversity import category_coverage, intra_list_distance


@st.composite
def lists(draw):
    """Lists with padding here and there, and categories with rows that are empty."""
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(2, 15))
    k, n_categories = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    items = torch.randint(0, n_items, (n_users, k), generator=generator)
    categories = torch.rand(n_items, n_categories, generator=generator) < draw(st.floats(0, 1))
    return items, categories  # row 0 may be True: padding must not count all the same


def category_sets(items, categories):
    rows = [set(row.nonzero().flatten().tolist()) for row in categories]
    return [[rows[item] for item in listed if item != 0] for listed in items.tolist()]


@settings(deadline=None)
@given(lists())
def test_coverage_against_a_loop(case):
    items, categories = case
    expected = [
        len(set().union(*held)) / categories.shape[1] for held in category_sets(items, categories)
    ]
    assert category_coverage(items, categories).tolist() == pytest.approx(expected)


@settings(deadline=None)
@given(lists())
def test_distance_against_a_loop(case):
    items, categories = case
    expected = []
    for held in category_sets(items, categories):
        distances = [
            1 - len(a & b) / len(a | b) if a | b else 0.0
            for a, b in itertools.combinations(held, 2)
        ]
        expected.append(sum(distances) / len(distances) if distances else 0.0)
    result = intra_list_distance(items, categories)
    assert result.dtype == torch.float64
    assert result.tolist() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(lists(), st.integers(1, 40))
def test_chunks_do_not_change_the_result(case, cells):
    whole = [f(*case) for f in (category_coverage, intra_list_distance)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "_MAX_CELLS", cells)
        parts = [f(*case) for f in (category_coverage, intra_list_distance)]
    assert all(torch.equal(a, b) for a, b in zip(whole, parts))


@settings(deadline=None)
@given(lists(), st.randoms(use_true_random=False))
def test_the_order_of_a_list_does_not_matter(case, random):
    items, categories = case
    order = list(range(items.shape[1]))
    random.shuffle(order)
    shuffled = items[:, order]
    assert torch.equal(
        category_coverage(shuffled, categories), category_coverage(items, categories)
    )
    a, b = intra_list_distance(shuffled, categories), intra_list_distance(items, categories)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_one_category_each_is_the_share_of_pairs_that_differ():
    categories = torch.eye(4, dtype=torch.bool)[[0, 1, 1, 2]]
    assert intra_list_distance(torch.tensor([[1, 2, 3]]), categories).item() == pytest.approx(2 / 3)


def test_unknown_against_unknown_is_no_diversity():
    categories = torch.tensor([[0], [0], [0], [1]]).bool()
    unknown, mixed = intra_list_distance(torch.tensor([[1, 2], [1, 3]]), categories).tolist()
    assert (unknown, mixed) == (0.0, 1.0)


@pytest.mark.parametrize("metric", [category_coverage, intra_list_distance])
def test_no_category_at_all_is_refused(metric):
    with pytest.raises(ValueError, match="no column"):
        metric(torch.tensor([[1]]), torch.zeros(2, 0, dtype=torch.bool))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same():
    generator = torch.Generator().manual_seed(0)
    items = torch.randint(0, 40, (50, 10), generator=generator)
    categories = torch.rand(40, 30, generator=generator) < 0.1
    for metric in (category_coverage, intra_list_distance):
        cuda = metric(items.cuda(), categories.cuda())
        torch.testing.assert_close(cuda.cpu(), metric(items, categories), rtol=1e-12, atol=1e-15)


def test_examples():
    assert doctest.testmod(diversity).failed == 0
