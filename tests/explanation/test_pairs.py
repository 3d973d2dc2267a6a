import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.evaluation.ties import drawn_order
from recbole_enhance.explanation import pairs
from recbole_enhance.explanation.pairs import (
    choose_pairs,
    draw_candidates,
    margins,
    score_candidates,
    top_k,
)
from recbole_enhance.metric.explanation import target_rank
from recbole_enhance.testing.worlds import assemble, toy_options

N_ITEMS = 12
rows = st.lists(st.tuples(st.integers(1, 6), st.integers(1, N_ITEMS - 1)), max_size=30)
scores_of = st.integers(0, 10_000).map(
    lambda seed: torch.randint(0, 6, (5, 7), generator=torch.Generator().manual_seed(seed)).float()
)


def columns(entries):
    return tuple(torch.tensor([e[i] for e in entries], dtype=torch.long) for i in (0, 1))


@settings(max_examples=60, deadline=None)
@given(rows, rows.filter(bool), st.integers(1, 9), st.integers(0, 99))
def test_candidates_are_the_positives_and_unknown_items(known, test, n, seed):
    drawn = draw_candidates(columns(known), columns(test), N_ITEMS, n, seed)
    assert drawn.user.tolist() == sorted({u for u, _ in test})
    for user, items, positive in zip(drawn.user.tolist(), drawn.item, drawn.positive):
        mine = {i for u, i in test if u == user}
        taken = mine | {i for u, i in known if u == user}
        assert set(items[positive].tolist()) == mine
        negatives = items[~positive & (items > 0)].tolist()
        assert len(negatives) == len(set(negatives)) == min(n, N_ITEMS - 1 - len(taken))
        assert not set(negatives) & taken
    again = draw_candidates(columns(known), columns(test[::-1]), N_ITEMS, n, seed)
    assert torch.equal(again.item, drawn.item)


def test_the_draw_does_not_depend_on_the_memory_it_takes(monkeypatch):
    test = columns([(u, u) for u in range(1, 7)])
    whole = draw_candidates(test, test, N_ITEMS, 5, 3)
    monkeypatch.setattr(pairs, "_CELLS", 1)
    parts = draw_candidates(test, test, N_ITEMS, 5, 3)
    assert torch.equal(whole.item, parts.item)


@settings(max_examples=60, deadline=None)
@given(scores_of, st.integers(1, 8), st.integers(0, 6))
def test_lists_margins_and_ranks_equal_a_loop(scores, k, missing):
    place = drawn_order(35, k).view(5, 7)
    scores[0, 7 - missing :] = -torch.inf if missing < 7 else scores[0, 7 - missing :]
    listed, margin = top_k(scores, place, k), margins(scores, k)
    for row in range(len(scores)):
        valid = [c for c in range(7) if scores[row, c] > -torch.inf]
        order = sorted(valid, key=lambda c, row=row: (-scores[row, c].item(), place[row, c]))
        want = order[:k] + [-1] * (min(k, 7) - len(order[:k]))
        assert listed[row].tolist() == want
        assert margin[row] == scores[row, order[min(k, len(order) - 1)]]
        among, at = scores[row : row + 1], place[row : row + 1]
        ranks = [int(target_rank(among, at, torch.tensor([column]))) for column in order]
        assert ranks == list(range(len(order)))


def test_a_model_that_knows_nothing_is_at_chance():
    """Test items are the first columns: in the order of columns they would all be hits."""
    test, hits = columns([(1, 3), (2, 5), (3, 7)]), 0
    for seed in range(200):
        drawn = draw_candidates(test, test, N_ITEMS, 9, seed)
        hits += int((top_k(torch.zeros(3, 10), drawn.place, 2) == 0).sum())
    assert 80 < hits < 160  # 120 at chance
    again = drawn_order(N_ITEMS, seed)[drawn.item]
    assert torch.equal(drawn.place, again)  # the order by which evaluation breaks ties


def test_hits_are_test_items_of_the_list():
    test = columns([(1, 3), (1, 4), (2, 5)])
    drawn = draw_candidates(test, test, N_ITEMS, 4, 0)
    scores = torch.arange(drawn.item.numel()).reshape(drawn.item.shape).float()
    scores[0, 0] = 100.0  # item 3 leads user 1's list; the rest is led by negatives
    scores = scores.masked_fill(~drawn.valid, -torch.inf)
    hits, every = (choose_pairs(drawn, scores, which, 2) for which in ("hits", "test"))
    assert list(zip(hits.user.tolist(), hits.item.tolist())) == [(1, 3)]
    assert list(zip(every.user.tolist(), every.item.tolist())) == [(1, 3), (1, 4), (2, 5)]
    assert drawn.item[hits.row, hits.column].tolist() == [3]


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF", "CER"])
def test_any_general_model_scores_candidates(toy, name):
    trainer, loaders = assemble(toy_options(toy, name, show_progress=False))
    data = loaders[2]._dataset.inter_feat
    test = data["user_id"], data["item_id"]
    drawn = draw_candidates(test, test, 49, 10, 0)
    whole, parts = (score_candidates(trainer.model, drawn, chunk) for chunk in (None, 7))
    assert torch.allclose(whole, parts, atol=1e-6)
    assert torch.equal(whole > -torch.inf, drawn.valid)
