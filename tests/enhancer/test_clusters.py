import pytest
import torch
from triplets import conditional, p_value, skewed_part

from recbole_enhance.data.negatives import NegativeSampler, item_counts
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.enhancer.clusters import ClusterSampler


def fitted(dataset, generator, k=5, weights=None, scale=1.0):
    """A sampler over random vectors, and those vectors."""
    used = UserLists.of_datasets([dataset])
    weights = torch.ones(dataset.item_num).double() if weights is None else weights.double()
    weights[0] = 0
    sampler = ClusterSampler(used, weights)
    users = scale * torch.randn(dataset.user_num, 4, generator=generator)
    items = torch.randn(dataset.item_num, 4, generator=generator)
    sampler.fit(users, items, k, generator)
    return sampler, users, items


def slow_law(sampler, dataset, users, items, user, k):
    """q(j | u) of every item by its formula, one cluster and item at a time."""
    own = set(dataset.inter_feat["item_id"][dataset.inter_feat["user_id"] == user].tolist())
    weights, mass, law = sampler.weights.tolist(), [], [0.0] * dataset.item_num
    for c in range(k):
        members = [j for j in range(1, dataset.item_num) if sampler.cluster[j] == c]
        mean = items[members].double().mean(0)
        rest = sum(weights[j] for j in members if j not in own)
        mass.append((members, rest, float(torch.exp(users[user].double() @ mean)) * rest))
    total = sum(m for _, _, m in mass)
    for members, rest, m in mass:
        for j in members:
            if j not in own and weights[j] > 0:
                law[j] = m / total * weights[j] / rest
    return torch.tensor(law, dtype=torch.float64)


@pytest.mark.parametrize("popular", [False, True])
def test_the_law_is_the_formulas_and_adds_up_to_one(generator, popular):
    dataset = skewed_part()
    weights = item_counts(dataset) if popular else None
    sampler, users, items = fitted(dataset, generator, weights=weights)
    for user in range(1, dataset.user_num):
        law = slow_law(sampler, dataset, users, items, user, 5)
        assert law.sum() == pytest.approx(1)
        possible = law.nonzero().squeeze(1)
        log_q = sampler.log_q(torch.full_like(possible, user), possible)
        torch.testing.assert_close(log_q.exp(), law[possible], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("popular", [False, True])
def test_draws_follow_the_law(generator, popular):
    dataset = skewed_part()
    weights = item_counts(dataset) if popular else None
    sampler, users, items = fitted(dataset, generator, weights=weights)
    for user in (1, 4, 7):
        rows = torch.full((20_000,), user)
        drawn = sampler.draw(rows, rows, 2, generator)
        assert drawn.shape == (2, 20_000)
        law = slow_law(sampler, dataset, users, items, user, 5)
        assert p_value(drawn, law) > 1e-3


def test_taste_counts(generator):
    """Draws of a fitted sampler are not those of its weights alone."""
    dataset = skewed_part()
    sampler, _, _ = fitted(dataset, generator, scale=3.0)
    rows = torch.full((20_000,), 2)
    drawn = sampler.draw(rows, rows, 1, generator)
    plain = conditional(torch.ones(dataset.item_num), dataset, torch.tensor([2]))[0]
    assert p_value(drawn, plain) < 1e-12


def test_one_uniform_cluster_is_the_uniform_sampler(generator):
    dataset = skewed_part()
    sampler, _, _ = fitted(dataset, generator, k=1)
    uniform = NegativeSampler(dataset, "uniform")
    users = dataset.inter_feat["user_id"]
    drawn = sampler.draw(users, users, 3000, generator)
    torch.testing.assert_close(
        sampler.log_q(users, drawn[0]), uniform.log_q(users, drawn[0]), rtol=1e-5, atol=1e-6
    )
    law = conditional(torch.ones(dataset.item_num), dataset, users).sum(0)
    assert p_value(drawn, law) > 1e-3


def test_a_cluster_that_the_user_has_whole_is_never_drawn(generator):
    dataset = skewed_part()
    used = UserLists.of_datasets([dataset])
    own = used.of(torch.tensor([7]))[1]
    vectors = torch.zeros(dataset.item_num, 1)
    vectors[own] = 100.0
    users = torch.ones(dataset.user_num, 1)  # it is by far the user's favourite
    sampler = ClusterSampler(used, (torch.arange(dataset.item_num) > 0).double())
    sampler.fit(users, vectors, 2, generator)
    rows = torch.full((2000,), 7)
    drawn = sampler.draw(rows, rows, 1, generator).flatten()
    assert not torch.isin(drawn, own).any()
    assert (drawn > 0).all()
    assert sampler.log_q(rows, drawn).isfinite().all()


def test_what_rejection_never_finds_in_a_cluster_is_drawn_from_all(generator, monkeypatch):
    monkeypatch.setattr("recbole_enhance.data.negatives.MOST_ROUNDS", 0)
    dataset = skewed_part()
    sampler, users, items = fitted(dataset, generator)
    rows = torch.full((20_000,), 7)
    drawn = sampler.draw(rows, rows, 1, generator)
    law = slow_law(sampler, dataset, users, items, 7, 5)
    assert p_value(drawn, law) > 1e-3
