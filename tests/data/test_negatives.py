from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.data import create_dataset
from recbole.data.utils import create_samplers
from scipy import stats
from scipy.sparse import coo_matrix

from recbole_enhance.data import negatives
from recbole_enhance.data.negatives import NegativeSampler, outside, uniform_outside
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.experiment.config import Config
from recbole_enhance.testing.worlds import toy_options


def part(users, items, n_users, n_items):
    """What the sampler reads of a built training part."""
    users, items = torch.tensor(users), torch.tensor(items)
    matrix = coo_matrix((np.ones(len(users)), (users, items)), (n_users, n_items))
    return SimpleNamespace(
        item_num=n_items,
        user_num=n_users,
        iid_field="item_id",
        uid_field="user_id",
        inter_feat={"user_id": users, "item_id": items},
        inter_matrix=lambda form: matrix,
    )


@pytest.fixture(scope="module")
def parts(toy):
    config = Config(config_dict=toy_options(toy, "BPR"))
    dataset = create_dataset(config)
    return config, dataset, dataset.build()


def frequencies(items, n_items):
    return torch.bincount(torch.as_tensor(items), minlength=n_items).double().numpy()


@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
def test_the_law_is_that_of_recboles_sampler(parts, generator, distribution, alpha):
    """Chi-square of each against the exact conditional law, for users of different histories."""
    config, dataset, built = parts
    train = built[0]
    config["train_neg_sample_args"].update(distribution=distribution, alpha=alpha)
    theirs, _, _ = create_samplers(config, dataset, [train, train, train])
    ours = NegativeSampler(train, distribution, alpha)
    counts = frequencies(train.inter_feat["item_id"], train.item_num)
    weight = counts**alpha if distribution == "popularity" else np.ones(train.item_num)
    weight[0] = 0
    np.random.seed(0)
    for user in (1, 7, 30):
        used = train.inter_feat["item_id"][train.inter_feat["user_id"] == user].unique()
        law = weight.copy()
        law[used] = 0
        law /= law.sum()
        possible, n = law > 0, 20_000
        users = torch.full((n,), user)
        for drawn in (
            ours.draw(users, used[:1].expand(n), 1, generator).squeeze(0),
            theirs.sample_by_user_ids(users.numpy(), None, 1),
        ):
            seen = frequencies(drawn, train.item_num)
            assert seen[~possible].sum() == 0
            assert stats.chisquare(seen[possible], n * law[possible]).pvalue > 1e-4


def test_no_draw_is_a_training_item(parts, generator):
    train = parts[2][0]
    users, items = train.inter_feat["user_id"], train.inter_feat["item_id"]
    drawn = NegativeSampler(train, "uniform").draw(users, items, 30, generator)
    assert drawn.shape == (30, len(users))
    known = UserLists.of_datasets([train])
    assert not known.holds(users.repeat(30), drawn.flatten()).any()
    assert drawn.min() >= 1
    assert drawn.max() < train.item_num


def test_where_items_repeat_only_the_positive_is_refused(parts, generator):
    train = parts[2][0]
    users, items = train.inter_feat["user_id"], train.inter_feat["item_id"]
    drawn = NegativeSampler(train, "uniform", repeatable=True).draw(users, items, 30, generator)
    assert not (drawn == items).any()
    assert UserLists.of_datasets([train]).holds(users.repeat(30), drawn.flatten()).any()


def test_it_is_reproducible_by_seed(parts):
    train = parts[2][0]
    users, items = train.inter_feat["user_id"], train.inter_feat["item_id"]
    sampler = NegativeSampler(train, "popularity", 0.75)
    first, again, other = (
        sampler.draw(users, items, 2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_last_free_item_is_found(generator):
    train = part([1, 1, 1, 2], [1, 2, 3, 4], 3, 6)
    drawn = NegativeSampler(train, "popularity").draw(
        torch.tensor([1, 1]), torch.tensor([1, 2]), 4, generator
    )
    assert drawn.unique().tolist() == [4]  # 5 is in no interaction
    used = UserLists.of_datasets([train])
    drawn = uniform_outside(used, torch.tensor([1] * 50), generator)
    assert drawn.unique().tolist() == [4, 5]


@pytest.mark.parametrize("of_row", [True, False])
def test_the_exact_draw_never_gives_padding_or_what_the_user_has(generator, of_row):
    used = UserLists.of_datasets([part([1, 1, 2], [1, 2, 3], 3, 6)])
    weights = torch.tensor([100.0, 1.0, 2.0, 3.0, 4.0, 0.0])  # padding has most of the law
    users, n = torch.tensor([1, 2]).repeat_interleave(5000), 5000
    law = (lambda rows: weights.expand(len(rows), -1)) if of_row else (lambda rows: weights)
    drawn = outside(used, users, law, generator).view(2, n)
    for items, allowed in zip(drawn, ([3, 4], [1, 2, 4])):
        assert items.unique().tolist() == allowed
        expected = weights[allowed] * n / weights[allowed].sum()
        seen = torch.bincount(items, minlength=6)[allowed]
        assert stats.chisquare(seen.numpy(), expected.numpy()).pvalue > 1e-4


def test_what_is_left_after_all_redrawing_is_of_the_same_law(generator, monkeypatch):
    monkeypatch.setattr(negatives, "MOST_ROUNDS", 0)
    used = UserLists.of_datasets([part([1, 1, 1], [1, 2, 3], 2, 6)])
    drawn = uniform_outside(used, torch.ones(4000, dtype=torch.long), generator)
    seen = torch.bincount(drawn, minlength=6)
    assert seen[:4].sum() == 0
    assert stats.chisquare(seen[4:].numpy()).pvalue > 1e-4


@pytest.mark.parametrize(
    ("distribution", "repeatable", "items"),
    [("uniform", False, [1, 2]), ("popularity", False, [1, 2]), ("popularity", True, [1, 1])],
)
def test_users_who_have_everything_are_refused(distribution, repeatable, items):
    n_items = 3 if distribution == "uniform" else 9
    with pytest.raises(ValueError, match=r"train_neg_sample_args: .* users have all"):
        NegativeSampler(part([1, 1], items, 2, n_items), distribution, 1.0, repeatable)


def test_an_unknown_distribution_is_refused(parts):
    with pytest.raises(ValueError, match=r"distribution=zipf: one of uniform"):
        NegativeSampler(parts[2][0], "zipf")
