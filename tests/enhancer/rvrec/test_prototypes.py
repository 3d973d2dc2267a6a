import pytest
import torch

from recbole_enhance.enhancer.rvrec.histories import Chains, Histories, unique_ids
from recbole_enhance.enhancer.rvrec.prototypes import (
    ShapleyPrototypes,
    coins,
    prototype_weights,
    standardized,
)

OPTIONS = {
    "longest": 10,
    "kappa": 1.0,
    "mode": "exact",
    "objective": "squared",
    "gate_weight": 1.0,
    "temperature": 1.0,
    "n_partitions": 16,
    "uniform": False,
    "random": False,
}


def world(generator):
    """Histories of two kinds of items; users value one kind, so that runs of it belong together."""
    kinds = torch.tensor([0, 0, 1, 1, 1, 0, 0, 0, 1, 1])
    vectors = torch.eye(4)[:2] + 0.1 * torch.randn(2, 4, generator=generator)
    x = vectors[kinds].repeat(8, 1) + 0.05 * torch.randn(80, 4, generator=generator)
    mu = vectors[1].expand(8, 4) + 0.05 * torch.randn(8, 4, generator=generator)
    lengths = torch.full((8,), 10)
    return mu, x, Chains(torch.arange(8).repeat_interleave(10), torch.arange(80), lengths), kinds


@pytest.mark.parametrize("objective", ["squared", "agreement"])
@pytest.mark.parametrize("mode", ["exact", "sampled", "hard"])
def test_gates_learn_to_join_the_neighbours_that_belong_together(mode, objective, generator):
    torch.manual_seed(0)
    mu, x, chains, kinds = world(generator)
    network = ShapleyPrototypes(4, **{**OPTIONS, "mode": mode, "objective": objective})
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(100):
        weighted = network(mu, x, chains, chains.item, generator)
        optimizer.zero_grad()
        weighted.loss.backward()
        optimizer.step()
    joined = network(mu, x, chains, chains.item).logits[:, :9] > 0
    same = kinds[:-1] == kinds[1:]
    assert (joined == same).float().mean().item() > 0.95


def test_all_modes_are_one_where_the_gates_are_sure(generator):
    mu, x, chains, _ = world(generator)
    prototypes = []
    for mode in ("exact", "sampled", "hard"):
        network = ShapleyPrototypes(4, **{**OPTIONS, "mode": mode, "random": True})
        prototypes.append(network(mu, x, chains, chains.item, generator).prototype)
    torch.testing.assert_close(prototypes[0], prototypes[1])
    torch.testing.assert_close(prototypes[0], prototypes[2])


def test_weights_judge_the_embeddings_and_do_not_move_them(generator):
    mu, x, chains, _ = world(generator)
    mu.requires_grad_()
    x.requires_grad_()
    network = ShapleyPrototypes(4, **OPTIONS)
    weighted = network(mu, x, chains, chains.item, generator)
    weighted.loss.backward(retain_graph=True)
    assert mu.grad is None
    assert x.grad is None
    assert network.gate.bias.grad.abs() > 0
    weighted.prototype[0].sum().backward()
    torch.testing.assert_close(x.grad[:10, 0], weighted.weights[:10].detach())
    assert mu.grad is None


def test_coins_fall_both_ways_and_stay():
    items = torch.arange(1, 2001)
    first = coins(items, items.flip(0))
    assert torch.equal(first, coins(items, items.flip(0)))
    assert 0.4 < (first > 0).float().mean().item() < 0.6
    neighbours = coins(items[:-1], items[1:]) > 0
    assert 0.4 < neighbours.float().mean().item() < 0.6
    changes = (neighbours[1:] != neighbours[:-1]).float().mean().item()
    assert 0.4 < changes < 0.6


def test_contributions_all_alike_are_zero_and_nothing_is_nan():
    a = torch.tensor([[2.0, 2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    out = standardized(a, torch.tensor([2, 1, 0]))
    assert torch.equal(out, torch.zeros(3, 3))
    out.sum().backward()
    assert torch.isfinite(a.grad).all()
    weights = prototype_weights(out, torch.tensor([2, 1, 0]), 1.0)
    assert weights.tolist() == [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_the_audience_of_items_is_who_has_them():
    users, items = torch.tensor([1, 2, 1, 3]), torch.tensor([5, 5, 2, 2])
    histories = Histories(users, items, None, 4, 6)
    audience = histories.audience(torch.tensor([5, 3, 2]))
    pairs = sorted(zip(audience.row.tolist(), audience.item.tolist()))
    assert pairs == [(0, 1), (0, 2), (2, 1), (2, 3)]
    assert histories.popularity(6).tolist() == [0, 0, 2, 0, 0, 2]


def test_unique_ids_of_several_lists():
    found, place = unique_ids(9, torch.tensor([7, 2]), torch.tensor([2, 4]))
    assert found.tolist() == [2, 4, 7]
    assert place[torch.tensor([7, 2, 4])].tolist() == [2, 0, 1]
