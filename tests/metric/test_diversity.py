import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.metric import diversity
from recbole_enhance.metric.diversity import (
    calibration,
    category_coverage,
    category_entropy,
    category_recall,
    embedding_distance,
    intra_list_distance,
    subtopic_recall,
)
from recbole_enhance.metric.ranking import hits


@st.composite
def lists(draw):
    """Lists with padding here and there, and categories with rows that are empty."""
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(2, 15))
    k, n_categories = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    items = torch.randint(0, n_items, (n_users, k), generator=generator)
    categories = torch.rand(n_items, n_categories, generator=generator) < draw(st.floats(0, 1))
    return items, categories  # row 0 may be True: padding must not count all the same


def pairs(items, n_items, seed, share):
    """Random pairs of row and item, in no order, each once; padding among them."""
    generator = torch.Generator().manual_seed(seed)
    rows, ids = (torch.rand(len(items), n_items, generator=generator) < share).nonzero().T
    order = torch.randperm(len(rows), generator=generator)
    return rows[order], ids[order]


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
@given(lists(), st.integers(0, 999), st.floats(0, 1))
def test_recall_against_a_loop(case, seed, share):
    items, categories = case
    rows, held_out = pairs(items, len(categories), seed, share)
    result = category_recall(items, rows, held_out, categories)
    for user, held in enumerate(category_sets(items, categories)):
        mine = [i for u, i in zip(rows.tolist(), held_out.tolist()) if u == user and i != 0]
        wanted = {c for i in mine for c in categories[i].nonzero().flatten().tolist()}
        if not wanted:
            assert result[user].isnan()
            continue
        covered = set().union(*held) & wanted
        assert result[user].item() == pytest.approx(len(covered) / len(wanted), abs=1e-12)


@settings(deadline=None)
@given(lists(), st.integers(0, 9), st.floats(0, 1))
def test_subtopic_recall_against_a_loop(case, seed, share):
    """A category counts through a hit only; through any item it is the recall of categories."""
    items, categories = case
    rows, held_out = pairs(items, len(categories), seed, share)
    relevant = hits(items, rows, held_out, len(categories))
    result = subtopic_recall(items, relevant, rows, held_out, categories)
    of = [set(row.nonzero().flatten().tolist()) for row in categories]
    for user, listed in enumerate(items.tolist()):
        mine = {i for u, i in zip(rows.tolist(), held_out.tolist()) if u == user and i != 0}
        wanted = set().union(*(of[i] for i in mine))
        if not wanted:
            assert result[user].isnan()
            continue
        covered = set().union(*(of[i] for i in set(listed) & mine))
        assert result[user].item() == pytest.approx(len(covered) / len(wanted), abs=1e-12)
    any_item = category_recall(items, rows, held_out, categories)
    assert (result <= any_item)[~result.isnan()].all()


def distribution(sets):
    """Share of each category, every item that has any spreading one unit."""
    mass, sets = {}, [held for held in sets if held]
    for held in sets:
        for category in held:
            mass[category] = mass.get(category, 0) + 1 / len(held)
    return {category: unit / len(sets) for category, unit in mass.items()}


@settings(deadline=None)
@given(lists())
def test_entropy_against_a_loop(case):
    items, categories = case
    result = category_entropy(items, categories)
    expected = [
        -sum(q * math.log(q) for q in distribution(held).values())
        for held in category_sets(items, categories)
    ]
    assert result.tolist() == pytest.approx(expected, abs=1e-12)
    assert (result <= math.log(categories.shape[1]) + 1e-12).all()


@settings(deadline=None)
@given(lists(), st.integers(0, 999), st.floats(0, 1), st.floats(0.001, 0.999))
def test_calibration_against_a_loop(case, seed, share, alpha):
    items, categories = case
    rows, past = pairs(items, len(categories), seed, share)
    result = calibration(items, rows, past, categories, alpha)
    for user, held in enumerate(category_sets(items, categories)):
        mine = [[i for u, i in zip(rows.tolist(), past.tolist()) if u == user]]
        p = distribution(category_sets(torch.tensor(mine, dtype=torch.long), categories)[0])
        q = distribution(held)
        if not p:
            assert result[user].isnan()
            continue
        expected = sum(
            share * math.log(share / ((1 - alpha) * q.get(category, 0) + alpha * share))
            for category, share in p.items()
        )
        assert result[user].item() == pytest.approx(expected, abs=1e-9)
        assert 0 <= result[user] <= math.log(1 / alpha) + 1e-9


def test_calibration_is_zero_for_the_history_itself_and_largest_without_overlap():
    categories = torch.tensor([[0, 0], [1, 0], [0, 1], [0, 0]]).bool()
    rows, past = torch.tensor([0, 0, 1, 2, 3]), torch.tensor([1, 2, 1, 1, 3])
    items = torch.tensor([[1, 2], [2, 2], [0, 0], [1, 2]])
    same, disjoint, empty, unknown = calibration(items, rows, past, categories, 0.01).tolist()
    assert same == pytest.approx(0, abs=1e-15)
    assert disjoint == pytest.approx(math.log(100))
    assert empty == pytest.approx(math.log(100))
    assert math.isnan(unknown)


