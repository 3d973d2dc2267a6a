import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recbole.model.loss import BPRLoss
from torch import nn

from recbole_enhance.training.losses import WeightedLoss, make_weighable, per_sample


def scores(module, n, seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, n, generator=generator)
    if isinstance(module, BPRLoss):
        return first, second
    label = (second > 0).float()
    return (first.sigmoid() if isinstance(module, nn.BCELoss) else first), label


MODULES = [BPRLoss(), nn.BCEWithLogitsLoss(), nn.BCELoss(), nn.MSELoss()]
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda m: type(m).__name__)


@each_module
@given(n=st.integers(1, 5000), seed=st.integers(0, 1000))
def test_the_mean_of_the_losses_is_the_modules_bit_for_bit(module, n, seed):
    args = scores(module, n, seed)
    assert torch.equal(per_sample(module, *args).mean(), module(*args))
    twin = WeightedLoss(module)
    assert torch.equal(twin(*args), module(*args))
    twin.weigh = lambda losses: torch.ones_like(losses)
    assert torch.equal(twin(*args), module(*args))
    twin.weigh = lambda losses: None
    assert torch.equal(twin(*args), module(*args))


@each_module
def test_weights_select_samples(module):
    args = scores(module, 10, 0)
    twin = WeightedLoss(module)
    chosen = torch.tensor([True, False] * 5)
    twin.weigh = lambda losses: chosen * 2.0
    torch.testing.assert_close(twin(*args), module(*(a[chosen] for a in args)))


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("kind", [nn.BCEWithLogitsLoss, nn.BCELoss, nn.MSELoss])
@given(n=st.integers(1, 500), seed=st.integers(0, 1000))
def test_another_reduction_stays(kind, reduction, n, seed):
    module = kind(reduction=reduction)
    args = scores(module, n, seed)
    twin = WeightedLoss(module)
    expected = module(*args)
    twin.weigh = lambda losses: None
    assert torch.equal(twin(*args), expected)
    twin.weigh = lambda losses: torch.ones_like(losses)
    assert torch.equal(twin(*args), expected)
    chosen = (torch.arange(n) % 2).float()
    twin.weigh = lambda losses: chosen
    every = kind(reduction="none")(*args)
    by_hand = [every[i].item() * (i % 2) for i in range(n)]
    by_hand = torch.tensor(sum(by_hand) if reduction == "sum" else by_hand)
    torch.testing.assert_close(twin(*args), by_hand)
    assert module.reduction == reduction


def test_a_model_needs_exactly_one_loss():
    for modules in ({}, {"a": BPRLoss(), "b": nn.MSELoss()}):
        with pytest.raises(ValueError, match=f"{len(modules)} loss modules"):
            make_weighable(nn.ModuleDict(modules))
    model = nn.ModuleDict({"loss": BPRLoss()})
    assert make_weighable(model) is model["loss"] if "loss" in model else model.loss
