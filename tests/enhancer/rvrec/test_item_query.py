import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.enhancer.rvrec import item_query, ranking
from recbole_enhance.enhancer.rvrec.histories import (
    Chains,
    Histories,
    gaps,
    recency,
    younger,
)
from recbole_enhance.enhancer.rvrec.item_query import (
    history_scores,
    products_and_cosines,
    queried_coalitions,
    query_weights,
    rule_joins,
    scores_of_all,
    scores_of_candidates,
    scores_of_pairs,
    uniform_scores,
    unit_rows,
)

seeds = st.integers(0, 10_000)
BETAS = (0.0, 3.0, -2.0, 30.0)
DECAYS = st.sampled_from([0.0, 0.1, 2.0])


def world(seed, n_users=7, n_items=12, d=5, longest=4, share=0.35):
    """Histories of 0 to 6 items, tables, and the items that ask, two of each user."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(n_items, d, generator=generator, dtype=torch.float64)
    have = torch.rand(n_users, n_items, generator=generator) < share
    have[0], have[:, 0], have[1] = False, False, False
    users, items = have.nonzero().unbind(1)
    order = torch.randperm(len(users), generator=generator)
    histories = Histories(users[order], items[order], None, n_users)
    asked = torch.randint(1, n_items, (2, n_users), generator=generator)
    return histories, table, torch.arange(n_users), asked, longest


def slow(history, target, table, beta, decay=0.0, ages=None):
    """What one history, oldest first, adds to one item's score, and each player's weight."""
    if not len(history):
        return 0.0, []
    cosine = [
        float(table[t] @ table[target] / (table[t].norm() * table[target].norm())) for t in history
    ]
    ages = range(len(history))[::-1] if ages is None else ages
    weights = [math.exp(beta * c - decay * age) for c, age in zip(cosine, ages)]
    weights = [w / sum(weights) for w in weights]
    return sum(w * float(table[t] @ table[target]) for w, t in zip(weights, history)), weights


def last_of(histories, user, longest, without=None):
    own = histories.last(torch.tensor([user]), 99).item.tolist()
    return [item for item in own if item != without][-longest:]


@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from(BETAS), DECAYS)
def test_pairs_and_all_items_are_the_slow_loop(seed, beta, decay):
    histories, table, users, asked, longest = world(seed)
    history, there = histories.last_without(users, longest)
    chains, prior = histories.last(users, longest), recency(younger(there).double(), decay)
    b = torch.tensor(beta, dtype=torch.float64)
    fast = history_scores(history, there, asked, table, b, prior)
    whole = scores_of_all(chains, table, b, recency(chains.ages.double(), decay))
    for u in users.tolist():
        own = last_of(histories, u, longest)
        for k in range(2):
            expected, _ = slow(own, int(asked[k, u]), table, beta, decay)
            assert fast[k, u].item() == pytest.approx(expected, abs=1e-12)
        for i in range(1, len(table)):
            expected, _ = slow(own, i, table, beta, decay)
            assert whole[u, i].item() == pytest.approx(expected, abs=1e-10)


@settings(deadline=None, max_examples=25)
@given(seeds, DECAYS)
def test_the_rows_own_positive_leaves_and_an_older_item_takes_its_place(seed, decay):
    histories, table, users, asked, longest = world(seed)
    beta = torch.tensor(2.0, dtype=torch.float64)
    history, there = histories.last_without(users, longest, asked[0])
    fast = history_scores(history, there, asked, table, beta, recency(gaps(there).double(), decay))
    assert (there.sum(1) <= longest).all()
    for u in users.tolist():
        own = last_of(histories, u, longest, without=int(asked[0, u]))
        assert sorted(history[u][there[u]].tolist()) == sorted(own)
        for k in range(2):
            everything = histories.last(torch.tensor([u]), 99).item.tolist()
            positive = int(asked[0, u])
            place = everything.index(positive) if positive in everything else -1
            ages = [abs(everything.index(item) - place) for item in own]
            expected, _ = slow(own, int(asked[k, u]), table, 2.0, decay, ages)
            assert fast[k, u].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_the_gradient_is_that_of_weights_that_do_not_move_the_tables(decay):
    histories, table, users, asked, longest = world(3)
    history, there = histories.last_without(users, longest, asked[0])
    beta = torch.tensor(1.5, dtype=torch.float64)
    _, cosine = products_and_cosines(history, asked, table)
    prior = recency(gaps(there).double(), decay)

    def held(table, beta):  # the cosines of the point itself
        products = table[asked.T] @ table[history].transpose(1, 2)
        return (query_weights(cosine, there, beta, prior) * products).sum(2).T

    table.requires_grad_()
    beta.requires_grad_()
    assert torch.autograd.gradcheck(held, (table, beta))
    ours = history_scores(history, there, asked, table, beta, prior)
    weight = torch.randn(ours.shape, dtype=torch.float64)
    found = torch.autograd.grad((ours * weight).sum(), (table, beta))
    expected = torch.autograd.grad((held(table, beta) * weight).sum(), (table, beta))
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from(BETAS))
def test_coalitions_add_up_and_single_ones_are_the_plain_form(seed, beta):
    histories, table, users, asked, longest = world(seed)
    history, there = histories.last_without(users, longest)
    b = torch.tensor(beta, dtype=torch.float64)
    products, cosine = products_and_cosines(history, asked, table)
    single = torch.arange(longest).expand(len(users), -1)
    plain = history_scores(history, there, asked, table, b)
    values = queried_coalitions(products, cosine, single, there, b)
    torch.testing.assert_close(values.sum(2).T, plain, atol=1e-10, rtol=0)
    ids = torch.tensor([0, 0, 1, 1]).expand(len(users), -1)
    values = queried_coalitions(products, cosine, ids, there, b)
    for u in users.tolist():
        for k in range(2):
            n = int(there[u].sum())
            groups = [g for g in (range(min(2, n)), range(2, max(n, 2))) if len(g)]
            x, f = products[u, k], cosine[u, k]
            size = [len(g) for g in groups]
            keys = [sum(float(f[t]) for t in g) / len(g) for g in groups]
            e = [c * math.exp(beta * key) for c, key in zip(size, keys)]
            expected = [
                one / sum(e) * sum(float(x[t]) for t in g) / len(g) for one, g in zip(e, groups)
            ]
            assert values[u, k, : len(groups)].tolist() == pytest.approx(expected, abs=1e-10)
            assert not values[u, k, len(groups) :].any()


def test_beta_0_is_the_plain_mean_whatever_the_coalitions():
    histories, table, users, asked, longest = world(5)
    history, there = histories.last_without(users, longest)
    zero = torch.tensor(0.0, dtype=torch.float64)
    products, cosine = products_and_cosines(history, asked, table)
    mean = (products * there.unsqueeze(1)).sum(2) / there.sum(1).clamp(min=1).unsqueeze(1)
    for ids in ([0, 1, 2, 3], [0, 0, 0, 1], [0, 0, 1, 1]):
        ids = torch.tensor(ids).expand(len(users), -1)
        values = queried_coalitions(products, cosine, ids, there, zero)
        torch.testing.assert_close(values.sum(2), mean, atol=1e-12, rtol=0)


@pytest.mark.parametrize("beta", [1e4, -1e4])
def test_a_steep_beta_and_rows_of_zeros_stay_finite(beta):
    histories, table, users, asked, longest = world(2)
    table = table.float()
    table[3:5] = 0
    b = torch.tensor(beta, requires_grad=True)
    table.requires_grad_()
    history, there = histories.last_without(users, longest)
    pairs = history_scores(history, there, asked, table, b)
    pairs.sum().backward()
    assert torch.isfinite(table.grad).all()
    assert torch.isfinite(b.grad)
    whole = scores_of_all(histories.last(users, longest), table, b)
    assert torch.isfinite(whole).all()
    found = whole.gather(1, asked.T).T
    torch.testing.assert_close(found, pairs.detach(), atol=1e-4, rtol=1e-4)


def test_a_steep_decay_leaves_the_newest_item_alone():
    histories, table, users, asked, longest = world(2)
    history, there = histories.last_without(users, longest)
    chains, b = histories.last(users, longest), torch.tensor(30.0)
    table, prior = table.float(), recency(younger(there), 1e4)
    pairs = history_scores(history, there, asked, table, b, prior)
    newest = there[:, 0] * (table[history[:, 0]] * table[asked]).sum(2)
    torch.testing.assert_close(pairs, newest)
    whole = scores_of_all(chains, table, b, recency(chains.ages, 1e4))
    torch.testing.assert_close(whole.gather(1, asked.T).T, pairs, atol=1e-4, rtol=1e-4)


def test_users_without_histories_get_nothing_for_any_item():
    none = Chains(*(torch.empty(0, dtype=torch.long),) * 2, torch.zeros(3, dtype=torch.long))
    scores = scores_of_all(none, torch.randn(5, 4), torch.tensor(2.0))
    assert torch.equal(scores, torch.zeros(3, 5))


def test_blocks_and_parts_change_nothing(monkeypatch):
    histories, table, users, asked, longest = world(4, n_users=30, n_items=200, share=0.01)
    chains, beta = histories.last(users, longest), torch.tensor(3.0)
    history, there = histories.last_without(users, longest)
    table = table.float()
    by_age, prior = recency(chains.ages, 0.3), recency(younger(there), 0.3)
    whole = scores_of_all(chains, table, beta, by_age)
    pairs = scores_of_pairs(history, there, asked, table, beta, prior)
    monkeypatch.setattr(item_query, "_BLOCK", 1)
    chosen = torch.randint(1, 200, (30, 5), generator=torch.Generator().manual_seed(0))
    own = torch.ones(30, 5)
    given = own, history, there, chosen, None, unit_rows(table), beta / 2, beta, prior
    some = scores_of_candidates(*given)
    monkeypatch.setattr(item_query, "_PAIRS_AT_ONCE", 7)
    torch.testing.assert_close(scores_of_candidates(*given), some)
    torch.testing.assert_close(scores_of_all(chains, table, beta, by_age), whole)
    again = scores_of_pairs(history, there, asked, table, beta, prior)
    torch.testing.assert_close(again, pairs)


def test_the_rule_joins_neighbours_that_point_one_way_from_the_mean():
    table = torch.tensor([[9.0, 9.0], [11.0, 10.0], [11.0, 10.1], [9.0, 10.0], [9.0, 9.9]])
    items = torch.tensor([[1, 2, 3, 4], [2, 4, 0, 0]])
    expected = [[True, False, True, False], [False, False, False, False]]
    assert rule_joins(items, table).tolist() == expected


# ---- two stages --------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    seeds,
    st.sampled_from([0.5, 3.0, -1.0]),
    st.sampled_from([0.3, 3.0, -2.0]),
    st.booleans(),
    DECAYS,
)
def test_the_bound_holds_and_proven_lists_are_the_exact_ones(seed, beta, alpha, one_table, decay):
    histories, table, users, _, longest = world(seed, n_items=400, share=0.03)
    generator = torch.Generator().manual_seed(seed)
    d = table.shape[1] + 3 * (not one_table)  # rows of other tables may be longer
    own = torch.randn(len(users), d, generator=generator, dtype=torch.float64)
    table = table * torch.rand(len(table), 1, generator=generator, dtype=torch.float64)
    a, b = torch.tensor(alpha, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)
    chains, known = histories.last(users, longest), histories.last(users, 99)
    scored = table
    if not one_table:
        scored = torch.randn(len(table), d, generator=generator, dtype=torch.float64)
    by_age = recency(chains.ages.double(), decay)
    exact = own @ scored.T + a * scores_of_all(chains, table, b, by_age)
    first = own @ scored.T + a * uniform_scores(chains, table, by_age)
    history, there = histories.last_without(users, longest)
    shift = ranking.largest_shift(chains, unit_rows(table), a, b, by_age)
    lengths = table.norm(dim=1)
    assert (exact <= first + shift.unsqueeze(1) * lengths + 1e-9).all()
    stage = torch.empty_like(first)
    ranking.FirstStage(scored, table, a, b).scores(own, chains, stage, by_age)
    hopeful = first + ranking._HOPE * shift.unsqueeze(1) * lengths
    torch.testing.assert_close(stage, hopeful, atol=1e-10, rtol=0)
    chosen, largest = ranking.candidates(first, known, 15)
    others = first.scatter(1, chosen, float("-inf")).amax(1, keepdim=True)
    assert torch.equal(largest, others)
    scores = first.clone()
    right = exact.gather(1, chosen)
    tables = (None if one_table else scored), unit_rows(table)
    prior = recency(younger(there).double(), decay)
    found = scores_of_candidates(own, history, there, chosen, *tables, a, b, prior)
    torch.testing.assert_close(found, right, atol=1e-10, rtol=0)
    ranking.put_first(scores, chosen, right, largest)
    for part in (first, exact, scores):
        part[:, 0] = float("-inf")
        part[known.row, known.item] = float("-inf")
    truly = torch.sort(first.topk(15).values).values  # all but what users have
    torch.testing.assert_close(torch.sort(first.gather(1, chosen)).values, truly)
    sure = ranking.proven(first, exact.gather(1, chosen), chosen, shift, lengths, 5)
    ours, truth = (part.topk(5).indices[sure] for part in (scores, exact))
    assert torch.equal(ours, truth)
    assert sure[1]  # without a history both stages are one


def test_candidates_come_first_and_the_others_keep_their_order():
    scores = torch.tensor([[0.0, 5.0, 4.0, 3.0, 2.0]])
    chosen = torch.tensor([[2, 3]])
    ranking.put_first(scores, chosen, torch.tensor([[1.0, 1.5]]), torch.tensor([[5.0]]))
    assert scores.argsort(descending=True, stable=True)[0].tolist()[:1] == [3]
    assert scores[0, [2, 3]].tolist() == [1.0, 1.5]
    assert (scores[0, [0, 1, 4]] <= 1.0).all()
    assert scores[0, 1] > scores[0, 4] > scores[0, 0]
    everything = torch.tensor([[1.0, 2.0]])
    chosen, largest = ranking.candidates(everything, Chains(*torch.zeros(3, 0).long()), 2)
    ranking.put_first(everything, chosen, chosen + 7.0, largest)
    assert everything.tolist() == [[7.0, 8.0]]
