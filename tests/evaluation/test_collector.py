import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.evaluator import Collector, Evaluator
from recbole.utils import get_trainer, init_seed

from recbole_enhance.compat import mends
from recbole_enhance.data.loaders import LabelledLoader, prepare_data
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.enhancer.dvr.reward import Reward
from recbole_enhance.evaluation.collector import _mean_ranks
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import load_run, run_recbole_enhance
from recbole_enhance.metric import registry
from recbole_enhance.metric.name import Metric
from recbole_enhance.testing.worlds import run_toy, toy_options
from recbole_enhance.training.trainer import make_trainer

RANKING = ["Recall", "NDCG", "MRR", "MAP", "Hit", "Precision", "GAUC"]
VALUE = ["AUC", "LogLoss", "MAE", "RMSE"]
SEQUENTIAL = {"order": "TO", "split": {"LS": "valid_and_test"}}
MODELS = {
    "BPR": {},
    "LightGCN": {},
    "SASRec": {"eval_args": SEQUENTIAL, "MAX_ITEM_LIST_LENGTH": 10},
    "MultiVAE": {},
    "DIN": {"eval_args": SEQUENTIAL, "MAX_ITEM_LIST_LENGTH": 10},
}


def options_of(toy, model, mode, metrics, **options):
    own = {**MODELS.get(model, {})}
    own["eval_args"] = {**own.get("eval_args", {}), "mode": mode}
    return toy_options(
        toy,
        model,
        **{
            "show_progress": False,
            "metrics": metrics,
            "metric_decimal_place": 12,
            "valid_metric": "NDCG@5" if "NDCG" in metrics else "AUC",
            **own,
            **options,
        },
    )


def two_trainers(toy, model, mode, metrics, **options):
    """Ours and RecBole's around one model, each with its own loaders."""
    config = Config(config_dict=options_of(toy, model, mode, metrics, **options))
    config["checkpoint_dir"] = "."
    init_seed(config["seed"], True)
    own_loaders = prepare_data(config, create_dataset(config))
    init_seed(config["seed"], True)
    net = config.model_class(config, own_loaders[0]._dataset)
    ours = make_trainer(config, net, None)
    ours.fit(own_loaders[0], None)
    config["eval_batch_size"] = 10**6 if mode == "full" else 4096
    init_seed(config["seed"], True)
    their_loaders = data_preparation(config, create_dataset(config))
    with mends.redirect_tensorboard():
        theirs = get_trainer(config["MODEL_TYPE"], config["model"])(config, net)
    assert type(theirs.eval_collector) is Collector
    assert type(theirs.evaluator) is Evaluator
    for trainer, (train, _, _) in ((ours, own_loaders), (theirs, their_loaders)):
        trainer.eval_collector.data_collect(train)
    return (ours, own_loaders), (theirs, their_loaders)


def result_of(trainer, data):
    init_seed(5, True)
    return {k: float(v) for k, v in trainer.evaluate(data, load_best_model=False).items()}


