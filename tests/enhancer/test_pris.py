import logging
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.model.loss import BPRLoss
from triplets import (
    REFUSED,
    TRIED,
    conditional,
    p_value,
    run_in_memory,
    skewed_part,
)

from recbole_enhance.data.loaders import LOG_Q
from recbole_enhance.data.negatives import NegativeSampler, item_counts
from recbole_enhance.enhancer.pris import PRISOptions, importance, popularity
from recbole_enhance.options.schema import describe
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.comparing import assert_same
from recbole_enhance.testing.contract import Contract
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options
from recbole_enhance.training.losses import per_sample

CLUSTERS = {"pris_clusters": 6}


class TestContract(Contract):
    method = "PRIS"
    backbones = TRIED
    refused = REFUSED
    neutral = tuple(
        {"pris_negatives": 1, "pris_proposal": "uniform", "pris_detach": detach}
        for detach in (False, True)
    )
    resumed = tuple({"pris_proposal": p, **CLUSTERS} for p in ("popular", "cluster-uniform"))
    bad_options = (
        ({"pris_negatives": 0}, "pris_negatives=0: must be a whole number above 0"),
        ({"pris_clusters": 1.5}, "pris_clusters=1.5: must be a whole number above 0"),
        ({"pris_tau": 0}, "pris_tau=0: must be above 0"),
        ({"pris_popularity": 3}, "pris_popularity=3: must be 0, 1 or 2"),
        ({"pris_proposal": "joint"}, "pris_proposal=joint: must be one of uniform, popular"),
        ({"fast": False}, "fast=False: PRIS draws its negatives in the fast"),
        (
            {"train_neg_sample_args": {"sample_num": 2}},
            "train_neg_sample_args.sample_num=2: PRIS takes pris_negatives",
        ),
    )


class TestContractWithClusters(TestContract):
    refused = ()

    def options_of(self, backbone):
        return {"pris_proposal": "cluster-popular", "epochs": 2, **CLUSTERS}


@pytest.mark.parametrize("backbone", ["BPR", "LightGCN"])
def test_unweighted_is_bpr_with_several_negatives_bit_for_bit(toy, backbone):
    """RecBole's batch size counts triplets, ours positives."""
    plain = run_in_memory(
        toy, backbone, train_batch_size=3 * 128, train_neg_sample_args={"sample_num": 3}
    )
    ours = run_in_memory(
        toy,
        "PRIS",
        backbone=backbone,
        pris_negatives=3,
        pris_proposal="uniform",
        pris_weighted=False,
    )
    assert_same(plain, ours)


numbers = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(numbers, st.floats(0.1, 5), st.floats(-50, 50), st.data())
def test_weights_are_the_softmax_against_a_slow_loop(margins, tau, shift, data):
    log_q = data.draw(st.lists(st.floats(-10, 0), min_size=len(margins), max_size=len(margins)))
    x, q = (torch.tensor(v, dtype=torch.float64).unsqueeze(1) for v in (margins, log_q))
    weights = importance(x, q, tau)
    assert weights.sum(0).item() == pytest.approx(1)
    odds = [2.718281828459045 ** (-m / tau - p) for m, p in zip(margins, log_q)]
    expected = [o / sum(odds) for o in odds]
    assert weights.flatten().tolist() == pytest.approx(expected, rel=1e-6, abs=1e-12)
    # A user's rejection normaliser is such a constant.
    torch.testing.assert_close(importance(x, q + shift, tau), weights)


def test_equal_scores_and_constant_q_weigh_alike():
    weights = importance(torch.full((4, 3), 1.7), torch.full((4, 3), -2.0), 1.0)
    assert torch.equal(weights, torch.full((4, 3), 0.25))


def test_the_estimate_converges_to_the_softmax_weighted_loss(generator):
    """Its bias shrinks with the number of negatives, about as 1 / n."""
    n_items, tries = 200, 2_000_000
    scores = torch.randn(n_items, generator=generator).double()
    margins = 0.5 - scores
    losses = per_sample(BPRLoss(), torch.full((n_items,), 0.5).double(), scores)
    truth = (torch.softmax(scores, 0) * losses).sum()
    counts = torch.arange(1, n_items + 1).double()
    q = counts / counts.sum()
    bias = []
    for n in (10, 100, 1000):
        drawn = torch.multinomial(q, tries, replacement=True, generator=generator).view(n, -1)
        weights = importance(margins[drawn], q[drawn].log(), 1.0)
        bias.append(abs(float((weights * losses[drawn]).sum(0).mean() - truth)))
    assert bias[0] > 4 * bias[1] > 0
    assert bias[2] < bias[1] / 2
    plain = (q * losses).sum()  # what no weights estimate
    assert bias[0] < 0.5 * abs(plain - truth)


