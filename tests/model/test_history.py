"""Models that compute a score from a history rank in the test by all that is known by then."""

import numpy as np
import pytest
import scipy.sparse
import torch
from recbole.model.general_recommender.ease import EASE

from recbole_enhance.experiment.assembly import assemble
from recbole_enhance.experiment.config import Config
from recbole_enhance.model.history import reading
from recbole_enhance.recommendation.scoring import KnownUsers
from recbole_enhance.testing.worlds import run_toy, toy_options

BY_TIME = {"eval_args": {"order": "TO"}}
READS = ("EASE", "ItemKNN", "SLIMElastic", "MultiDAE", "NAIS")
NO_SIZE = ("EASE", "ItemKNN", "SLIMElastic", "MultiDAE", "Pop", "SASRec")


def options_of(toy, model, **options):
    found = toy_options(toy, model, **{"epochs": 1, "read_known": True, **BY_TIME, **options})
    if model in NO_SIZE:
        del found["embedding_size"]
    return found


def built(toy, model, **options):
    return assemble(Config(config_dict=options_of(toy, model, **options)))


def known_matrix(*loaders):
    """Whether each user has each item, by a loop over the rows."""
    first = loaders[0]._dataset
    dense = np.zeros((first.user_num, first.item_num), dtype=np.float32)
    for loader in loaders:
        rows = loader._dataset.inter_feat
        for user, item in zip(rows["user_id"].tolist(), rows["item_id"].tolist()):
            dense[user, item] = 1
    return dense


def scores_in(run, loader):
    """Scores of all items that the model gives while a loader's lists are ranked: user -> row."""
    model, seen = run.trainer.model, {}
    score = model.full_sort_predict

    def watched(interaction):
        found = score(interaction)
        for user, row in zip(interaction["user_id"].tolist(), found.view(-1, model.n_items)):
            seen[user] = row.clone()
        return found

    model.full_sort_predict = watched
    run.trainer.evaluate(loader, load_best_model=False)
    del model.full_sort_predict
    return seen


@pytest.mark.parametrize("model", ["EASE", "ItemKNN"])
def test_item_based_models_multiply_what_is_known_by_then(toy, model):
    run = built(toy, model)
    B = run.trainer.model.item_similarity
    B = B.toarray() if scipy.sparse.issparse(B) else np.asarray(B)
    for loader, parts in (
        (run.valid_data, [run.train_data]),
        (run.test_data, [run.train_data, run.valid_data]),
    ):
        expected = torch.from_numpy(known_matrix(*parts) @ B)
        seen = scores_in(run, loader)
        assert len(seen) > 20
        for user, row in seen.items():
            torch.testing.assert_close(row[1:], expected[user, 1:].float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", READS)
def test_only_numbers_of_the_test_move(toy, tmp_path, model):
    results = []
    for known in (False, True):
        options = options_of(toy, model, read_known=known, epochs=2)
        del options["model"]
        results.append(run_toy(toy, model, **{**options, "run_dir": str(tmp_path / str(known))}))
    assert results[0]["best_valid_result"] == results[1]["best_valid_result"]
    assert results[0]["test_result"] != results[1]["test_result"]


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "Pop", "SASRec"])
def test_others_are_left_as_they_are(toy, tmp_path, caplog, model):
    results = []
    for known in (False, True):
        options = options_of(toy, model, read_known=known)
        del options["model"]
        results.append(run_toy(toy, model, **{**options, "run_dir": str(tmp_path / str(known))}))
    assert results[0]["test_result"] == results[1]["test_result"]
    told = f"read_known: {model} computes no score from a history" in caplog.text
    assert told == (model != "SASRec")


def test_lists_for_users_read_what_history_says(toy):
    run = built(toy, "EASE")
    users = torch.arange(1, 30)
    B = torch.as_tensor(np.asarray(run.trainer.model.item_similarity))
    loaders = (run.train_data, run.valid_data, run.test_data)
    for many, history in enumerate(("train", "train+valid", "all"), 1):
        expected = torch.from_numpy(known_matrix(*loaders[:many]))[users] @ B
        found = KnownUsers(run, history, filter_seen=False).scores(users)
        torch.testing.assert_close(found[:, 1:], expected[:, 1:].float(), rtol=1e-4, atol=1e-4)


class Squared(EASE):
    """A model of the user's with the attributes of EASE, and another score."""

    def full_sort_predict(self, interaction):
        users = interaction["user_id"].cpu().numpy()
        return torch.from_numpy(self._scores[users]).flatten().float()

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self._scores = self.interaction_matrix.toarray() @ np.asarray(self.item_similarity) ** 2


def test_a_model_whose_scores_do_not_come_out_again_is_left(toy, caplog):
    caplog.set_level("INFO", "recbole_enhance")
    run = built(toy, Squared, reg_weight=100.0)
    parts = [loader._dataset for loader in (run.train_data, run.valid_data)]
    assert reading(run.config, run.trainer.model, parts) is None
    assert "computes no score from a history" in caplog.text
