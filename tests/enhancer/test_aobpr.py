from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from triplets import (
    REFUSED,
    TRIED,
    conditional,
    p_value,
    run_in_memory,
    skewed_part,
    without_method,
)

from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.enhancer import aobpr
from recbole_enhance.enhancer.aobpr import AdaptiveSampler, draw_ranks, factor_law, rank_law
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.contract import Contract
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options


class TestContract(Contract):
    method = "AOBPR"
    backbones = TRIED
    refused = REFUSED
    neutral = ({"aobpr_warmup_epochs": 3},)  # all epochs there are
    # The refresh falls into the middle of an epoch, and the stop between two.
    resumed = (
        {"aobpr_refresh": 7},
        {"backbone": "LightGCN", "aobpr_refresh": 7},
        {"backbone": "LightGCN", "aobpr_refresh": 7, "aobpr_mode": "exact"},
        {"backbone": "NeuMF", "aobpr_refresh": 7},
        {"backbone": "NeuMF", "aobpr_mode": "pool"},
    )

    def options_of(self, backbone):
        return {"aobpr_warmup_epochs": 0}

    bad_options = (
        ({"aobpr_lambda": 0}, "aobpr_lambda=0: must be above 0"),
        ({"aobpr_mode": "svd"}, "aobpr_mode=svd: must be one of factor, exact, pool"),
        ({"aobpr_refresh": 0}, "aobpr_refresh=0: must be a whole number above 0"),
        (
            {"aobpr_warmup_epochs": -1},
            "aobpr_warmup_epochs=-1: must be a whole number",
        ),
        ({"fast": False}, "fast=False: AOBPR draws its negatives in the fast"),
        (
            {"aobpr_mode": "exact", "backbone": "NeuMF"},
            "aobpr_mode=exact: NeuMF's scores are no",
        ),
        (
            {"mf_train": False, "backbone": "NeuMF"},
            "mf_train=False: aobpr_mode=factor needs",
        ),
    )


class TestContractWithPools(Contract):
    method = "AOBPR"
    backbones = TRIED
    refused = ()
    neutral = ({"aobpr_warmup_epochs": 3},)

    def options_of(self, backbone):
        return {"aobpr_mode": "pool", "aobpr_warmup_epochs": 0}


def tables_of(users, items):
    """A model of two tables, as BPR has them."""
    model = nn.Module()
    model.forward = lambda user, item: None
    model.user_embedding = nn.Embedding.from_pretrained(users)
    model.item_embedding = nn.Embedding.from_pretrained(items)
    model.n_users, model.n_items, model.device = len(users), len(items), torch.device("cpu")
    return model


def world(generator, d=4, mode="factor", lam=0.1, **options):
    """Data, and a sampler over random vectors, with both's tables drawn."""
    dataset = skewed_part()
    users = torch.randn(dataset.user_num, d, generator=generator)
    items = torch.randn(dataset.item_num, d, generator=generator)
    model = tables_of(users, items)
    used = UserLists.of_datasets([dataset])
    sampler = AdaptiveSampler(model, used, mode, lam, 10**9, **options)
    sampler.refresh()
    sampler.age = 1
    return dataset, sampler, users, items


# ---- ranks and factors -----------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.floats(0.01, 1e6))
def test_ranks_are_the_inverse_of_their_law(n, lam):
    law = rank_law(n, lam)
    assert law.sum().item() == pytest.approx(1)
    if n > 1:
        ratio = 2.718281828459045 ** (-1 / lam)
        assert law[1].item() == pytest.approx(law[0].item() * ratio, rel=1e-9)
    start = law.cumsum(0) - law
    middle = (start + law / 2)[law > 1e-9]  # u in the middle of a rank's share finds that rank
    assert torch.equal(draw_ranks(middle, n, lam), torch.arange(n)[law > 1e-9])


def test_the_histogram_of_ranks_is_the_truncated_geometric(generator):
    u = torch.rand(400_000, generator=generator, dtype=torch.float64)
    seen = torch.bincount(draw_ranks(u, 200, 50.0), minlength=200)
    assert stats.chisquare(seen, (rank_law(200, 50.0) * len(u)).numpy()).pvalue > 1e-3


