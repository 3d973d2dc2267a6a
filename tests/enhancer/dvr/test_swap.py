"""The swap estimator against the full sum over pairs, and what a step along it does."""

import numpy as np
import pytest
import torch

from recbole_enhance.enhancer.dvr import swap
from recbole_enhance.metric import concentration, fairness


@pytest.fixture
def scores(generator):
    return torch.randn((30, 40), generator=generator, dtype=torch.float64).sort(1, True).values


def full_sum(scores, k, change):
    """Gradient of the sum over all pairs of change * sigmoid((s_b - s_a) / tau), by autograd."""
    tau = (scores[:, k // 2] - scores[:, 3 * k]).mean() / 2
    s = scores.clone().requires_grad_()
    near = torch.sigmoid((s[:, None, k:] - s[:, :k, None]) / tau)  # (users, listed, outsiders)
    (gradient,) = torch.autograd.grad((change * near).sum(), s)
    return gradient


def estimate(scores, k, change, n_draws, generator):
    swaps = swap.draw_swaps(scores, k, n_draws, generator)
    drawn = change[torch.arange(len(scores)).unsqueeze(1), swaps.place, swaps.outsider - k]
    places = torch.arange(scores.shape[1]).expand_as(scores)
    items, amount = swap.score_gradient(places, swaps, drawn)
    return torch.zeros_like(scores).scatter_add_(1, items, amount)


def test_many_draws_give_the_sum_over_all_pairs(scores, generator, monkeypatch):
    monkeypatch.setattr(swap, "_CLIP", 1e9)
    k = 5
    change = torch.randn((30, k, 35), generator=generator, dtype=torch.float64)
    exact = full_sum(scores, k, change)
    found = estimate(scores, k, change, 200_000, generator)
    assert torch.nn.functional.cosine_similarity(found.flatten(), exact.flatten(), dim=0) > 0.99
    assert float(found.norm()) == pytest.approx(float(exact.norm()), rel=0.05)


def test_few_draws_point_the_same_way(scores, generator):
    k = 5
    change = torch.randn((30, k, 35), generator=generator, dtype=torch.float64)
    exact = full_sum(scores, k, change).flatten()
    cosines = [
        torch.nn.functional.cosine_similarity(
            estimate(scores, k, change, 16, generator).flatten(), exact, dim=0
        )
        for _ in range(20)
    ]
    assert min(cosines) > 0.1
    assert sum(cosines) / 20 > 0.3


def test_a_user_without_outsiders_has_no_weight(generator):
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.5], [1.0, 0.5, -torch.inf, -torch.inf]])
    swaps = swap.draw_swaps(scores, 2, 8, generator)
    assert (swaps.weight[0] > 0).all()
    assert not swaps.weight[1].any()
    assert ((swaps.outsider >= 2) & (swaps.outsider < 4)).all()
    equal = swap.draw_swaps(torch.zeros(2, 5), 2, 8, generator)
    assert equal.weight.isfinite().all()


def test_an_impossible_candidate_is_never_drawn(generator):
    scores = torch.cat([torch.arange(20.0, 0, -1), torch.full((20,), -torch.inf)]).repeat(50, 1)
    assert (swap.draw_swaps(scores, 5, 64, generator).outsider < 20).all()


def test_rows_of_swaps_repeat_each_user():
    data = {
        "rec.users": torch.tensor([7, 9]),
        "rec.positive_u": torch.tensor([0, 1, 1]),
        "rec.positive_i": torch.tensor([3, 4, 5]),
        "data.num_items": 10,
    }
    rows = swap.rows_of_swaps(data, torch.arange(12).view(2, 2, 3))
    assert rows["rec.users"].tolist() == [7, 7, 9, 9]
    assert rows["rec.items"].shape == (4, 3)
    pairs = set(zip(rows["rec.positive_u"].tolist(), rows["rec.positive_i"].tolist()))
    assert pairs == {(0, 3), (1, 3), (2, 4), (3, 4), (2, 5), (3, 5)}
    assert rows["data.num_items"] == 10


def test_ginis_slopes_are_finite_differences_where_counts_differ():
    counts = [0, 1, 3, 8, 20]
    lists = torch.repeat_interleave(torch.arange(1, 6), torch.tensor(counts)).unsqueeze(1)
    slopes = swap.gini_slopes(lists, 6)

    def gini(counts):
        ordered, n = np.sort(counts), len(counts)
        return ((2 * np.arange(1, n + 1) - n - 1) * ordered).sum() / (n * ordered.sum())

    assert gini(np.array(counts)) == pytest.approx(concentration.gini_index(lists, 6).item())
    for i in range(1, 5):  # the rarest may not go below 0
        bump = np.zeros(5)
        bump[i] = 1e-6
        slope = (gini(counts + bump) - gini(counts - bump)) / 2e-6
        assert slopes[i + 1].item() == pytest.approx(slope, abs=1e-8)


def test_ginis_ties_share_one_slope():
    lists = torch.tensor([[1, 2], [1, 2], [1, 3]])
    slopes = swap.gini_slopes(lists, 200)
    assert len(slopes[4:].unique()) == 1  # never listed, all of them
    assert (slopes[4] < slopes[3]) & (slopes[3] < slopes[2]) & (slopes[2] < slopes[1])
    # the counts in all directions at once: Gini does not depend on their scale
    counts = torch.bincount(lists.flatten(), minlength=200)
    assert abs((slopes * counts).sum()) < 1e-12


def test_coverages_changes_are_recounts():
    lists = torch.tensor([[1, 2], [2, 3], [2, 0]])
    more, less = swap.coverage_changes(lists, 6)
    now = concentration.item_coverage(lists, 6)
    for item in range(1, 6):
        longer = torch.cat([lists, torch.tensor([[item, 0]])])
        assert more[item] == pytest.approx(concentration.item_coverage(longer, 6) - now)
        place = (lists == item).nonzero()
        if len(place):
            shorter = lists.clone()
            shorter[tuple(place[0])] = 0
            assert less[item] == pytest.approx(concentration.item_coverage(shorter, 6) - now)


@pytest.mark.parametrize(
    ("weights", "metric"),
    [(swap.gap_weights, fairness.group_gap), (swap.mad_weights, fairness.group_mad)],
)
def test_group_weights_are_the_metrics_derivative(weights, metric, generator):
    values = torch.rand(60, generator=generator, dtype=torch.float64)
    values[7] = torch.nan
    codes = torch.randint(-1, 4, (60,), generator=generator)
    codes[codes == 2] = 1  # an empty group
    found = weights(values, codes, 4)
    for user in range(60):
        bump = torch.zeros(60, dtype=torch.float64)
        bump[user] = 1e-6
        slope = (metric(values + bump, codes, 4) - metric(values - bump, codes, 4)) / 2e-6
        assert found[user].item() == pytest.approx(slope.item(), abs=1e-7)
