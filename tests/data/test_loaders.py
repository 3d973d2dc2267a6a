import copy
import re

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader import TrainDataLoader, UserDataLoader
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_enhance.data.loaders import (
    CandidateLoader,
    FastTrainLoader,
    FullRankingLoader,
    prepare_data,
)
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.testing.worlds import run_toy, toy_options

SEQUENTIAL = {"eval_args": {"order": "TO", "split": {"LS": "valid_and_test"}, "mode": "full"}}
VALUES = {"metrics": ["AUC"], "valid_metric": "AUC", "threshold": {"rating": 4}}
LABELS = {"train_neg_sample_args": None, **VALUES}
FAMILIES = {
    "pairs": ("BPR", {}),
    "pairs of several": ("BPR", {"train_neg_sample_args": {"sample_num": 3}}),
    "points": ("NeuMF", {}),
    "sequences": ("SASRec", {**SEQUENTIAL, "loss_type": "BPR"}),
    "sequences over all items": ("SASRec", SEQUENTIAL),
    "points of sequences": ("DIN", SEQUENTIAL),
    "labels": ("FM", LABELS),
    "features": ("FM", {"train_neg_sample_args": {"sample_num": 2}, **VALUES}),
}


def loaders(toy, model, prepare=prepare_data, **options):
    config = Config(config_dict=toy_options(toy, model, **options))
    init_seed(config["seed"], True)
    return prepare(config, create_dataset(config))


@pytest.mark.parametrize(("model", "options"), FAMILIES.values(), ids=FAMILIES)
def test_an_epoch_holds_what_recboles_holds(toy, model, options):
    """Same columns, types, sizes, and positives; other negatives and order."""
    ours, theirs = (
        loaders(toy, model, prepare, **options)[0] for prepare in (prepare_data, data_preparation)
    )
    assert type(ours) is FastTrainLoader
    assert type(theirs) is TrainDataLoader
    assert len(ours) == len(theirs)
    mine, reference = list(ours), list(theirs)
    assert [len(batch) for batch in mine] == [len(batch) for batch in reference]
    columns = {name: (v.dtype, v.shape[1:]) for name, v in reference[0].interaction.items()}
    assert {name: (v.dtype, v.shape[1:]) for name, v in mine[0].interaction.items()} == columns

    def positives(batches):
        rows = []
        for batch in batches:
            n = len(batch) // ours.times
            names = [c for c in columns if not c.startswith("neg_")]
            rows += zip(*([tuple(np.ravel(x)) for x in batch[c][:n].numpy()] for c in names))
        return sorted(rows)

    assert positives(mine) == positives(reference)


@pytest.mark.parametrize("model", ["BPR", "NeuMF", "FM"])
def test_negatives_stay_with_their_positives_and_bring_their_own_features(toy, model):
    values = VALUES if model == "FM" else {}
    train = loaders(toy, model, train_neg_sample_args={"sample_num": 2}, **values)[0]
    known, dataset = UserLists.of_datasets([train._dataset]), train._dataset
    for batch in train:
        n = len(batch) // train.times
        if model == "BPR":
            positive, negative = batch["item_id"], batch["neg_item_id"]
            users, genres = batch["user_id"], batch["neg_genres"]
        else:
            assert batch["label"].tolist() == [1.0] * n + [0.0] * (2 * n)
            positive, negative = batch["item_id"][:n], batch["item_id"][n:]
            users, genres = batch["user_id"][n:], batch["genres"][n:]
            assert torch.equal(batch["user_id"], batch["user_id"][:n].repeat(3))
        assert known.holds(batch["user_id"][:n], positive[:n]).all()
        assert not known.holds(users, negative).any()
        assert torch.equal(genres, dataset.item_feat["genres"][negative])


def test_the_generator_alone_decides_an_epoch(toy):
    train = loaders(toy, "BPR")[0]
    state = train.generator.get_state()
    first = list(train)
    np.random.seed(3)
    torch.manual_seed(3)
    second = list(train)
    train.generator.set_state(state)
    again = list(train)
    same = [torch.equal(a["neg_item_id"], b["neg_item_id"]) for a, b in zip(first, again)]
    assert all(same)
    assert not all(torch.equal(a["user_id"], b["user_id"]) for a, b in zip(first, second))


