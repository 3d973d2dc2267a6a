import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recbole_enhance.training.perturbation import (
    NORMS,
    ascend,
    direction,
    moved_parameters,
    project,
    random_signs,
    replaced_features,
    step_size,
)

matrices = st.integers(0, 10_000).map(
    lambda seed: torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
)


@settings(max_examples=60, deadline=None)
@given(matrices)
def test_directions_have_unit_size_and_raise_a_linear_loss_most(g):
    other = direction(torch.randn(4, 5), "linf"), direction(torch.randn(4, 5), "l2")
    for norm, rival in zip(NORMS, other):
        d = direction(g, norm)
        size = d.abs().amax(1) if norm == "linf" else d.norm(dim=1)
        assert torch.allclose(size, torch.ones(4))
        dual = g.abs().sum(1) if norm == "linf" else g.norm(dim=1)
        assert torch.allclose((g * d).sum(1), dual, atol=1e-5)
        assert ((g * rival).sum(1) <= dual + 1e-5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_no_gradient_no_step(norm):
    assert torch.equal(direction(torch.zeros(2, 3), norm), torch.zeros(2, 3))


@settings(max_examples=60, deadline=None)
@given(matrices, st.sampled_from(NORMS), st.floats(0.01, 2), st.integers(1, 6))
def test_pgd_stays_in_the_budget_and_climbs(target, norm, eps, steps):
    """On a concave bowl, whose gradient is known."""
    clean = torch.zeros(4, 5)
    at = clean
    for _ in range(steps):
        at = ascend(clean, at, target - at, step_size(eps, steps), eps, norm)
        size = (at - clean).abs().amax(1) if norm == "linf" else (at - clean).norm(dim=1)
        assert (size <= eps + 1e-5).all()
    if eps < target.abs().min():
        assert (target - at).square().sum() < target.square().sum()


@settings(max_examples=60, deadline=None)
@given(matrices, st.sampled_from(NORMS), st.floats(0.01, 2))
def test_projection_is_the_identity_inside_and_idempotent(delta, norm, eps):
    inside = 0.5 * eps * direction(delta, norm)
    assert torch.allclose(project(inside, eps, norm), inside)
    once = project(delta, eps, norm)
    assert torch.allclose(project(once, eps, norm), once, atol=1e-6)


def test_random_signs_are_as_large_as_fgsm_and_seeded():
    shape = torch.Size((50, 40))
    draw = [random_signs(shape, 0.3, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*draw)
    assert torch.equal(draw[0].abs(), torch.full((50, 40), 0.3))
    assert abs(draw[0].mean()) < 0.05


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("item_feature_matrix", torch.rand(4, 3), persistent=False)


@pytest.mark.parametrize("fails", [False, True])
def test_attacks_restore_bitwise_also_on_failure(fails):
    model = Holder()
    with torch.no_grad():
        model.layer.weight.mul_(1e-7)  # where adding and taking away again would not come back
    before = {name: t.clone() for name, t in model.state_dict().items()}
    features = model.item_feature_matrix.clone()
    change = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    try:
        with replaced_features(model, features + 1), moved_parameters(model, change):
            assert not torch.equal(model.layer.weight, before["layer.weight"])
            assert torch.equal(model.item_feature_matrix, features + 1)
            if fails:
                raise RuntimeError("inside")
    except RuntimeError:
        assert fails
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert torch.equal(model.item_feature_matrix, features)