@pytest.mark.parametrize("detach", [False, True])
def test_the_gradient_goes_through_the_weights_unless_they_are_detached(toy, generator, detach):
    options = {"pris_negatives": 3, "pris_detach": detach, "pris_tau": 0.7}
    trainer, _ = assemble(toy_options(toy, "PRIS", show_progress=False, **options))
    x = torch.randn(12, generator=generator, dtype=torch.float64, requires_grad=True)
    log_q = torch.randn(12, generator=generator, dtype=torch.float64)
    trainer._batch = {LOG_Q: log_q}

    def loss(x):
        return trainer.combine(per_sample(BPRLoss(), x, x * 0), x, x * 0)

    (ours,) = torch.autograd.grad(loss(x), x)
    weights = importance(x.detach().view(3, 4), log_q.view(3, 4), 0.7).flatten()
    frozen = -weights * torch.sigmoid(-x.detach()) / 4
    assert torch.allclose(ours, frozen) == detach
    bumps = 1e-6 * torch.eye(12, dtype=torch.float64)
    slopes = torch.stack([loss(x.detach() + b) - loss(x.detach() - b) for b in bumps]) / 2e-6
    assert torch.allclose(ours, slopes, atol=1e-7) != detach


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_the_popular_proposals_follow_their_conditional_law(generator, mode):
    dataset = skewed_part()
    weights = popularity(item_counts(dataset), mode)
    sampler = NegativeSampler(dataset, "uniform", weights=weights)
    users = dataset.inter_feat["user_id"]
    drawn = sampler.draw(users, users, 4000, generator)
    law = conditional(weights, dataset, users)
    # The item that nobody has gets some 0.01 draws: too few for the statistic.
    possible = law.sum(0) * 4000 > 1
    drawn = drawn[possible[drawn]]
    assert p_value(drawn, law.sum(0) * possible) > 1e-3
    assert p_value(drawn, weights * possible) < 1e-12
    assert (sampler.weights[-1] > 0) == (mode == 1)
    some = sampler.draw(users, users, 1, generator)[0]
    expected = law[torch.arange(len(users)), some].log()
    torch.testing.assert_close(sampler.log_q(users, some), expected)


@pytest.mark.parametrize("proposal", describe(PRISOptions, "pris_proposal").choices)
def test_batches_hold_the_log_probability_of_their_negatives(toy, proposal):
    options = {"pris_proposal": proposal, "epochs": 2, **CLUSTERS}
    trainer, (train, valid, _) = assemble(toy_options(toy, "PRIS", show_progress=False, **options))
    trainer.fit(train, valid)
    sizes = []
    for batch in train:
        users, items = batch["user_id"], batch["neg_item_id"]
        assert not trainer.sampler.used.holds(users, items).any()
        assert batch[LOG_Q].dtype == torch.float32
        assert torch.equal(batch[LOG_Q], trainer.sampler.log_q(users, items).float())
        n = len(batch) // 5
        assert torch.equal(users[:n], users[-n:])  # tiled
        sizes.append(n)
    assert sizes[:-1] == [128] * (len(sizes) - 1)  # positives, not triplets


def test_clusters_start_in_the_second_epoch(toy):
    options = {"pris_proposal": "cluster-popular", "pris_popularity": 2, **CLUSTERS}
    first = run_in_memory(toy, "PRIS", epochs=1, **options)
    popular = run_in_memory(toy, "PRIS", epochs=1, pris_popularity=2)
    assert_same(first, popular)
    second, popular = (
        run_in_memory(toy, "PRIS", epochs=2, **{**options, "pris_proposal": proposal})[1]
        for proposal in ("cluster-popular", "popular")
    )
    assert any(not torch.equal(second[name], popular[name]) for name in second)


def test_the_effective_number_of_negatives_is_logged(toy):
    row = history_rows(Path(run_toy(toy, "PRIS")["run_dir"]))[-1]
    assert 1 < float(row["pris_effective"]) <= 5
    assert 0 <= float(row["pris_rounds"]) <= 100


def test_a_single_negative_is_warned_of(toy, caplog):
    with caplog.at_level(logging.WARNING, "recbole_enhance"):
        run_toy(toy, "PRIS", saved=False, pris_negatives=1, epochs=1)
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [
        "pris_negatives=1: a single weight is 1, so this is BPR with negatives of "
        "pris_proposal=popular"
    ]


def test_more_clusters_than_items_are_refused(toy):
    message = "pris_clusters=100: there are only 48 items"
    with pytest.raises(ValueError, match=message):
        run_toy(toy, "PRIS", saved=False, pris_proposal="cluster-uniform")
