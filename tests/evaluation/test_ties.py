import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.evaluation import ties
from recbole_enhance.evaluation.ties import drawn_order, ranked


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 9))
def test_lists_are_what_a_full_sort_gives(data, rows, n_items):
    k = data.draw(st.integers(1, n_items))
    value = st.sampled_from([0.0, 1.0, 2.0, -torch.inf])
    scores = torch.tensor(
        data.draw(st.lists(st.lists(value, min_size=n_items, max_size=n_items), min_size=rows))
    )
    place = drawn_order(n_items, data.draw(st.integers(0, 9)))
    top = data.draw(st.sampled_from([ties._torch_top, ties.best]))
    values, items = ranked(scores, k, place, top)
    for row, found, at in zip(scores.tolist(), items.tolist(), values.tolist()):
        expected = sorted(range(n_items), key=lambda item: (-row[item], place[item]))[:k]
        assert at == [row[item] for item in expected]
        listed = [item for item in expected if row[item] > -torch.inf]
        assert found[: len(listed)] == listed


def test_a_model_that_knows_nothing_is_at_chance():
    """Item 1 is everybody's item: ids are in the order of first appearance."""
    hits = 0
    for seed in range(300):
        _, items = ranked(torch.zeros(1, 100), 10, drawn_order(100, seed))
        hits += int((items == 1).any())
    assert 15 < hits < 50  # 30 at chance


def test_every_row_has_the_same_order():
    _, items = ranked(torch.zeros(5, 50), 10, drawn_order(50, 3))
    assert (items == items[0]).all()


def test_a_constant_model_is_at_chance_over_seeds_by_ndcg():
    """One order serves all rows, so a seed varies; the mean over seeds does not."""
    rows, n_items, k = 60, 40, 10
    draw = torch.Generator().manual_seed(1)
    # Everybody's items have the lowest ids, as popular items do.
    relevant = torch.zeros(rows, n_items).scatter(
        1, torch.randint(0, 12, (rows, 1), generator=draw), 1.0
    )
    discount = 1 / torch.log2(torch.arange(k) + 2.0)  # of one relevant item; its ideal is 1
    found = []
    for seed in range(400):
        _, items = ranked(torch.zeros(rows, n_items), k, drawn_order(n_items, seed))
        found.append(float((relevant.gather(1, items) @ discount).mean()))
    chance = float(discount.sum()) / n_items
    error = float(torch.tensor(found).std()) / len(found) ** 0.5
    assert abs(sum(found) / len(found) - chance) < 3 * error < 0.15 * chance


@pytest.mark.parametrize("columns", [20, 79, 80, 81, 1000, 1007])
def test_the_best_are_top_k(columns, generator):
    scores = torch.randn((7, columns), generator=generator)
    scores[2, 5:] = -torch.inf
    values, index = ties.best(scores, 10)
    assert torch.equal(values, scores.topk(10, dim=1).values)
    assert torch.equal(scores.gather(1, index), values)
    any_order = ties.best(scores, 10, in_order=False)[0]
    assert torch.equal(any_order.sort(descending=True).values, values)
    finite = values[0].isfinite()
    assert len(index[0][finite].unique()) == 10
