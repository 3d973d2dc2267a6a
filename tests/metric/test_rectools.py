"""Metrics that RecTools has too, on ml-100k: a second opinion by other hands.

RecTools needs numpy below 2, so this runs with the oldest versions only (``make test-oldest``).
"""

import numpy as np
import pandas as pd
import pytest
import recbole
import torch

from recbole_enhance.evaluation.files import read_per_user
from recbole_enhance.experiment.assembly import load_data
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.judge import evaluate_lists
from recbole_enhance.metric import concentration, diversity, novelty, ranking

pytest.importorskip(
    "rectools", reason="rectools needs numpy < 2: it is in the environment of make test-oldest"
)
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import (
    MRR,
    NDCG,
    AvgRecPopularity,
    CatalogCoverage,
    HitRate,
    IntraListDiversity,
    MeanInvUserFreq,
    Precision,
    Recall,
    Serendipity,
)
from rectools.metrics.distances import (
    PairwiseDistanceCalculator,
    PairwiseHammingDistanceCalculator,
)
from rectools.models import PopularModel

K = 20
FOLDER = f"{recbole.__path__[0]}/dataset_example/ml-100k/ml-100k"


class Distance(PairwiseDistanceCalculator):
    """RecTools' place for distances of one's own: here of numpy rows."""

    def __init__(self, rows, function):
        self.rows, self.function = rows, function

    def _get_distances_for_item_pairs(self, items_0, items_1):
        return self.function(self.rows[items_0.astype(int)], self.rows[items_1.astype(int)])


def jaccard(a, b):
    either = (a | b).sum(1)
    return np.where(either > 0, 1 - (a & b).sum(1) / np.maximum(either, 1), 0.0)


