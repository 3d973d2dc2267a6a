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

from recbole_enhance.enhancer import rce
from recbole_enhance.options.schema import describe
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.contract import Contract
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options
from recbole_enhance.training.losses import per_sample

MODES = describe(rce.RCEOptions, "rce_mode").choices


class TestContract(Contract):
    method = "RCE"
    backbones = TRIED
    refused = REFUSED
    neutral = ({"rce_alpha": 0}, {"rce_alpha": 0, "fast": False})
    resumed = ({"rce_mode": "positive"},)
    bad_options = (
        ({"rce_alpha": -0.5}, "rce_alpha=-0.5: must be at least 0"),
        ({"rce_mode": "pair"}, "rce_mode=pair: must be one of triplet, positive"),
        ({"rce_normalise": 3}, "rce_normalise=3: true or false is expected"),
        ({"train_neg_sample_args": None}, "train_neg_sample_args=None: RCE needs negatives"),
    )


scores = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=20)


@settings(max_examples=100, deadline=None)
@given(scores, scores, st.floats(0, 2), st.sampled_from(MODES))
def test_weights_are_a_power_of_the_probability(positive, negative, alpha, mode):
    n = min(len(positive), len(negative))
    positive, negative = (
        torch.tensor(x[:n], dtype=torch.float64, requires_grad=True) for x in (positive, negative)
    )
    weights = rce.reweighting(positive, negative, alpha, mode)
    assert not weights.requires_grad
    for w, p, q in zip(weights.tolist(), positive.tolist(), negative.tolist()):
        x = p - q if mode == "triplet" else p
        assert w == pytest.approx((1 / (1 + 2.718281828459045**-x)) ** alpha, rel=1e-9)
    if mode == "triplet":
        losses = per_sample(BPRLoss(gamma=0.0), positive, negative)
        torch.testing.assert_close(weights, torch.exp(-alpha * losses.detach()))
        shifted = rce.reweighting(positive + 3, negative + 3, alpha, mode)
        torch.testing.assert_close(weights, shifted)


def test_an_impossible_triplet_has_a_weight_of_zero_at_the_least():
    weights = rce.reweighting(torch.tensor([-300.0]), torch.zeros(1), 0.25, "triplet")
    assert weights.item() == pytest.approx(2.718281828**-75, rel=1e-3)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_the_gradient_is_weight_times_that_of_bpr(toy, generator, mode, normalise):
    options = {"rce_mode": mode, "rce_normalise": normalise, "rce_alpha": 0.7}
    trainer, _ = assemble(toy_options(toy, "RCE", show_progress=False, **options))
    positive, negative = (torch.randn(30, generator=generator) for _ in range(2))
    positive.requires_grad_()
    losses = per_sample(BPRLoss(), positive, negative)
    loss = trainer.combine(losses, positive, negative)
    (ours,) = torch.autograd.grad(loss, positive, retain_graph=True)
    (plain,) = torch.autograd.grad(BPRLoss()(positive, negative), positive)
    weights = rce.reweighting(positive, negative, 0.7, mode)
    weights = weights / weights.mean() if normalise else weights
    torch.testing.assert_close(ours, weights * plain)


@pytest.mark.parametrize("mode", MODES)
def test_weights_are_logged(toy, mode):
    result = run_toy(toy, "RCE", rce_mode=mode, train_neg_sample_args={"sample_num": 2})
    row = history_rows(Path(result["run_dir"]))[-1]
    assert 0 < float(row["rce_weight_min"]) <= float(row["rce_weight"]) <= 1