@pytest.mark.parametrize(
    ("mode", "metrics", "more"),
    [
        ("full", RANKING, {}),
        ("uni100", RANKING, {}),
        ("uni20", VALUE, {}),
        ("labeled", VALUE, {"threshold": {"rating": 4}}),
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_values_are_recboles(toy, model, mode, metrics, more):
    if mode == "labeled" and model in ("SASRec", "DIN"):
        more = {**more, "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}
    (ours, mine), (theirs, reference) = two_trainers(toy, model, mode, metrics, **more)
    for part in (1, 2):
        result = result_of(ours, mine[part])
        if mode.startswith("uni"):  # RecBole draws candidates anew at each evaluation
            reference = mine
        assert result == pytest.approx(result_of(theirs, reference[part]), abs=1e-9)
        assert all(type(value) is float for value in result.values())
        assert len(result) == (6 * 2 + 1 if metrics == RANKING else 4)


@pytest.mark.parametrize("model", ["BPR", "SASRec"])
def test_the_batch_size_does_not_matter(toy, model):
    results = []
    for size in (1, 500, 10**6):
        config = Config(config_dict=options_of(toy, model, "full", RANKING, eval_batch_size=size))
        config["checkpoint_dir"] = "."
        init_seed(0, True)
        train, valid, _ = prepare_data(config, create_dataset(config))
        init_seed(0, True)
        trainer = make_trainer(config, config.model_class(config, train._dataset), None)
        results.append(trainer.evaluate(valid, load_best_model=False))
    assert results[0] == pytest.approx(results[1], abs=1e-9)
    assert results[0] == pytest.approx(results[2], abs=1e-9)


@pytest.mark.parametrize("mode", ["full", "uni20"])
def test_value_metrics_stand_beside_ranking_ones(toy, mode):
    rate = {"learning_rate": 0.05}
    (ours, mine), _ = two_trainers(toy, "BPR", mode, ["NDCG", *VALUE], **rate)
    result = result_of(ours, mine[2])
    alone = ["NDCG"] if mode == "full" else VALUE
    (same, other), _ = two_trainers(toy, "BPR", mode, alone, **rate)
    for name, value in result_of(same, other[2]).items():
        assert result[name] == pytest.approx(value, abs=1e-9), name
    assert result["auc"] > 0.5
    assert result == result_of(ours, mine[2])


def test_labelled_pairs_of_a_full_ranking(toy):
    config = Config(config_dict=options_of(toy, "BPR", "full", ["NDCG", "AUC"]))
    init_seed(0, True)
    train, valid, test = (data._dataset for data in prepare_data(config, create_dataset(config)))
    batches = list(LabelledLoader(config, test, [train, valid]))
    users, items, label = (
        torch.cat([batch[name] for batch in batches]) for name in ("user_id", "item_id", "label")
    )
    used = UserLists.of_datasets([train, valid, test])
    assert torch.equal(used.holds(users, items), label == 1)
    assert label.mean() == 0.5
    assert sorted(users[label == 1].tolist()) == sorted(test.inter_feat["user_id"].tolist())
    assert "genres" in batches[0]
    again = LabelledLoader(config, test, [train, valid])
    assert torch.equal(torch.cat([batch["item_id"] for batch in again]), items)


def test_labels_of_the_data_count_where_there_are_some(toy):
    rated = {"threshold": {"rating": 4}}
    config = Config(config_dict=options_of(toy, "BPR", "full", ["NDCG", "AUC"], **rated))
    parts = create_dataset(config).build()
    rows = LabelledLoader(config, parts[2], parts[:2]).rows
    assert len(rows) == len(parts[2])
    assert 0 < rows["label"].mean() < 1


def test_ranking_labelled_pairs_is_refused(toy):
    with pytest.raises(ValueError, match=r"eval_args.mode=labeled: .* rank items"):
        Config(config_dict=options_of(toy, "BPR", "labeled", ["NDCG", "AUC"]))


def read_csv(path):
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("mode", ["full", "uni20"])
@pytest.mark.parametrize("model", ["BPR", "SASRec", "MultiVAE"])
def test_the_users_own_values_are_behind_the_means(toy, model, mode):
    metrics = [name for name in RANKING if name != "GAUC"]
    options = options_of(toy, model, mode, metrics, metric_decimal_place=4, save_recs=True)
    result = run_recbole_enhance(config_dict=options)
    folder = Path(result["run_dir"])
    rows = read_csv(folder / "per_user.csv.gz")
    assert len({row["user_id"] for row in rows}) == len(rows) == 60
    assert rows[0]["user_id"].startswith("u")
    for name, value in result["test_result"].items():
        assert np.mean([float(row[name]) for row in rows]) == pytest.approx(value, abs=6e-5)

    lists = read_csv(folder / "recs.csv.gz")
    assert list(lists[0]) == ["list", "user_id", "rank", "item_id", "score", "hit"]
    hits = [int(row["hit"]) for row in lists if int(row["rank"]) <= 5]
    assert np.mean(hits) == pytest.approx(result["test_result"]["precision@5"], abs=6e-5)
    for user in ("u0", "u59"):
        own = [row for row in lists if row["user_id"] == user]
        assert [int(row["rank"]) for row in own] == list(range(1, 11))
        assert len({row["item_id"] for row in own}) == 10
        scores = [float(row["score"]) for row in own]
        assert scores == sorted(scores, reverse=True)


def test_short_lists_end_where_candidates_do(toy):
    protocol = {"split": {"LS": "valid_and_test"}, "mode": "uni3"}
    folder = run_toy(toy, "BPR", save_recs=True, eval_args=protocol)["run_dir"]
    lists = read_csv(Path(folder, "recs.csv.gz"))
    assert max(int(row["rank"]) for row in lists) <= 4
    assert all(row["item_id"].startswith("i") for row in lists)


def test_users_with_several_rows_are_averaged(toy):
    protocol = {"order": "TO", "split": {"RS": [0.6, 0.2, 0.2]}, "mode": "full"}
    result = run_toy(toy, "SASRec", eval_args=protocol, save_recs=True)
    rows = read_csv(Path(result["run_dir"], "per_user.csv.gz"))
    assert len(rows) == 60
    lists = read_csv(Path(result["run_dir"], "recs.csv.gz"))
    assert len({row["list"] for row in lists}) > 60
    mean = np.mean([float(row["hit"]) for row in lists if row["user_id"] == "u3"]) * 10
    (own,) = [row for row in rows if row["user_id"] == "u3"]
    assert float(own["recall@10"]) == pytest.approx(mean)


def test_value_metrics_alone_leave_no_lists(toy):
    result = run_toy(
        toy,
        "FM",
        metrics=["AUC"],
        valid_metric="AUC",
        threshold={"rating": 4},
        save_recs=True,
        eval_args={"mode": "labeled"},
        train_neg_sample_args=None,
    )
    assert set(result["test_result"]) == {"auc"}
    assert not list(Path(result["run_dir"]).glob("*.csv.gz"))


def test_a_loaded_run_has_what_its_metrics_need(toy):
    metrics = ["Recall", "NDCG", "ItemCoverage", "GiniIndex", "AveragePopularity"]
    result = run_toy(toy, "BPR", metrics=metrics)
    run = load_run(result["run_dir"])
    assert run.trainer.evaluate(run.test_data) == result["test_result"]
    report = json.loads(Path(result["run_dir"], "metrics.json").read_text())
    assert report["test_result"] == result["test_result"]


EVERY = [cls.__name__ for cls in registry.METRICS]


def test_every_metric_of_ours_is_computed_and_can_select(toy):
    options = {"metrics": [*RANKING, *EVERY], "group_fields": ["gender"], "epochs": 1}
    result = run_toy(toy, "BPR", **options)
    assert len(result["test_result"]) == 2 * (len(RANKING) - 1 + len(EVERY)) + 1
    table = Path(result["run_dir"], "per_user.csv.gz")
    assert {"ild@5", "epc@10", "recall@5"} <= set(read_csv(table)[0])
    for name in ("Calibration", "GroupGap", "ILD"):
        chosen = run_toy(toy, "BPR", saved=False, valid_metric=f"{name}@5", **options)
        key = f"{name.lower()}@5"
        assert chosen["best_valid_score"] == chosen["best_valid_result"][key]
        assert chosen["valid_score_bigger"] is (name == "ILD")


@pytest.mark.parametrize("name", EVERY)
def test_every_metric_of_ours_is_a_reward(toy, name):
    config = Config(config_dict=toy_options(toy, "BPR", group_fields=["gender"]))
    config["checkpoint_dir"] = "."
    train, valid, _ = prepare_data(config, create_dataset(config))
    trainer = make_trainer(config, config.model_class(config, train._dataset), None)
    trainer.fit(train, valid)
    reward = Reward(
        Metric(name.lower(), 5),
        config,
        [train._dataset],
        valid._dataset,
        trainer._full_sort_batch_eval,
    )
    value = reward(trainer.model, 60, torch.Generator())
    smaller = registry.BY_NAME[name.lower()].smaller
    assert np.isfinite(value)
    assert value <= 0 if smaller else value >= 0


def test_a_validation_metric_that_nobody_has_is_refused(toy, monkeypatch):
    monkeypatch.setattr(registry.BY_NAME["ild"], "value", lambda self, data, k: float("nan"))
    options = {"metrics": ["NDCG", "ILD"], "valid_metric": "ILD@5", "epochs": 1}
    with pytest.raises(
        ValueError, match="valid_metric=ILD@5: no user has a value of it in epoch 0"
    ):
        run_toy(toy, "BPR", **options)
    assert not Path("runs").exists()


def test_equal_scores_share_the_mean_of_their_ranks():
    scores = torch.tensor([[-torch.inf, 2.0, 1.0, 2.0, 2.0], [-torch.inf, 0.0, 0.0, 5.0, -1.0]])
    ranks = _mean_ranks(scores, torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]))
    assert ranks.tolist() == [[2.0 + 4.0, 4.0, 2.0], [2.5, 4.0, 1.0]]