def cosine(a, b):
    return 1 - (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


@pytest.fixture(scope="module")
def world():
    """ml-100k, a fifth held out, and the lists of a truncated SVD; every seventh user gets 5."""
    ratings = pd.read_csv(f"{FOLDER}.inter", sep="\t")
    users, _ = pd.factorize(ratings["user_id:token"])
    items, tokens = pd.factorize(ratings["item_id:token"])
    users, items = users + 1, items + 1  # 0 is padding
    held_out = np.random.default_rng(0).random(len(ratings)) < 0.2
    history = np.zeros((users.max() + 1, items.max() + 1))
    history[users[~held_out], items[~held_out]] = 1
    left, size, right = np.linalg.svd(history, full_matrices=False)
    scores = (left[:, :20] * size[:20]) @ right[:20]
    scores[history > 0] = -np.inf
    scores[:, 0] = -np.inf
    lists = torch.from_numpy(scores[1:]).topk(K).indices
    lists[::7, 5:] = 0
    genres = pd.read_csv(f"{FOLDER}.item", sep="\t").set_index("item_id:token")["class:token_seq"]
    member = genres.reindex(tokens).str.get_dummies(" ").to_numpy(dtype=bool)
    rows, ranks = (lists > 0).nonzero(as_tuple=True)
    return {
        "items": lists,
        "categories": np.vstack([np.zeros(member.shape[1], dtype=bool), member]),
        "embedding": right[:20].T.copy(),
        "popularity": torch.from_numpy(history.sum(0)).long(),
        "n_users": int((history.sum(1) > 0).sum()),
        "positives": [torch.from_numpy(x[held_out]) for x in (users - 1, items)],
        "n_items": int(items.max()) + 1,
        "reco": pd.DataFrame(
            {Columns.User: rows, Columns.Item: lists[rows, ranks], Columns.Rank: ranks + 1}
        ),
        "past": pd.DataFrame({Columns.User: users[~held_out] - 1, Columns.Item: items[~held_out]}),
        "future": pd.DataFrame({Columns.User: users[held_out] - 1, Columns.Item: items[held_out]}),
    }


def agree(ours, theirs):
    """Theirs is a Series by user, in any order."""
    assert len(theirs) == len(ours) == 943
    np.testing.assert_allclose(ours, theirs.sort_index(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("k", [1, 5, K])
def test_diversity_by_genres(world, k):
    categories = torch.from_numpy(world["categories"])
    ours = diversity.intra_list_distance(world["items"][:, :k], categories)
    distance = Distance(world["categories"], jaccard)
    agree(ours, IntraListDiversity(k, distance).calc_per_user(world["reco"]))


def test_diversity_by_one_genre_each_is_half_of_the_hamming_distance(world):
    first = np.zeros_like(world["categories"])
    known = world["categories"].any(1)
    first[known, world["categories"][known].argmax(1)] = True
    frame = pd.DataFrame(first, index=range(len(first))).astype(float)
    theirs = IntraListDiversity(K, PairwiseHammingDistanceCalculator(frame))
    ours = diversity.intra_list_distance(world["items"], torch.from_numpy(first))
    agree(ours, theirs.calc_per_user(world["reco"]) / 2)


@pytest.mark.parametrize("k", [2, K])
def test_diversity_by_embedding(world, k):
    ours = diversity.embedding_distance(world["items"][:, :k], torch.from_numpy(world["embedding"]))
    distance = Distance(world["embedding"], cosine)
    agree(ours, IntraListDiversity(k, distance).calc_per_user(world["reco"]))


@pytest.mark.parametrize("k", [1, K])
def test_serendipity(world, k):
    items = world["items"][:, :k]
    relevant = ranking.hits(items, *world["positives"], world["n_items"])
    assert relevant.any()
    ours = novelty.serendipity(items, relevant, world["popularity"])
    catalog = range(1, world["n_items"])
    theirs = Serendipity(k).calc_per_user(world["reco"], world["future"], world["past"], catalog)
    assert theirs.max() > 0
    agree(ours, theirs)


@pytest.mark.parametrize("k", [1, K])
def test_novelty(world, k):
    ours = novelty.mean_inverse_user_frequency(
        world["items"][:, :k], world["popularity"], world["n_users"]
    )
    agree(ours, MeanInvUserFreq(k).calc_per_user(world["reco"], world["past"]))


@pytest.mark.parametrize("k", [1, K])
def test_popularity(world, k):
    ours = concentration.average_popularity(world["items"][:, :k], world["popularity"])
    agree(ours, AvgRecPopularity(k).calc_per_user(world["reco"], world["past"]))


@pytest.mark.parametrize("k", [1, K])
def test_coverage(world, k):
    ours = concentration.item_coverage(world["items"][:, :k], world["n_items"])
    theirs = CatalogCoverage(k, normalize=True).calc(world["reco"], range(1, world["n_items"]))
    assert 0 < ours.item() == pytest.approx(theirs)


def test_lists_of_rectools_are_judged_to_its_own_values(tmp_path):
    """Its popular items for the users of a run's split, through a file, as it writes them."""
    options = {
        "model": "Pop",
        "dataset": "ml-100k",
        "metrics": ["Recall", "Precision", "Hit", "MRR", "NDCG"],
        "topk": [K],
        "valid_metric": f"MRR@{K}",
        "run_dir": str(tmp_path / "judged"),
    }
    train, valid, test = (
        pd.DataFrame(
            {
                Columns.User: part.id2token("user_id", part.inter_feat["user_id"].numpy()),
                Columns.Item: part.id2token("item_id", part.inter_feat["item_id"].numpy()),
                Columns.Weight: 1.0,
                Columns.Datetime: pd.Timestamp("2020-01-01"),
            }
        )
        for part in (loader._dataset for loader in load_data(Config(config_dict=options)))
    )
    known = Dataset.construct(pd.concat([train, valid]))
    model = PopularModel().fit(known)
    users = test[Columns.User].unique()
    lists = model.recommend(users, dataset=known, k=K, filter_viewed=True)
    lists.to_csv(tmp_path / "popular.csv", index=False)
    judged = evaluate_lists(tmp_path / "popular.csv", config_dict=options)
    assert set(judged["counts"].values()) == {len(users), 0}
    per_user = read_per_user(tmp_path / "judged" / "per_user.csv.gz")
    theirs = {
        "recall": Recall(K),
        "precision": Precision(K),
        "hit": HitRate(K),
        "mrr": MRR(K),
        "ndcg": NDCG(K, divide_by_achievable=True),
    }
    for name, metric in theirs.items():
        values = metric.calc_per_user(lists, test)
        ours = per_user[f"{name}@{K}"].reindex(values.index)
        np.testing.assert_allclose(ours, values, atol=1e-12, err_msg=name)