def test_dynamic_negatives_are_the_hardest_of_their_candidates(toy):
    arguments = {"dynamic": True, "candidate_num": 400, "sample_num": 2}
    train = loaders(toy, "BPR", train_neg_sample_args=arguments)[0]

    class Taste:
        """Scores an item by its id."""

        device, training = torch.device("cpu"), True

        def predict(self, batch):
            assert not self.training
            return batch["item_id"].float()

        def eval(self):
            self.training = False

        def train(self):
            self.training = True

    train.get_model(Taste())
    known = UserLists.of_datasets([train._dataset])
    batch = next(iter(train))
    best = [
        max(set(range(1, 49)) - set(known.of(torch.tensor([user]))[1].tolist()))
        for user in batch["user_id"].tolist()
    ]
    assert batch["neg_item_id"].tolist() == best
    result = run_toy(toy, "BPR", saved=False, train_neg_sample_args=arguments)
    assert result == run_toy(toy, "BPR", saved=False, train_neg_sample_args=arguments)


@pytest.mark.parametrize("option", [{"fast": False}, {}])
def test_who_keeps_recboles_loader(toy, option):
    train, valid, test = loaders(toy, "BPR" if option else "MultiVAE", **option)
    assert type(train) is (TrainDataLoader if option else UserDataLoader)
    assert type(valid) is type(test) is FullRankingLoader


@pytest.mark.parametrize("batch_size", [None, 1, 7 * 49, 10**6])
@pytest.mark.parametrize("n", [1, 2])
def test_full_ranking_batches_are_recboles(toy, n, batch_size):
    ours = loaders(toy, "BPR", eval_batch_size=batch_size)[n]
    theirs = loaders(toy, "BPR", data_preparation, eval_batch_size=10**6)[n]
    ((columns, history, rows, items),) = list(theirs)
    assert len(ours) == len(list(ours)) == {None: 1, 1: 60, 343: 9, 10**6: 1}[batch_size]
    seen = {"users": [], "history": set(), "positive": set()}
    for batch, past, row, item in ours:
        users = batch["user_id"]
        assert batch.columns == columns.columns
        seen["users"] += users.tolist()
        seen["history"] |= set(zip(users[past[0]].tolist(), past[1].tolist()))
        seen["positive"] |= set(zip(users[row].tolist(), item.tolist()))
    users = columns["user_id"]
    assert seen["users"] == users.tolist()
    assert seen["history"] == set(zip(users[history[0]].tolist(), history[1].tolist()))
    assert seen["positive"] == set(zip(users[rows].tolist(), items.tolist()))
    theirs_too = [past.tolist() if past is not None else [] for past in theirs.uid2history_item]
    assert [sorted(past.tolist()) for past in ours.uid2history_item] == [
        sorted(past) for past in theirs_too
    ]


@pytest.mark.parametrize("mask", [False, True])
def test_a_sequential_model_masks_history_when_asked(toy, mask):
    train, valid, test = loaders(toy, "SASRec", mask_history=mask, **SEQUENTIAL)
    for parts, data in (([train], valid), ([train, valid], test)):
        known = UserLists.of_datasets([part._dataset for part in parts])
        for batch, history, rows, items in data:
            assert torch.equal(items, batch["item_id"])
            assert torch.equal(rows, torch.arange(len(batch)))
            if not mask:
                assert history is None
                continue
            masked = set(zip(batch["user_id"][history[0]].tolist(), history[1].tolist()))
            users = batch["user_id"].unique()
            row, item = known.of(users)
            assert masked == set(zip(users[row].tolist(), item.tolist()))
            assert len(masked) >= len(users) * 12  # also the first item, which no row targets


def test_memory_sets_the_size_of_a_batch(toy):
    options = {"eval_memory_mb": 0.01}
    assert loaders(toy, "BPR", **options)[1].step == 10485 // 16 // 49
    assert loaders(toy, "BPR")[1].step == (12 << 20) // 4 // 49  # a CPU's caches
    assert loaders(toy, "NeuMF", **options)[1].step == 10485 // 16 // 49
    options["fast"] = False  # then it scores pairs
    assert loaders(toy, "NeuMF", **options)[1].step == 10485 // 128 // 49


def test_nothing_to_test_is_refused(toy):
    with pytest.raises(ValueError, match=r"eval_args.split=.*: leaves nothing to test"):
        loaders(toy, "BPR", eval_args={"split": {"LS": "valid_only"}})


def test_users_who_are_not_evaluated_are_told(toy, caplog):
    caplog.set_level("INFO", "recbole_enhance")
    loaders(toy, "BPR", eval_args={"split": {"RS": [0.99, 0.005, 0.005]}, "group_by": "none"})
    (message,) = [r.getMessage() for r in caplog.records if "no test interaction" in r.message]
    assert re.fullmatch(r"(5[5-9]) of 60 users have no test interaction and do not count", message)
    caplog.clear()
    loaders(toy, "BPR")
    assert not [r for r in caplog.records if "no test interaction" in r.message]


