from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.model.loss import BPRLoss
from triplets import (
    REFUSED,
    TRIED,
)

from recbole_enhance.enhancer import tce
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.contract import Contract
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options
from recbole_enhance.training.losses import per_sample


class TestContract(Contract):
    method = "TCE"
    backbones = TRIED
    refused = REFUSED
    neutral = ({"tce_drop_rate": 0}, {"tce_drop_rate": 0, "fast": False})
    bad_options = (
        ({"tce_drop_rate": 1}, "tce_drop_rate=1: must be at least 0 and below 1"),
        ({"tce_drop_rate": -0.1}, "tce_drop_rate=-0.1: must be at least 0 and below 1"),
        ({"tce_gradual": -1}, "tce_gradual=-1: must be at least 0"),
        ({"tce_gradual_unit": "days"}, "tce_gradual_unit=days: must be one of epochs, steps"),
        ({"train_neg_sample_args": None}, "train_neg_sample_args=None: TCE needs negatives"),
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0, 50, width=32), min_size=1, max_size=40, unique=True),
    st.floats(0, 0.99),
)
def test_the_largest_losses_get_no_gradient(values, eps):
    losses = torch.tensor(values, requires_grad=True)
    loss = tce.truncated(losses, eps)
    dropped = int(eps * len(values))
    if dropped == 0:
        assert loss is None
        return
    (gradient,) = torch.autograd.grad(loss, losses)
    assert (gradient == 0).sum() == dropped
    largest = sorted(values)[len(values) - dropped :]
    assert sorted(losses[gradient == 0].tolist()) == largest
    kept = sorted(values)[: len(values) - dropped]  # an independent mean
    assert loss.item() == pytest.approx(sum(kept) / len(kept), rel=1e-5)


def test_it_does_not_depend_on_the_order_of_the_batch(generator):
    losses = torch.rand(50, generator=generator)
    order = torch.randperm(50, generator=generator)
    one, other = losses.clone().requires_grad_(), losses[order].requires_grad_()
    gradients = [torch.autograd.grad(tce.truncated(x, 0.3), x)[0] for x in (one, other)]
    assert torch.equal(gradients[0][order], gradients[1])


def test_the_schedule_starts_at_zero_rises_and_stays():
    rates = [tce.drop_rate(t, 0.2, 30) for t in range(100)]
    assert rates[0] == 0
    assert rates == sorted(rates)
    assert rates[15] == pytest.approx(0.1)
    assert set(rates[30:]) == {0.2}
    assert tce.drop_rate(0, 0.2, 0) == 0.2


@pytest.mark.parametrize(("unit", "gradual"), [("epochs", 2), ("steps", 6)])
def test_the_schedule_counts_steps_over_epochs(toy, unit, gradual):
    options = {"tce_gradual": gradual, "tce_gradual_unit": unit, "epochs": 4}
    trainer, (train, valid, _) = assemble(toy_options(toy, "TCE", show_progress=False, **options))
    trainer.fit(train, valid)
    assert trainer.step == 4 * len(train)
    assert trainer.gradual_steps == (2 * len(train) if unit == "epochs" else 6)
    eps = [row["tce_eps"] for row in trainer.history]
    steps = torch.arange(4 * len(train)).view(4, -1)
    expected = (0.2 * steps / trainer.gradual_steps).clamp(max=0.2).mean(1)
    assert eps == pytest.approx(expected.tolist())


def test_negatives_of_a_positive_are_averaged_before_it_is_dropped(toy):
    options = {"train_neg_sample_args": {"sample_num": 3}, "tce_drop_rate": 0.5, "tce_gradual": 0}
    trainer, _ = assemble(toy_options(toy, "TCE", show_progress=False, **options))
    # Positive 1 has the largest single loss, positive 2 the largest mean.
    losses = torch.tensor([[0.0, 3.0, 2.0, 1.0], [0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 2.0, 1.5]])
    loss = trainer.combine(losses.flatten(), losses, losses)
    assert loss == pytest.approx((0 + 1.0) / 2)
    run_toy(toy, "TCE", saved=False, **options)


def test_the_gradient_of_a_kept_triplet_is_that_of_bpr_on_the_kept(generator):
    x = torch.randn(20, generator=generator, requires_grad=True)
    loss = tce.truncated(per_sample(BPRLoss(), x, torch.zeros(20)), 0.25)
    (ours,) = torch.autograd.grad(loss, x)
    kept = x.detach().argsort(descending=True)[:15]  # the loss falls with the margin
    (theirs,) = torch.autograd.grad(BPRLoss()(x[kept], torch.zeros(15)), x)
    torch.testing.assert_close(ours, theirs)


def test_the_share_that_is_dropped_is_logged(toy):
    result = run_toy(toy, "TCE", tce_gradual=0, tce_drop_rate=0.4)
    row = history_rows(Path(result["run_dir"]))[-1]
    assert float(row["tce_eps"]) == pytest.approx(0.4)
    assert 0.35 < float(row["tce_dropped"]) <= 0.4
