"""Every family of models through ``recommend``, against the model's own scores and its test."""

import numpy as np
import pandas as pd
import pytest
import torch
from iacn_backbones import PROPERTIES, SMALL

from recbole_enhance.enhancer import ENHANCERS
from recbole_enhance.experiment.quick_start import load_run, run_recbole_enhance
from recbole_enhance.options.read import load_yaml
from recbole_enhance.recommendation.recommend import recommend
from recbole_enhance.recommendation.scoring import is_sequential
from recbole_enhance.testing.worlds import (
    TOY,
    feature_toy_options,
    toy_options,
    write_feature_toy,
    write_knowledge_toy,
)

GENERAL = ("BPR", "LightGCN", "NGCF", "EASE", "ItemKNN", "MultiVAE", "RecVAE", "NeuMF", "Pop")
SEQUENTIAL = ("SASRec", "GRU4Rec", "BERT4Rec", "FPMC", "DIN", "CORE")
CONTEXT = ("FM", "DeepFM", "DSSM")
KNOWLEDGE = ("CKE", "KGCN", "KGNNLS")
OURS = ("ProtoMF", "TransGNN", "MultiGCCF", "CER", "EFM")
OVER = {"IaCN": "SASRec", "PRIS": "BPR"}
ACTS_AT_ONCE = {"AOBPR": {"aobpr_warmup_epochs": 0}, "TIL": {"til_warmup_epochs": 0}}


def known_options(model, **options):
    """What of some options a RecBole model has, small."""
    path = PROPERTIES / f"{model}.yaml"
    known = load_yaml(path) if path.is_file() else {}
    small = {k: v for k, v in SMALL.items() if k in known and isinstance(v, type(known[k]))}
    return {**small, **options}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory, toy):
    graph = write_knowledge_toy(tmp_path_factory.mktemp("graph"))
    reviews = write_feature_toy(tmp_path_factory.mktemp("reviews"))
    return {"toy": toy, "kg": graph, "reviews": reviews}


def options_of(worlds, model):
    common = {"epochs": 1, "quiet": True, "show_progress": False, "save_recs": True}
    if model in KNOWLEDGE:
        plain = {k: v for k, v in TOY.items() if k not in ("load_col", "item_category_field")}
        own = {**plain, "dataset": "kg", "embedding_size": 8}
        return {**own, "data_path": str(worlds["kg"]), "model": model, **common}
    if model in ("CER", "EFM"):
        full = {"eval_args": {"split": {"RS": [0.7, 0.1, 0.2]}, "mode": "full"}}
        return feature_toy_options(worlds["reviews"], model, **{**common, **full})
    options = {**known_options(model), "MAX_ITEM_LIST_LENGTH": 10, **common}
    if model in CONTEXT:
        split = {"split": {"RS": [0.8, 0.1, 0.1]}, "mode": "full"}
        options.update(threshold={"rating": 3}, eval_args=split)
    if model in ("DIN", "IaCN"):
        options.update(eval_args={"split": {"LS": "valid_and_test"}, "mode": "full"})
    if model == "DIN":
        options.update(threshold={"rating": 1})
    if model in OVER:
        options.update(backbone=OVER[model])
    options.update(ACTS_AT_ONCE.get(model, {}))
    made = toy_options(worlds["toy"], model, **options)
    if model in ("Pop", "EASE", "ItemKNN", "MultiVAE", "RecVAE", "SASRec", "BERT4Rec", "IaCN"):
        del made["embedding_size"]
    return made


@pytest.mark.parametrize("model", [*GENERAL, *SEQUENTIAL, *CONTEXT, *KNOWLEDGE, *OURS, *ENHANCERS])
def test_lists_are_those_of_the_scores_and_of_the_test(worlds, model):
    options = options_of(worlds, model)
    run_dir = run_recbole_enhance(config_dict={**options, "run_dir": "run"})["run_dir"]
    run = load_run(run_dir)
    dataset = run.test_data._dataset
    lists = recommend(run)
    assert set(lists["user_id"]) == set(dataset.field2id_token["user_id"][1:])
    assert np.isfinite(lists["score"]).all()
    ranks = lists.groupby("user_id")["rank"].agg(list)
    assert all(of_user == list(range(1, len(of_user) + 1)) for of_user in ranks)
    had = read_pairs(options)
    assert not had & set(zip(lists["user_id"], lists["item_id"]))
    tested = pd.read_csv("run/recs.csv.gz", dtype={"user_id": str, "item_id": str})
    tested = tested[tested["list"].isin(tested.drop_duplicates("user_id")["list"])]
    again = recommend(
        run,
        list(tested["user_id"].unique()),
        k=max(run.config["topk"]),
        history="train+valid",
        filter_seen=not is_sequential(run),
    )
    assert again["user_id"].tolist() == tested["user_id"].tolist()
    same = again["item_id"].to_numpy() == tested["item_id"].to_numpy()
    # Batches of other sizes round otherwise: near ties may change places.
    assert np.allclose(again["score"], tested["score"], rtol=1e-4, atol=1e-5)
    assert same.mean() > 0.98


def read_pairs(options):
    path = f"{options['data_path']}/{options['dataset']}/{options['dataset']}.inter"
    with open(path) as file:
        next(file)
        return {tuple(line.split("\t")[:2]) for line in map(str.rstrip, file)}


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "MultiVAE", "EASE"])
def test_a_general_models_score_is_that_of_full_sort_predict(worlds, model):
    run_dir = run_recbole_enhance(config_dict={**options_of(worlds, model), "run_dir": "run"})
    run = load_run(run_dir["run_dir"])
    dataset, model = run.test_data._dataset, run.trainer.model.eval()
    lists = recommend(run, k=dataset.item_num - 1, filter_seen=False)
    users = torch.arange(1, dataset.user_num)
    with torch.no_grad():
        scores = model.full_sort_predict({"user_id": users}).view(len(users), -1).numpy()
    row = lists["user_id"].map(dataset.field2token_id["user_id"]).to_numpy() - 1
    item = lists["item_id"].map(dataset.field2token_id["item_id"]).to_numpy()
    assert len(lists) == len(users) * (dataset.item_num - 1)
    # Batches of other sizes round otherwise.
    assert np.allclose(lists["score"], scores[row, item], rtol=1e-5, atol=1e-6)
