"""Which items popularity draws: those of the training interactions, in every phase."""

import copy
from collections import Counter

import numpy as np
import pytest
from recbole.data import create_dataset, data_preparation
from recbole.data import utils as recbole_utils
from recbole.sampler import Sampler
from recbole.utils import init_seed

from recbole_enhance.compat import sampler
from recbole_enhance.experiment.config import Config
from recbole_enhance.testing.worlds import toy_options


def loaders(toy, model, **options):
    config = Config(config_dict=toy_options(toy, model, **options))
    init_seed(config["seed"], True)
    return data_preparation(config, create_dataset(config))


def training_shares(train, alpha=1.0):
    counts = Counter(train.dataset.inter_feat["item_id"].tolist())
    total = sum(count**alpha for count in counts.values())
    return {item: count**alpha / total for item, count in counts.items()}


def shares_of(sampler):
    """What the alias table draws, as a probability for each item."""
    keys = list(sampler.prob)
    shares = Counter()
    for key in keys:
        shares[key] += min(sampler.prob[key], 1) / len(keys)
        shares[sampler.alias[key]] += max(1 - sampler.prob[key], 0) / len(keys)
    return {item: share for item, share in shares.items() if share > 1e-9}


POPULAR = {"distribution": "popularity", "sample_num": 1, "alpha": 1.0}


@pytest.mark.parametrize(
    ("model", "options"), [("BPR", {}), ("GRU4Rec", {"loss_type": "BPR", "repeatable": True})]
)
def test_training_negatives_follow_training_interactions_only(toy, model, options):
    train, _, _ = loaders(toy, model, train_neg_sample_args=POPULAR, **options)
    expected = training_shares(train)
    assert shares_of(train._sampler) == pytest.approx(expected)


@pytest.mark.parametrize(("model", "options"), [("BPR", {}), ("SASRec", {})])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_evaluation_candidates_do_too_whatever_training_does(toy, model, options, alpha):
    negatives = {**POPULAR, "alpha": alpha} if model == "BPR" else None
    train, valid, test = loaders(
        toy, model, train_neg_sample_args=negatives, eval_args={"mode": "pop5"}, **options
    )
    for data in (valid, test):
        assert shares_of(data._sampler) == pytest.approx(training_shares(train))
    if model == "BPR":
        assert shares_of(train._sampler) == pytest.approx(training_shares(train, alpha))


def test_test_rows_change_nothing_in_training(toy):
    """The leak itself: the same training split, and other test rows."""
    config = Config(config_dict=toy_options(toy, "BPR", train_neg_sample_args=POPULAR))
    train, valid, test = create_dataset(config).build()
    moved = copy.copy(test)
    moved.inter_feat = copy.deepcopy(test.inter_feat)
    moved.inter_feat.interaction["item_id"][:] = 1
    tables = []
    for last in (test, moved):
        made = recbole_utils.create_samplers(config, None, [train, valid, last])
        tables.append((made[0].prob, made[0].alias))
    assert tables[0] == tables[1]


def test_uniform_negatives_are_as_before(toy, monkeypatch):
    drawn = []
    for mended in (True, False):
        if not mended:
            original = recbole_utils._create_sampler.__wrapped__
            monkeypatch.setattr(recbole_utils, "_create_sampler", original)
        train, _, _ = loaders(toy, "BPR")
        np.random.seed(0)
        drawn.append(train._sampler.sample_by_key_ids(np.arange(1, 50), 3).tolist())
    assert drawn[0] == drawn[1]


def test_a_user_of_every_training_item_is_refused_and_does_not_hang(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    rows = [f"u0\ti{i}\t5\t{i}" for i in range(10)]
    rows += [f"u{u}\ti{i}\t5\t{i}" for u in (1, 2) for i in range(8)]
    rows += [f"u{u}\tlate{u}\t5\t9" for u in (1, 2)]  # only ever a test item
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (folder / "toy.inter").write_text("\n".join([header, *rows]) + "\n")
    leave_out = {"split": {"LS": "test_only"}, "order": "TO", "mode": "pop5"}
    with pytest.raises(ValueError, match=r"popularity: a user has all 9 items of the training"):
        loaders(
            tmp_path,
            "BPR",
            train_neg_sample_args=POPULAR,
            eval_args=leave_out,
            load_col=None,
            item_category_field=None,
        )


def test_it_is_done_once():
    sampler.popularity_of_training()
    state = (recbole_utils._create_sampler, Sampler._get_candidates_list)
    assert not sampler.popularity_of_training()
    assert (recbole_utils._create_sampler, Sampler._get_candidates_list) == state
