import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.shapley import coalition as co
from recbole_enhance.shapley.games import all_coalitions, permutation_shapley, shapley_values

LONGEST = 8
numbers = st.floats(-3, 3, allow_nan=False, width=32)
chains = st.lists(numbers, min_size=1, max_size=LONGEST)
kappas = st.sampled_from([0.0, 0.5, 1.0, 3.0])


def rows(*lists, longest=LONGEST):
    """Right-padded rows, and their lengths."""
    out = torch.zeros(len(lists), longest, dtype=torch.float64)
    for row, values in zip(out, lists):
        row[: len(values)] = torch.tensor(values, dtype=torch.float64)
    return out, torch.tensor([len(values) for values in lists])


def enumerated(a, members, kappa):
    """Value of a coalition as one player beside single others, by all subsets."""
    n = len(a)
    ids = torch.zeros(n, dtype=torch.long)
    ids[~members] = torch.arange(1, n - int(members.sum()) + 1)
    game = co.quotient_game(co.mean_game(a, kappa), ids)
    return shapley_values(game, int(ids.max()) + 1)[0]


def all_partitions(n):
    for joins in itertools.product([False, True], repeat=n - 1):
        yield torch.tensor([*joins, False])


@settings(deadline=None, max_examples=60)
@given(chains, kappas, st.data())
def test_the_closed_form_is_the_enumerated_value_of_any_coalition(values, kappa, data):
    n = len(values)
    members = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    if not members.any():
        members[0] = True
    a = torch.tensor(values, dtype=torch.float64)
    tables = co.coalition_tables(LONGEST, kappa)
    phi = co.coalition_values(a[members].sum(), a.sum(), members.sum(), torch.tensor(n), tables)
    assert phi.item() == pytest.approx(enumerated(a, members, kappa).item(), abs=1e-10)
    if members.all():
        assert phi.item() == pytest.approx(a.sum().item() / max(n + kappa, 1e-12), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(chains, kappas)
def test_single_players_are_efficient_and_symmetric(values, kappa):
    a, n = torch.tensor(values, dtype=torch.float64), torch.tensor(len(values))
    one, tables = torch.ones(len(values), dtype=torch.long), co.coalition_tables(LONGEST, kappa)
    phi = co.coalition_values(a, a.sum().expand(n), one, n.expand(n), tables)
    assert phi.sum().item() == pytest.approx((a.sum() / (n + kappa)).item(), abs=1e-10)
    torch.testing.assert_close(phi, shapley_values(co.mean_game(a, kappa), len(values)))
    for i, j in itertools.combinations(range(len(values)), 2):
        if values[i] == values[j]:
            assert phi[i] == phi[j]


def test_tables_are_their_sums():
    for kappa in (0.0, 1.0, 2.5):
        tables = co.coalition_tables(6, kappa)
        for n in range(7):
            for c in range(7):
                own = rest = 0.0
                if 1 <= c <= n:
                    k = n - c + 1
                    own = sum(1 / (s + c + kappa) for s in range(k)) / k
                    steps = range(1, n - c + 1)
                    rest = sum(s / (s + kappa) - s / (s + c + kappa) for s in steps)
                    rest = rest / (k * (n - c)) if c < n else 0.0
                assert tables.own[n, c].item() == pytest.approx(own, abs=1e-12)
                assert tables.rest[n, c].item() == pytest.approx(rest, abs=1e-12)


def test_a_coalition_of_nobody_is_worth_nothing():
    tables, none = co.coalition_tables(5, 0.0), torch.zeros(6, dtype=torch.long)
    phi = co.coalition_values(torch.ones(6), torch.ones(6), none, torch.arange(6), tables)
    assert (phi == 0).all()


@settings(deadline=None, max_examples=40)
@given(st.lists(chains, min_size=1, max_size=4))
def test_all_runs_are_all_runs(lists):
    _, lengths = rows(*lists)
    runs = co.all_runs(lengths, LONGEST)
    slow = [
        (b * LONGEST + s, b * LONGEST + e, e - s + 1, n)
        for b, n in enumerate(lengths.tolist())
        for e in range(n)
        for s in range(e + 1)
    ]
    assert list(zip(*(part.tolist() for part in runs))) == slow


@settings(deadline=None, max_examples=40)
@given(st.lists(chains, min_size=1, max_size=4))
def test_run_probabilities_cover_each_player_once_and_padding_never(lists):
    logits, lengths = rows(*lists)
    runs = co.all_runs(lengths, LONGEST)
    P = co.run_probabilities(logits, lengths, runs)
    cover = torch.zeros(logits.numel(), dtype=torch.float64)
    for p, first, last in zip(P, runs.first, runs.last):
        cover[first : last + 1] += p
    there = torch.arange(LONGEST) < lengths.unsqueeze(1)
    torch.testing.assert_close(cover.view_as(logits), there.double())


@pytest.mark.parametrize("kappa", [0.0, 1.0])
def test_expectation_and_its_gradient_equal_those_over_all_partitions(kappa):
    torch.manual_seed(0)
    n, tables = 7, co.coalition_tables(LONGEST, kappa)
    a, lengths = rows(torch.randn(n).tolist())
    a[0, :n] -= a[0, :n].mean()
    logits = torch.randn(1, LONGEST, dtype=torch.float64, requires_grad=True)
    runs = co.all_runs(lengths, LONGEST)
    phi = co.centred_values(co.sums_of_runs(a, runs), runs.size, runs.players, tables)
    J = (co.run_probabilities(logits, lengths, runs) * phi.square()).sum()
    slow, given_joined, given_cut = 0.0, torch.zeros(n), torch.zeros(n)
    p = torch.sigmoid(logits[0, :n]).detach()
    items = torch.zeros(n, dtype=torch.float64)
    for joins in all_partitions(n):
        row = torch.zeros(1, LONGEST, dtype=torch.bool)
        row[0, :n] = joins
        ids = co.coalition_ids(row, lengths)
        inside, size = co.sums_of_coalitions(a, ids, lengths)
        value = co.centred_values(inside, size, lengths.unsqueeze(1).expand_as(size), tables)
        chance = torch.where(joins, p, 1 - p)[:-1].prod()
        f = value.square().sum()
        slow += chance * f
        given_joined += torch.where(joins, chance * f / p, 0.0)
        given_cut += torch.where(joins, 0.0, chance * f / (1 - p))
        items += chance * co.item_values(value, size, ids, lengths)[0, :n]
    assert J.item() == pytest.approx(slow.item(), abs=1e-10)
    (gradient,) = torch.autograd.grad(J, logits)
    expected = (given_joined - given_cut)[:-1].double() * (p * (1 - p))[:-1]
    torch.testing.assert_close(gradient[0, : n - 1], expected, atol=1e-6, rtol=1e-5)
    assert (gradient[0, n - 1 :] == 0).all()
    P = co.run_probabilities(logits.detach(), lengths, runs)
    expected = co.expected_item_values(P, phi, runs, (1, LONGEST))
    torch.testing.assert_close(expected[0, :n], items)
    assert (expected[0, n:] == 0).all()


def test_large_logits_are_the_hard_partition():
    joins = torch.tensor([[True, False, True, True, False, False]])
    a, lengths = rows([1.0, -2.0, 3.0, 0.5, -1.0], longest=6)
    a[0, :5] -= a[0, :5].mean()
    logits = torch.where(joins, 40.0, -40.0).double()
    tables, runs = co.coalition_tables(6, 1.0), co.all_runs(lengths, 6)
    P = co.run_probabilities(logits, lengths, runs)
    sure = P > 0.5
    assert runs.first[sure].tolist() == [0, 2]
    assert runs.last[sure].tolist() == [1, 4]
    phi = co.centred_values(co.sums_of_runs(a, runs), runs.size, runs.players, tables)
    ids = co.coalition_ids(joins, lengths)
    inside, size = co.sums_of_coalitions(a, ids, lengths)
    hard = co.centred_values(inside, size, lengths.unsqueeze(1).expand_as(size), tables)
    torch.testing.assert_close(
        co.expected_item_values(P, phi, runs, (1, 6)), co.item_values(hard, size, ids, lengths)
    )


def test_removal_is_the_games_loss():
    a = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    game = co.mean_game(a, 1.0)
    members = all_coalitions(4)
    truth = game(torch.ones(1, 4, dtype=torch.bool)) - game(~members)
    inside, size = members.double() @ a, members.sum(1)
    values = co.removal_values(inside, a.sum(), size, torch.tensor(4), 1.0)
    torch.testing.assert_close(values, truth)
    everybody = co.removal_values(a.sum(), a.sum(), torch.tensor(4), torch.tensor(4), 0.0)
    assert everybody.item() == pytest.approx(a.mean().item())


@pytest.mark.parametrize("kappa", [0.0, 1.0])
def test_the_quotient_games_values_sum_alike_in_every_partition(kappa):
    """Why it cannot train the gates; the values with single others do depend on it."""
    a, lengths = rows(torch.linspace(-1, 2, 8).square().tolist())
    tables, totals, sums = co.coalition_tables(8, kappa), [], []
    for joins in itertools.islice(all_partitions(8), 0, None, 9):
        ids = co.coalition_ids(joins.unsqueeze(0), lengths)
        game = co.quotient_game(co.mean_game(a[0], kappa), ids[0])
        totals.append(shapley_values(game, int(ids.max()) + 1).sum().item())
        inside, size = co.sums_of_coalitions(a, ids, lengths)
        total = a.sum().expand_as(inside)
        phi = co.coalition_values(inside, total, size, torch.full_like(size, 8), tables)
        sums.append(phi.sum().item())
    assert max(totals) - min(totals) < 1e-10
    assert totals[0] == pytest.approx(a.sum().item() / (8 + kappa))
    assert max(sums) - min(sums) > 1e-3


def test_random_orders_come_to_the_exact_quotient_values(generator):
    a = torch.randn(10, generator=generator, dtype=torch.float64)
    ids = torch.tensor([0, 0, 1, 2, 2, 3, 4, 5, 6, 6])
    game = co.quotient_game(co.mean_game(a, 1.0), ids)
    exact = shapley_values(game, 7)
    mean, error = permutation_shapley(game, 7, 2000, generator)
    assert mean.sum().item() == pytest.approx(exact.sum().item(), abs=1e-9)
    assert ((mean - exact).abs() < 5 * error + 1e-9).all()


PLANTED = [-1.0, -1, 2, 2, 2, -1, -1, -1, 1, 1]


def learned(values, kappa=1.0, steps=400):
    a, lengths = rows(values, longest=len(values))
    a = a - a.mean()
    a = a / a.std()
    tables, runs = co.coalition_tables(len(values), kappa), co.all_runs(lengths, len(values))
    phi = co.centred_values(co.sums_of_runs(a, runs), runs.size, runs.players, tables)
    logits = torch.zeros(1, len(values), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(steps):
        J = (co.run_probabilities(logits, lengths, runs) * phi.square()).sum()
        optimizer.zero_grad()
        (-len(values) * J).backward()
        optimizer.step()
    return (logits[0, :-1] > 0).tolist()


@pytest.mark.parametrize("kappa", [0.0, 1.0])
@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_gates_recover_planted_blocks_by_gradient(kappa, offset):
    joined = learned([value + offset for value in PLANTED], kappa)
    assert joined == [True, False, True, True, False, True, True, False, True]


def test_gates_leave_noise_nearly_single(generator):
    joined = [learned(torch.randn(10, generator=generator).tolist()) for _ in range(5)]
    assert sum(map(sum, joined)) / 45 < 0.5


def test_the_sampled_gradient_is_the_exact_one_on_average(generator):
    a, lengths = rows([0.5, -1.0, 2.0, 1.0, -0.5], [1.0, -1.0])
    a[0, :5] -= a[0, :5].mean()
    tables = co.coalition_tables(LONGEST, 1.0)
    logits = torch.randn(2, LONGEST, generator=generator, dtype=torch.float64)
    p = torch.sigmoid(logits).requires_grad_()
    joins = co.draw_joins(logits, 20000, generator)
    ids = co.coalition_ids(joins, lengths)
    inside, size = co.sums_of_coalitions(a, ids, lengths)
    phi = co.centred_values(inside, size, lengths.unsqueeze(1).expand_as(size), tables)
    outcome = phi.square().sum(-1)
    (gradient,) = torch.autograd.grad(co.sampled_surrogate(p, joins, outcome, lengths).sum(), p)
    no_gate = torch.arange(LONGEST) >= (lengths - 1).unsqueeze(1)  # after the last player
    assert (gradient[no_gate] == 0).all()
    exact_p = torch.sigmoid(logits).requires_grad_()
    runs = co.all_runs(lengths, LONGEST)
    values = co.centred_values(co.sums_of_runs(a, runs), runs.size, runs.players, tables)
    P = co.run_probabilities(torch.logit(exact_p), lengths, runs)
    (exact,) = torch.autograd.grad((P * values.square()).sum(), exact_p)
    torch.testing.assert_close(gradient, exact, atol=0.02, rtol=0.05)
    torch.testing.assert_close(
        outcome.mean(0)[0], (P * values.square())[runs.first < 8].sum(), atol=0.02, rtol=0.05
    )


def test_what_stands_in_padding_changes_nothing(generator):
    a, lengths = rows([1.0, 2.0, -3.0], [4.0])
    logits = torch.randn(2, LONGEST, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, LONGEST, generator=generator, dtype=torch.float64)
    there = torch.arange(LONGEST) < lengths.unsqueeze(1)
    dirty = torch.where(there, a, noise)
    tables, runs = co.coalition_tables(LONGEST, 1.0), co.all_runs(lengths, LONGEST)

    def values(a, logits):
        phi = co.centred_values(co.sums_of_runs(a, runs), runs.size, runs.players, tables)
        P = co.run_probabilities(logits, lengths, runs)
        return co.expected_item_values(P, phi, runs, tuple(a.shape))

    last = torch.arange(LONGEST) >= (lengths - 1).unsqueeze(1)
    assert torch.equal(values(a, logits), values(dirty, torch.where(last, noise, logits)))


def test_chains_without_players_are_taken():
    runs = co.all_runs(torch.tensor([0, 0]), 4)
    lengths, zero = torch.zeros(2, dtype=torch.long), torch.zeros(2, 4)
    P = co.run_probabilities(zero, lengths, runs)
    assert len(P) == 0
    assert (co.expected_item_values(P, P, runs, (2, 4)) == 0).all()