def test_a_user_of_zeros_has_the_odds_of_the_spreads():
    sigma = torch.tensor([1.0, 3.0])
    assert torch.equal(factor_law(torch.zeros(1, 2), sigma), sigma.unsqueeze(0))
    assert torch.equal(factor_law(torch.ones(1, 2), torch.zeros(2)), torch.ones(1, 2))


# ---- the sampler's law -----------------------------------------------------------------------


def slow_law(users, items, user, lam):
    """p(j | u) by the paper's description: factor by factor, rank by rank."""
    n = len(items) - 1
    sigma = [float(items[1:, f].std(correction=0)) for f in range(items.shape[1])]
    odds = [abs(float(users[user, f])) * sigma[f] for f in range(items.shape[1])]
    weight = [2.718281828459045 ** (-r / (lam * n)) for r in range(n)]
    law = [0.0] * (n + 1)
    for f, odd in enumerate(odds):
        best_first = sorted(range(1, n + 1), key=lambda j: -float(items[j, f]))
        if users[user, f] < 0:
            best_first.reverse()
        for r, j in enumerate(best_first):
            law[j] += odd / sum(odds) * weight[r] / sum(weight)
    return torch.tensor(law, dtype=torch.float64)


def test_the_law_is_that_of_the_description(generator):
    _, sampler, users, items = world(generator)
    laws = sampler.law(torch.arange(1, 8))
    for user in range(1, 8):
        torch.testing.assert_close(
            laws[user - 1], slow_law(users, items, user, 0.1), rtol=1e-5, atol=1e-8
        )


@pytest.mark.parametrize("mode", ["factor", "exact"])
@pytest.mark.parametrize("rejects", [True, False])
def test_draws_follow_the_law(generator, mode, rejects):
    dataset, sampler, _, _ = world(generator, mode=mode, lam=0.2, rejects=rejects)
    for user in (1, 4, 7):
        rows = torch.full((20_000,), user)
        drawn = sampler.draw(rows, rows, 2, generator)
        raw = sampler.law(rows[:1])
        law = conditional(raw, dataset, rows[:1]) if rejects else raw
        assert p_value(drawn, law[0]) > 1e-3
        assert drawn.min() >= 1
        wrong = raw if rejects else conditional(raw, dataset, rows[:1])
        assert p_value(drawn, wrong[0]) < 1e-12
        torch.testing.assert_close(
            sampler.log_q(rows[:50], drawn[0, :50]), law[0][drawn[0, :50]].log()
        )


@pytest.mark.parametrize("mode", ["factor", "exact", "pool"])
def test_a_large_lambda_is_uniform(generator, mode):
    dataset, sampler, _, _ = world(generator, mode=mode, lam=1e9, pool=7)
    users = dataset.inter_feat["user_id"]
    drawn = sampler.draw(users, users, 2000, generator)
    uniform = conditional(torch.ones(dataset.item_num), dataset, users).sum(0)
    assert p_value(drawn, uniform) > 1e-3


def test_a_small_lambda_takes_the_end_of_the_factor(generator):
    """The top item of the drawn factor, or the bottom one where the user's value is negative."""
    _, sampler, users, items = world(generator, lam=1e-6, rejects=False)
    for user in range(1, 8):
        rows = torch.full((3000,), user)
        drawn = sampler.draw(rows, rows, 1, generator).flatten()
        ends = [
            int(1 + (items[1:, f].argmax() if users[user, f] > 0 else items[1:, f].argmin()))
            for f in range(4)
        ]
        assert set(drawn.tolist()) == set(ends)


@pytest.mark.parametrize("mode", ["exact", "pool"])
def test_a_small_lambda_takes_the_best_score(generator, mode):
    _, sampler, users, items = world(generator, mode=mode, lam=1e-6, rejects=False, pool=2000)
    drawn = sampler.draw(torch.arange(1, 8), torch.arange(1, 8), 1, generator).flatten()
    assert torch.equal(drawn, 1 + (users[1:8] @ items[1:].t()).argmax(1))


