import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.model.counterfactual import Search, apply_change, random_start, search

P, F, N = 9, 7, 5.0
SETTINGS = Search(60, 0.05, 200.0, 1.0, 0.05, N)


def world(seed=0, n_pairs=P):
    """A random scorer, items, masks and margins."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(F, 6, generator=generator)
    out = torch.randn(6, generator=generator)
    half = torch.randn(n_pairs, 6, generator=generator)
    y = N * torch.rand(n_pairs, F, generator=generator)
    y = y * (torch.rand(n_pairs, F, generator=generator) > 0.3)
    mask = torch.rand(n_pairs, F, generator=generator) > 0.3

    def score(changed, rows=slice(None)):
        return torch.sigmoid(torch.relu(half[rows] + changed @ weight) @ out)

    return score, y, mask, score(y) * 0.8


def slow_search(score, y, mask, margin, start, settings):
    """One pair, term by term, with gradients by autograd on plain sums."""
    delta, best = start.clone(), (float("inf"), None, None)
    for _ in range(settings.steps):
        d = delta.clone().requires_grad_()
        changed = torch.minimum(
            torch.maximum(d * mask, torch.tensor(-settings.scale)), torch.tensor(0.0)
        )
        changed = torch.minimum(
            torch.maximum(y + changed, torch.tensor(0.0)), torch.tensor(settings.scale)
        )
        s = score(changed.unsqueeze(0))[0]
        hinge = max(settings.alpha + s - margin, torch.tensor(0.0))
        loss = (d * d).sum().sqrt() + settings.l1_weight * d.abs().sum()
        loss = loss + settings.hinge_weight * hinge
        loss.backward()
        if loss.item() < best[0]:
            best = loss.item(), delta.clone() * mask, bool(s < margin)
        delta = delta - settings.learning_rate * d.grad
    return best


def test_all_pairs_at_once_equal_one_by_one():
    score, y, mask, margin = world()
    start = random_start(P, F, N, 3, "cpu")
    found = search(score, y, mask, margin, start, SETTINGS)
    assert found.found.any()
    for p in range(P):
        one = slow_search(
            lambda c, p=p: score(c, slice(p, p + 1)), y[p], mask[p], margin[p], start[p], SETTINGS
        )
        assert found.loss[p].item() == pytest.approx(one[0], abs=1e-3)
        assert torch.allclose(found.delta[p], one[1].clamp(-N, 0), atol=1e-5)
        assert bool(found.found[p]) == one[2]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_what_a_change_may_be(seed):
    score, y, mask, margin = world(seed)
    found = search(score, y, mask, margin, random_start(P, F, N, seed, "cpu"), SETTINGS)
    assert (found.delta <= 0).all()
    assert (found.delta >= -N).all()
    assert (found.delta[~mask] == 0).all()
    changed = apply_change(y, found.delta, mask, N)
    assert ((changed >= 0) & (changed <= y)).all()
    below = score(changed) < margin
    assert torch.equal(below[found.found], torch.ones_like(below[found.found]))
    assert found.delta.isfinite().all()


def test_the_gradient_at_no_change_is_a_number():
    score, y, mask, margin = world()
    found = search(score, y, mask, margin, torch.zeros(P, F), SETTINGS)
    assert found.delta.isfinite().all()


def test_an_item_already_below_needs_no_change():
    score, y, mask, _ = world()
    long = SETTINGS._replace(steps=400)
    found = search(score, y, mask, torch.full((P,), 2.0), random_start(P, F, N, 0, "cpu"), long)
    assert found.found.all()
    step = 0.05 * (1 + SETTINGS.l1_weight)  # around 0, descent of this step swings by this much
    assert found.delta.abs().max() < 1.2 * step


def test_no_pairs_are_no_trouble():
    score, y, mask, margin = world()
    none = slice(0, 0)
    found = search(
        lambda c: score(c, none), y[none], mask[none], margin[none], torch.zeros(0, F), SETTINGS
    )
    assert found.delta.shape == (0, F)


def test_the_start_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    start = random_start(4, 3, N, 5, "cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(start, random_start(4, 3, N, 5, "cpu"))
    assert ((start <= 0) & (start >= -N)).all()
