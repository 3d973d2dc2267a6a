from pathlib import Path

import pytest
import torch
from recbole.data import create_dataset
from triplets import (
    REFUSED,
    TRIED,
    conditional,
    p_value,
    run_in_memory,
    skewed_part,
)

from recbole_enhance.data.negatives import NegativeSampler, item_counts, outside
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.experiment.config import Config
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.comparing import assert_same
from recbole_enhance.testing.contract import Contract
from recbole_enhance.testing.worlds import run_toy, toy_options

DRAWS = 400_000


class TestContract(Contract):
    method = "WBPR"
    backbones = TRIED
    refused = REFUSED
    neutral = None
    why_not_neutral = "With exponent 0 it draws from the items seen, RecBole from all items."
    bad_options = (
        ({"wbpr_alpha": -1}, "wbpr_alpha=-1: must be at least 0"),
        ({"fast": False}, "fast=False: WBPR draws its negatives in the fast"),
        (
            {"train_neg_sample_args": {"distribution": "popularity"}},
            "train_neg_sample_args.distribution=popularity: WBPR draws its own",
        ),
        (
            {"train_neg_sample_args": {"dynamic": True, "candidate_num": 2}},
            "train_neg_sample_args.dynamic=True: WBPR draws its own",
        ),
        ({"train_neg_sample_args": None}, "train_neg_sample_args=None: WBPR needs negatives"),
    )


def draws_of(dataset, generator, alpha=1.0):
    """Many draws for rows of the users as training has them."""
    users, items = dataset.inter_feat["user_id"], dataset.inter_feat["item_id"]
    num = DRAWS // len(users)
    sampler = NegativeSampler(dataset, "popularity", alpha)
    return sampler, sampler.draw(users, items, num, generator)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_draws_follow_the_conditional_law(generator, alpha):
    dataset = skewed_part()
    users = dataset.inter_feat["user_id"]
    counts = item_counts(dataset)
    weights = counts.double() ** alpha * (counts > 0)
    _, items = draws_of(dataset, generator, alpha)
    assert p_value(items, conditional(weights, dataset, users).sum(0)) > 1e-3


def test_draws_do_not_follow_the_raw_law(generator):
    """Rejection takes each user's own, mostly popular, items away."""
    dataset = skewed_part()
    counts = item_counts(dataset).double()
    _, items = draws_of(dataset, generator)
    assert p_value(items, counts) < 1e-12


def test_exponent_zero_is_uniform_over_the_items_seen(generator):
    dataset = skewed_part()
    seen = (item_counts(dataset) > 0).double()
    _, items = draws_of(dataset, generator, 0.0)
    users = dataset.inter_feat["user_id"]
    assert p_value(items, conditional(seen, dataset, users).sum(0)) > 1e-3
    assert not ((items == 0) | (items == dataset.item_num - 1)).any()  # padding, and nobody's


def test_log_q_is_the_law_of_what_was_drawn(generator):
    dataset = skewed_part()
    sampler, items = draws_of(dataset, generator)
    users = dataset.inter_feat["user_id"]
    law = conditional(item_counts(dataset), dataset, users)
    expected = law[torch.arange(len(users)), items[0]].log()
    torch.testing.assert_close(sampler.log_q(users, items[0]), expected)
    every = torch.arange(1, dataset.item_num - 1)
    for user in users.unique():
        free = every[~sampler.used.holds(user.expand(len(every)), every)]
        assert sampler.log_q(user.expand(len(free)), free).exp().sum() == pytest.approx(1)


def test_what_rejection_never_finds_is_drawn_from_all_items(generator):
    """A user who has all the weight but a billionth of it."""
    dataset = skewed_part()
    dataset.inter_feat["user_id"][:] = 1
    users = dataset.inter_feat["user_id"]
    weights = torch.full((30,), 1e9)
    owned = dataset.inter_feat["item_id"].unique()
    free = torch.tensor([i for i in range(1, 30) if i not in owned])
    weights[free] = torch.arange(1.0, len(free) + 1)
    used = UserLists(users, dataset.inter_feat["item_id"], 8, 30)
    sampler = NegativeSampler.__new__(NegativeSampler)
    sampler.n_items, sampler.weights, sampler.used = 30, weights.double(), used
    sampler.weights[0], sampler._last = 0, 29
    sampler.cdf = sampler.weights.cumsum(0)
    rows = torch.ones(100, dtype=torch.long)
    items = sampler.draw(rows, rows, 1, generator)
    assert sampler.rounds == 100
    assert torch.isin(items, free).all()
    items = outside(used, torch.ones(50_000, dtype=torch.long), lambda _: weights, generator)
    law = torch.zeros(30).double()
    law[free] = weights[free].double()
    assert p_value(items, law) > 1e-3


def test_counts_are_those_of_the_training_part(toy):
    config = Config(config_dict=toy_options(toy, "WBPR"))
    dataset = create_dataset(config)
    parts = dataset.build()
    every = torch.cat([part.inter_feat["item_id"] for part in parts])
    train, items = parts[0], parts[0].inter_feat["item_id"]
    sampler = NegativeSampler(train, "popularity")
    assert torch.equal(sampler.weights.long(), torch.bincount(items, minlength=train.item_num))
    assert not torch.equal(sampler.weights.long(), torch.bincount(every))


@pytest.mark.parametrize("backbone", ["BPR", "LightGCN"])
def test_it_is_bpr_with_recboles_popular_negatives(toy, backbone):
    negatives = {"distribution": "popularity", "alpha": 0.75}
    plain = run_in_memory(toy, backbone, train_neg_sample_args=negatives)
    ours = run_in_memory(toy, "WBPR", backbone=backbone, wbpr_alpha=0.75)
    assert_same(plain, ours)


def test_several_negatives_keep_the_count_of_train_neg_sample_args(toy):
    plain = run_in_memory(
        toy, "BPR", train_neg_sample_args={"distribution": "popularity", "sample_num": 3}
    )
    ours = run_in_memory(toy, "WBPR", train_neg_sample_args={"sample_num": 3})
    assert_same(plain, ours)


def test_rounds_are_logged(toy):
    row = history_rows(Path(run_toy(toy, "WBPR")["run_dir"]))[-1]
    assert 1 <= float(row["wbpr_rounds"]) <= 100
