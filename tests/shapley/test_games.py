import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.shapley import games


def random_game(n, seed):
    table = torch.randn(2**n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    table[0] = 0
    return lambda s: table[(s.long() << torch.arange(n)).sum(1)]


def shapley_by_permutations(game, n):
    """The definition as a loop over all orders: the slow, independent truth."""
    total = [0.0] * n
    for order in itertools.permutations(range(n)):
        members = torch.zeros(1, n, dtype=torch.bool)
        before = game(members).item()
        for player in order:
            members[0, player] = True
            after = game(members).item()
            total[player] += after - before
            before = after
    return torch.tensor(total, dtype=torch.float64) / math.factorial(n)


sizes = st.integers(1, 6)
seeds = st.integers(0, 10_000)


@settings(max_examples=25, deadline=None)
@given(sizes, seeds)
def test_enumeration_equals_the_definition(n, seed):
    game = random_game(n, seed)
    torch.testing.assert_close(games.shapley_values(game, n), shapley_by_permutations(game, n))


@settings(max_examples=25, deadline=None)
@given(sizes, seeds)
def test_dividends_rebuild_the_game_and_its_values(n, seed):
    game = random_game(n, seed)
    coalitions = games.all_coalitions(n)
    dividends = games.harsanyi_dividends(game, n)
    subset = (coalitions.unsqueeze(1) | ~coalitions.unsqueeze(0)).all(2)  # [S, T]: T inside S
    torch.testing.assert_close(subset.double() @ dividends, game(coalitions))
    torch.testing.assert_close(
        games.shapley_from_dividends(dividends, coalitions.double()), games.shapley_values(game, n)
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), seeds)
def test_axioms(n, seed):
    game, other = random_game(n, seed), random_game(n, seed + 1)
    phi = games.shapley_values(game, n)
    full = torch.ones(1, n, dtype=torch.bool)
    torch.testing.assert_close(phi.sum(), game(full)[0])  # efficiency
    both = games.shapley_values(lambda s: game(s) + 2 * other(s), n)
    torch.testing.assert_close(both, phi + 2 * games.shapley_values(other, n))  # linearity
    dummy = torch.tensor([False] + [True] * (n - 1))
    assert games.shapley_values(lambda s: game(s & dummy), n)[0].abs() < 1e-12
    swap = torch.arange(n)
    swap[:2] = torch.tensor([1, 0])
    symmetric = games.shapley_values(lambda s: game(s) + game(s[:, swap]), n)
    torch.testing.assert_close(symmetric[0], symmetric[1])


def test_permutation_estimate_covers_the_truth(generator):
    game = random_game(5, 3)
    estimate, error = games.permutation_shapley(game, 5, 4000, generator)
    assert ((estimate - games.shapley_values(game, 5)).abs() < 5 * error).all()
    assert (error > 0).all()


def test_bad_sizes_are_refused(generator):
    with pytest.raises(ValueError, match="n_players=21"):
        games.all_coalitions(21)
    with pytest.raises(ValueError, match="n_permutations=1"):
        games.permutation_shapley(random_game(2, 0), 2, 1, generator)
    with pytest.raises(ValueError, match="3 dividends for 2"):
        games.shapley_from_dividends(torch.zeros(3), torch.zeros(2, 4))