SAMPLED = {
    "BPR": {},
    "SASRec": SEQUENTIAL,
    "FM": {"metrics": ["AUC"], "valid_metric": "AUC", "train_neg_sample_args": {"sample_num": 1}},
}


@pytest.mark.parametrize("mode", ["uni7", "pop7"])
@pytest.mark.parametrize("model", SAMPLED)
def test_candidates_are_drawn_once_by_seed(toy, model, mode):
    own = dict(SAMPLED[model])
    own["eval_args"] = {**own.get("eval_args", {}), "mode": mode}
    several = [loaders(toy, model, **own, **more)[2] for more in ({}, {"eval_batch_size": 40})]
    seen = []
    for loader in (*several, several[0]):
        torch.rand(9), np.random.rand(9)  # nobody else's draws move them
        batches = list(loader)
        users, items, label = (
            torch.cat([batch[0][name] for batch in batches])
            for name in ("user_id", "item_id", "label")
        )
        seen.append(list(zip(users.tolist(), items.tolist(), label.tolist())))
        for batch, rows, positive_u, positive_i in batches:
            assert (rows[1:] >= rows[:-1]).all()
            assert sorted(batch["item_id"][batch["label"] == 1].tolist()) == sorted(
                positive_i.tolist()
            )
            assert torch.equal(rows[batch["label"] == 1], positive_u)
    assert seen[0] == seen[1] == seen[2]
    assert sum(label for *_, label in seen[0]) * 8 == len(seen[0])
    other = loaders(toy, model, **own, seed=7)[2]
    assert not torch.equal(other.candidates, several[0].candidates)


def test_candidates_are_items_that_the_user_has_nowhere(toy):
    train, valid, test = loaders(toy, "BPR", eval_args={"mode": "pop20"})
    used = UserLists.of_datasets([part._dataset for part in (train, valid, test)])
    users = test.rows["user_id"].repeat(20)
    assert not used.holds(users, test.candidates.flatten()).any()
    trained = set(train._dataset.inter_feat["item_id"].tolist())
    assert set(test.candidates.flatten().tolist()) <= trained


def test_the_law_of_candidates_is_recboles(toy):
    """Uniform over what the user has nowhere up to this part."""
    loader = loaders(toy, "BPR", eval_args={"mode": "uni500"})[1]
    row = loader.candidates[:, 0]
    counts = torch.bincount(row, minlength=49)
    used = UserLists.of_datasets([loaders(toy, "BPR")[0]._dataset, loader._dataset])
    free = torch.ones(49, dtype=torch.bool)
    free[used.of(loader.rows["user_id"][:1])[1]] = free[0] = False
    assert (counts[~free] == 0).all()
    expected = 500 / int(free.sum())
    chi = ((counts[free] - expected) ** 2 / expected).sum()
    assert chi < 2 * int(free.sum())


def test_one_model_has_one_value(toy):
    result = run_toy(toy, "BPR", eval_args={"mode": "uni10"})
    run = load_run(result["run_dir"])
    for _ in range(2):
        assert dict(run.trainer.evaluate(run.test_data)) == result["test_result"]


def test_too_many_items_to_choose_among_are_refused_by_the_option(toy):
    with pytest.raises(ValueError, match=r"eval_args.mode=uni3: 60 users have all 48 items"):
        loaders(toy, "BPR", eval_args={"mode": "uni3"}, val_interval=None, prepare=_nobody_is_free)


def _nobody_is_free(config, dataset):
    parts = dataset.build()
    everything = copy.copy(parts[1])
    users, items = torch.arange(1, 61), torch.arange(1, 49)
    pairs = torch.cartesian_prod(users, items)
    everything.inter_feat = Interaction({"user_id": pairs[:, 0], "item_id": pairs[:, 1]})
    return CandidateLoader(config, parts[2], [parts[0], everything], "test")


@pytest.mark.parametrize(("mode", "told"), [("uni3", True), ("uni20", False)])
def test_lists_that_hold_every_candidate_are_told(toy, caplog, mode, told):
    protocol = {"split": {"LS": "valid_and_test"}, "mode": mode}
    loaders(toy, "BPR", eval_args=protocol)
    message = f"60 of 60 users have no more than 10 candidates with eval_args.mode={mode}"
    assert (message in caplog.text) == told