def test_one_positive_factor_is_the_exact_mode(generator):
    _, factor, users, items = world(generator, d=1)
    _, exact, _, _ = world(generator, d=1, mode="exact")
    for sampler in (factor, exact):
        sampler.model = tables_of(users.abs() + 0.1, items)
        sampler.refresh()
    rows = torch.arange(1, 8)
    torch.testing.assert_close(factor.law(rows), exact.law(rows))


def test_turning_both_tables_around_changes_nothing(generator):
    _, sampler, users, items = world(generator)
    before = sampler.law(torch.arange(1, 8))
    sampler.model = tables_of(-users, -items)
    sampler.refresh()
    torch.testing.assert_close(sampler.law(torch.arange(1, 8)), before)


def test_what_rejection_never_finds_is_drawn_from_all(generator, monkeypatch):
    monkeypatch.setattr("recbole_enhance.data.negatives.MOST_ROUNDS", 0)
    for mode in ("factor", "exact"):
        dataset, sampler, _, _ = world(generator, mode=mode)
        rows = torch.full((20_000,), 7)
        drawn = sampler.draw(rows, rows, 1, generator)
        assert p_value(drawn, conditional(sampler.law(rows[:1]), dataset, rows[:1])[0]) > 1e-3


def test_a_pool_of_one_is_uniform(generator):
    dataset, sampler, _, _ = world(generator, mode="pool", pool=1)
    users = dataset.inter_feat["user_id"]
    drawn = sampler.draw(users, users, 1000, generator)
    assert p_value(drawn, conditional(torch.ones(30), dataset, users).sum(0)) > 1e-3


# ---- the schedule ----------------------------------------------------------------------------


def test_orders_are_renewed_on_schedule_and_users_are_always_new(generator):
    _, sampler, users, items = world(generator)
    sampler.interval, sampler.age = 3, 0
    rows = torch.tensor([1])
    for batch in range(7):
        sampler.draw(rows, rows, 1, generator)
        assert torch.equal(sampler.tables["users"], users)  # BPR's own table
        fresh = (items[1:].argsort(0, descending=True) + 1).int()
        assert torch.equal(sampler.tables["order"], fresh) == (batch % 3 == 0)
        items += torch.randn(items.shape, generator=generator)
        users += 1


def test_the_papers_interval_is_taken_by_default(toy):
    two = {"train_neg_sample_args": {"sample_num": 2}}
    cases = (({}, 2), (two, 2), ({"train_batch_size": 32}, 6), ({"aobpr_refresh": 9}, 9))
    for options, expected in cases:
        trainer, (train, valid, _) = assemble(
            toy_options(toy, "AOBPR", show_progress=False, epochs=1, **options)
        )
        trainer.fit(train, valid)
        assert trainer.sampler.interval == expected  # 48 ln 48 = 185.8


@pytest.mark.parametrize("backbone", ["BPR", "NeuMF", "LightGCN", "NGCF"])
def test_after_the_warm_up_it_is_the_backbone_no_longer(toy, backbone):
    plain = run_in_memory(toy, without_method(backbone))
    after = run_in_memory(toy, "AOBPR", backbone=backbone, aobpr_warmup_epochs=1)
    assert any(not torch.equal(after.state[name], plain.state[name]) for name in plain.state)


def test_rounds_are_logged(toy):
    rows = history_rows(Path(run_toy(toy, "AOBPR", aobpr_lambda=0.5)["run_dir"]))
    assert float(rows[0]["aobpr_rounds"]) == 0  # warm-up
    assert 1 <= float(rows[2]["aobpr_rounds"]) <= float(rows[2]["aobpr_rounds_max"]) <= 100


def test_a_model_of_pairs_without_tables_is_refused():
    model = SimpleNamespace(forward=lambda user, item: None)
    with pytest.raises(ValueError, match="has no user and item vectors"):
        aobpr.factors(model)