@pytest.mark.parametrize("alpha", [0, 1, -0.5, math.nan])
def test_calibration_refuses_an_alpha_that_does_not_smooth(alpha):
    none = torch.zeros(0, dtype=torch.long)
    with pytest.raises(ValueError, match=f"alpha={alpha}: must be between 0 and 1"):
        calibration(torch.tensor([[1]]), none, none, torch.ones(2, 1).bool(), alpha)


@settings(deadline=None)
@given(lists(), st.integers(1, 5), st.integers(0, 999))
def test_embedding_distance_against_a_loop(case, size, seed):
    items, categories = case
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(len(categories), size, generator=generator, dtype=torch.float64)
    embedding[-1] = 0  # no direction: cosine 0 to any other
    result = embedding_distance(items, embedding)
    for user, listed in enumerate(items.tolist()):
        distances = []
        for i, j in itertools.combinations([item for item in listed if item], 2):
            a, b = embedding[i].tolist(), embedding[j].tolist()
            norm = math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
            distances.append(1 - (sum(x * y for x, y in zip(a, b)) / norm if norm else 0))
        expected = sum(distances) / len(distances) if distances else 0
        assert result[user].item() == pytest.approx(expected, abs=1e-12)
    assert ((result >= 0) & (result <= 2)).all()


def test_embedding_distance_leaves_the_embedding_as_it_is():
    embedding = torch.ones(3, 2, dtype=torch.float64)
    embedding_distance(torch.tensor([[1, 2]]), embedding)
    assert torch.equal(embedding, torch.ones(3, 2, dtype=torch.float64))


def every_metric(items, categories):
    rows, ids = pairs(items, len(categories), 0, 0.3)
    return [
        category_coverage(items, categories),
        intra_list_distance(items, categories),
        category_recall(items, rows, ids, categories),
        subtopic_recall(items, items % 2 == 0, rows, ids, categories),
        category_entropy(items, categories),
        calibration(items, rows, ids, categories, 0.1),
        embedding_distance(items, categories.double()),
    ]


@settings(deadline=None)
@given(lists(), st.integers(1, 40))
def test_chunks_do_not_change_the_result(case, cells):
    whole = every_metric(*case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "_MAX_CELLS", cells)
        parts = every_metric(*case)
    for a, b in zip(whole, parts):
        assert a.dtype == torch.float64
        assert a.shape == case[0].shape[:1]
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, equal_nan=True)


def test_padding_is_nothing():
    """Lists of nothing, and a category and an embedding in the padding's row."""
    categories = torch.tensor([[1, 1], [1, 0], [0, 1]]).bool()
    empty, held_out = torch.zeros(1, 3, dtype=torch.long), torch.tensor([1])
    rows = torch.tensor([0])
    assert category_coverage(empty, categories).item() == 0
    assert category_recall(empty, rows, held_out, categories).item() == 0
    assert category_entropy(empty, categories).item() == 0
    assert embedding_distance(empty, torch.ones(3, 2)).item() == 0
    assert category_recall(torch.tensor([[1]]), rows, rows, categories).isnan().all()


def test_a_single_category_leaves_no_diversity_and_nothing_to_calibrate():
    categories = torch.tensor([[0], [1], [1]]).bool()
    items, rows = torch.tensor([[1, 2]]), torch.tensor([0])
    assert category_entropy(items, categories).item() == 0
    assert intra_list_distance(items, categories).item() == 0
    assert calibration(items, rows, torch.tensor([1]), categories, 0.01).item() == 0


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


def _recall(items, categories):
    return category_recall(items, items[0], items[0], categories)


def _calibration(items, categories):
    return calibration(items, items[0], items[0], categories, 0.1)


@pytest.mark.parametrize(
    "metric",
    [category_coverage, intra_list_distance, category_entropy, _recall, _calibration],
)
def test_no_category_at_all_is_refused(metric):
    with pytest.raises(ValueError, match="no column"):
        metric(torch.tensor([[1]]), torch.zeros(2, 0, dtype=torch.bool))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same():
    generator = torch.Generator().manual_seed(0)
    items = torch.randint(0, 40, (50, 10), generator=generator)
    categories = torch.rand(40, 30, generator=generator) < 0.1
    rows, ids = pairs(items, 40, 0, 0.3)
    embedding = torch.randn(40, 8, generator=generator)
    cases = [
        (category_coverage, items, categories),
        (intra_list_distance, items, categories),
        (category_recall, items, rows, ids, categories),
        (category_entropy, items, categories),
        (calibration, items, rows, ids, categories),
        (embedding_distance, items, embedding),
    ]
    for metric, *given_ in cases:
        rest = [0.1] if metric is calibration else []
        cuda = metric(*(x.cuda() for x in given_), *rest)
        torch.testing.assert_close(
            cuda.cpu(), metric(*given_, *rest), rtol=1e-10, atol=1e-12, equal_nan=True
        )
