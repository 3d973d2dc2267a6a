import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.enhancer.rvrec.gaussian import (
    GaussianHeads,
    contrastive_loss,
    pairwise_wasserstein2_squared,
    wasserstein2_squared,
)

seeds = st.integers(0, 10_000)


def gaussians(seed, n, d=5):
    generator = torch.Generator().manual_seed(seed)
    mu = torch.randn(n, d, generator=generator, dtype=torch.float64)
    sigma = torch.rand(n, d, generator=generator, dtype=torch.float64) + 0.01
    return mu, sigma


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_it_is_the_distance_of_gaussians_whose_covariances_commute(seed):
    mu, sigma = gaussians(seed, 2)
    root = torch.diag(sigma[0]) @ torch.diag(sigma[1].square()) @ torch.diag(sigma[0])
    trace = torch.trace(torch.diag(sigma[0].square() + sigma[1].square()) - 2 * root.sqrt())
    general = (mu[0] - mu[1]).square().sum() + trace  # Eq. (7)
    ours = wasserstein2_squared(mu[0], sigma[0], mu[1], sigma[1])
    assert ours.item() == pytest.approx(general.item(), abs=1e-10)


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_its_root_is_a_metric(seed):
    mu, sigma = gaussians(seed, 3)

    def w(i, j):
        return wasserstein2_squared(mu[i], sigma[i], mu[j], sigma[j]).sqrt().item()

    assert w(0, 0) == 0
    assert w(0, 1) == pytest.approx(w(1, 0))
    assert w(0, 2) <= w(0, 1) + w(1, 2) + 1e-9
    alike = wasserstein2_squared(mu[0], sigma[0], mu[1], sigma[0]).sqrt()
    assert alike.item() == pytest.approx((mu[0] - mu[1]).norm().item())


def test_the_square_is_none():
    one = torch.ones(1, 1)
    zero, near, far = (wasserstein2_squared(0 * one, one, k * one, one).item() for k in (0, 1, 2))
    assert zero == 0
    assert far > near + near  # 4 > 1 + 1


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_the_product_form_is_the_broadcast_form(seed):
    mu, sigma = gaussians(seed, 12)
    x = torch.cat([mu, sigma], dim=1)
    slow = wasserstein2_squared(mu[:, None], sigma[:, None], mu[None], sigma[None])
    torch.testing.assert_close(pairwise_wasserstein2_squared(x, x), slow, atol=1e-9, rtol=1e-9)
    single = pairwise_wasserstein2_squared(100 + x.float(), 100 + x.float())
    assert (single >= 0).all()


def test_gradients_are_those_of_the_distance_and_finite_far_apart_and_together():
    mu = torch.zeros(1, 2, requires_grad=True)
    sigma = torch.full((1, 2), 1e-3, requires_grad=True)
    far = torch.full((1, 2), 1e3)
    wasserstein2_squared(mu, sigma, far, torch.full((1, 2), 1e-3)).sum().backward()
    assert (mu.grad == -2000).all()  # 2 (mu - nu)
    mu.grad = sigma.grad = None
    wasserstein2_squared(mu, sigma, mu.detach(), sigma.detach()).sum().backward()
    assert (mu.grad == 0).all()
    assert (sigma.grad == 0).all()


def test_heads_start_as_the_embedding_and_never_go_below_the_floor():
    torch.manual_seed(0)
    heads, e = GaussianHeads(6, 4, 0.01), torch.randn(50, 6)
    assert torch.equal(heads.mean(e), e)
    assert GaussianHeads(6, 4, 0.01, mean_head=False).mean(e) is e
    assert 0.3 < heads.deviation(e).mean().item() < 0.45
    with torch.no_grad():
        heads.deviation_out.bias.fill_(-200.0)
    sigma = heads.deviation(e)
    assert (sigma >= 0.01 - 1e-9).all()
    sigma.sum().backward()  # at the floor
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in heads.parameters())


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(0, 4), st.integers(0, 2))
def test_the_contrastive_loss_is_the_slow_loop(seed, n_shared, n_own):
    generator = torch.Generator().manual_seed(seed)
    positive = torch.rand(6, generator=generator, dtype=torch.float64)
    own = torch.rand(n_own, 6, generator=generator, dtype=torch.float64)
    shared = torch.rand(3, n_shared, generator=generator, dtype=torch.float64)
    shared[torch.rand(3, n_shared, generator=generator) < 0.3] = float("inf")
    row = torch.tensor([0, 2, 2, 1, 0, 1])
    slow = []
    for b in range(6):
        terms = [positive[b], *own[:, b], *shared[row[b]]]
        weights = torch.exp(-torch.stack(terms) / 0.7)
        slow.append(-torch.log(weights[0] / weights.sum()))
    loss = contrastive_loss(positive, own, shared, row, 0.7)
    assert loss.item() == pytest.approx(torch.stack(slow).mean().item(), abs=1e-9)


def test_sigma_lives_with_the_loss_and_gets_no_gradient_without_it():
    torch.manual_seed(0)
    heads, e = GaussianHeads(6, 6, 0.01), torch.nn.Parameter(torch.randn(40, 6))
    optimizer = torch.optim.Adam([e, *heads.parameters()], lr=0.01)
    for step in range(200):
        x = heads.points(e)
        apart = pairwise_wasserstein2_squared(x[:20], x[20:]).masked_fill(
            torch.eye(20, dtype=torch.bool), float("inf")
        )
        near = (x[:20] - x[20:]).square().sum(1)
        loss = contrastive_loss(near, near[:0].view(0, 20), apart, torch.arange(20), 1.0)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            assert heads.deviation_out.bias.grad.abs().sum() > 0
        optimizer.step()
    sigma = heads.deviation(e).mean(1)
    assert sigma.mean().item() > 3 * 0.01
    assert sigma.std().item() > 0
    heads.zero_grad()
    heads.mean(e).sum().backward()
    assert heads.deviation_out.weight.grad is None or not heads.deviation_out.weight.grad.any()
