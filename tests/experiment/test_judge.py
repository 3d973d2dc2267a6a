"""Lists of another tool: judged as a run's own, and by hand; refused in one line."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from calling import call, refused

from recbole_enhance.evaluation.files import read_per_user
from recbole_enhance.experiment.judge import evaluate_lists
from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.leaderboard.board import build_board
from recbole_enhance.options.errors import InputError
from recbole_enhance.testing.worlds import run_toy

METRICS = ["Recall", "NDCG", "MRR", "MAP", "Hit", "Precision", "ILD", "ItemCoverage", "GroupGap"]
LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}
FILES = ("groups.csv", "per_user.csv.gz", "recs.csv.gz")


@pytest.fixture(scope="module")
def bpr(toy, tmp_path_factory):
    options = {"metrics": METRICS, "group_fields": ["gender"], "save_recs": True}
    folder = tmp_path_factory.mktemp("runs") / "BPR"
    return Path(run_toy(toy, "BPR", run_dir=str(folder), **options)["run_dir"])


def recs(run):
    return pd.read_csv(run / "recs.csv.gz", dtype={"user_id": str, "item_id": str})


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("BPR", {"eval_args.mode": "full"}),
        ("BPR", {"eval_args.mode": "uni20"}),
        ("SASRec", {"eval_args": LEAVE_ONE_OUT}),
        ("GRU4Rec", {"eval_args": {"split": {"RS": [0.6, 0.1, 0.3]}, "order": "TO"}}),
        ("DVR", {"rerank": "popularity"}),
    ],
)
def test_a_runs_own_lists_have_the_runs_own_metrics(toy, tmp_path, model, options):
    fixed = {"metrics": METRICS, "group_fields": ["gender"], "save_recs": True}
    if model in ("SASRec", "GRU4Rec"):
        fixed["train_neg_sample_args"] = None
    run = Path(run_toy(toy, model, run_dir=str(tmp_path / "run"), **fixed, **options)["run_dir"])
    again = Path(
        evaluate_lists(
            run / "recs.csv.gz", like=run, config_dict={"run_dir": str(tmp_path / "again")}
        )["run_dir"]
    )
    before, after = (json.loads((f / "metrics.json").read_text()) for f in (run, again))
    assert after["test_result"] == before["test_result"]
    assert len(before["test_result"]) == 2 * len(METRICS)
    for name in FILES:
        assert (again / name).read_bytes() == (run / name).read_bytes(), name


def by_hand(toy, lists, k):
    """Recall, NDCG and MRR of each user whose last row is held out, from the file alone."""
    log = pd.read_csv(toy / "toy" / "toy.inter", sep="\t").sort_values("timestamp:float")
    test = log.groupby("user_id:token")["item_id:token"].last()
    values = {}
    for user, item in test.items():
        mine = lists.get(user, [])[:k]
        rank = mine.index(item) + 1 if item in mine else np.inf
        values[user] = (float(rank <= k), 1 / np.log2(rank + 1), 1 / rank)
    return pd.DataFrame.from_dict(values, orient="index", columns=["recall", "ndcg", "mrr"])


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_a_popularity_list_of_pandas_has_the_values_of_an_independent_count(toy, tmp_path, suffix):
    log = pd.read_csv(toy / "toy" / "toy.inter", sep="\t").sort_values("timestamp:float")
    seen = log.groupby("user_id:token")["item_id:token"].apply(lambda items: list(items[:-1]))
    train = log.groupby("user_id:token").head(12)["item_id:token"]
    popular = train.value_counts(sort=True).sort_index().sort_values(ascending=False, kind="stable")
    lists = {u: [i for i in popular.index if i not in seen[u]][:10] for u in seen.index}
    del lists["u7"]  # a user without a list
    lists["u9"] = lists["u9"][:3]  # and one with a short one
    rows = [(u, i, float(popular[i])) for u, mine in lists.items() for i in mine]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "score"])
    path = tmp_path / f"pop.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep={"csv": ",", "tsv": "\t"}[suffix], index=False)
    options = {
        "dataset": "toy",
        "data_path": str(toy),
        "metrics": ["Recall", "NDCG", "MRR"],
        "topk": [3, 10],
        "valid_metric": "MRR@10",
        "eval_args": LEAVE_ONE_OUT,
        "run_dir": str(tmp_path / "out"),
    }
    result = evaluate_lists(path, config_dict=options)
    per_user = read_per_user(Path(result["run_dir"], "per_user.csv.gz"))
    for k in (3, 10):
        expected = by_hand(toy, lists, k)
        for name in expected:
            assert result["test_result"][f"{name}@{k}"] == round(expected[name].mean(), 4)
            mine = per_user[f"{name}@{k}"].reindex(expected.index)
            np.testing.assert_allclose(mine, expected[name], atol=1e-12)
    assert result["counts"] == {
        "lists": 59,
        "missing": 1,
        "short": 1,
        "not_tested": 0,
        "never_ranked": 0,
    }


def test_rank_orders_before_score_and_score_before_the_file(bpr, tmp_path):
    frame = recs(bpr)[["user_id", "item_id", "rank", "score"]]
    expected = json.loads((bpr / "metrics.json").read_text())["test_result"]
    shuffled = frame.sample(frac=1, random_state=0)
    by_file = frame.drop(columns=["rank", "score"])
    backwards = shuffled.assign(score=-shuffled["score"])
    for table in (shuffled, shuffled.drop(columns="rank"), by_file, backwards):
        assert evaluate_lists(table, like=bpr, saved=False)["test_result"] == expected
    wrong = backwards.drop(columns="rank")
    assert evaluate_lists(wrong, like=bpr, saved=False)["test_result"] != expected


def test_what_is_odd_is_counted_and_told(toy, bpr, tmp_path):
    log = pd.read_csv(toy / "toy" / "toy.inter", sep="\t")
    users = recs(bpr)["user_id"].unique()
    mine = log[log["user_id:token"] == users[0]]["item_id:token"].tolist()[:10]
    rows = [(users[0], item) for item in mine] + [(user, "i1") for user in users[1:-1]]
    test = load_run(bpr).test_data
    tested, row, item = test.held_out()
    ids = test._dataset.field2id_token
    held_out = set(zip(ids["user_id"][tested[row]], ids["item_id"][item]))
    had = set(zip(log["user_id:token"], log["item_id:token"])) - held_out
    pd.DataFrame(rows, columns=["user", "item"]).to_csv(tmp_path / "odd.csv", index=False)
    status, out, err = call(
        "evaluate", tmp_path / "odd.csv", f"--like={bpr}", f"--run_dir={tmp_path / 'odd'}"
    )
    assert status == 0, err
    assert out.endswith(f"run folder: {tmp_path / 'odd'}\n")
    n = len(users)
    assert f"1 of {n} lists are missing: they count as empty" in err
    assert f"{n - 2} of {n} lists are shorter than 10" in err
    counts = json.loads((tmp_path / "odd" / "metrics.json").read_text())["counts"]
    assert counts["never_ranked"] == sum(pair in had for pair in rows) > 0
    assert f"{counts['never_ranked']} recommended items are what their users had before" in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nobody,i1,1", ":3: user='nobody': no such user in toy"),
        ("u1,[PAD],1", ":3: item='[PAD]': no such item in toy"),
        ("u1,nothing,1", ":3: item='nothing': no such item in toy"),
        ("u0,i1,2", ":3: item='i1': is in the list twice"),
        ("u0,i2,1", ":3: rank='1': is the rank of two items"),
    ],
)
def test_a_row_that_cannot_be_is_refused_with_its_line(bpr, tmp_path, line, message):
    path = tmp_path / "lists.csv"
    path.write_text(f"user,item,rank\nu0,i1,1\n{line}\n")
    err = refused("evaluate", path, f"--like={bpr}", f"--run_dir={tmp_path / 'out'}")
    assert f"{path}{message}" in err
    assert not (tmp_path / "out").exists()


def test_options_that_cannot_be(bpr, toy, tmp_path):
    path = tmp_path / "lists.csv"
    path.write_text("user,item\nu0,i1\n")
    assert "topk: cannot be set with like" in refused("evaluate", path, "--like", bpr, "--topk=5")
    assert f"like={tmp_path}: not a run folder" in refused("evaluate", path, f"--like={tmp_path}")
    assert "name=a/b: " in refused("evaluate", path, f"--like={bpr}", "--name=a/b")
    assert "--dataset=NAME is missing" in refused("evaluate", path)
    options = {"dataset": "toy", "data_path": str(toy), "metrics": ["GAUC"], "valid_metric": "gauc"}
    with pytest.raises(
        InputError, match=r"metrics=\['GAUC'\]: none of them can be computed from lists"
    ):
        evaluate_lists(path, config_dict=options)


def test_a_metric_that_needs_a_model_is_left_out_and_told(toy, bpr, tmp_path, caplog):
    options = {"dataset": "toy", "data_path": str(toy), "metrics": ["Recall", "GAUC", "AUC"]}
    options |= {"valid_metric": "Recall@10", "topk": [10], "item_category_field": None}
    result = evaluate_lists(recs(bpr), config_dict=options, saved=False)
    assert list(result["test_result"]) == ["recall@10"]
    assert result["left_out"] == ["GAUC", "AUC"]
    assert "left out, they need a model's scores: GAUC, AUC" in caplog.text


@pytest.mark.parametrize(
    "words",
    [
        "explain {}",
        "attack {}",
        "values {}",
        "reproduce {}",
        "--resume={}",
        "recommend {} --users=u1",
        "export {} --embeddings=vectors.npz",
    ],
)
def test_a_folder_of_lists_has_no_model(bpr, tmp_path, words):
    folder = tmp_path / "lists"
    evaluate_lists(bpr / "recs.csv.gz", bpr, config_dict={"run_dir": str(folder)})
    err = refused(*words.format(folder).split())
    assert f"{folder}: lists of another tool" in err


def test_lists_cannot_be_judged_like_other_lists(bpr, tmp_path):
    evaluate_lists(bpr / "recs.csv.gz", bpr, config_dict={"run_dir": str(tmp_path / "lists")})
    err = refused("evaluate", bpr / "recs.csv.gz", f"--like={tmp_path / 'lists'}")
    assert "there is no model" in err


def test_lists_of_changed_data_are_refused(toy, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(toy, folder)
    run = run_toy(folder, "BPR", run_dir=str(tmp_path / "run"), save_recs=True)["run_dir"]
    with open(folder / "toy" / "toy.inter", "a") as file:
        file.write("u0\ti47\t5\t1\n")
    err = refused("evaluate", Path(run, "recs.csv.gz"), f"--like={run}")
    assert "toy.inter changed since the run" in err


def test_a_board_has_them_beside_our_own_with_paired_tests(bpr, tmp_path):
    shutil.copytree(bpr, tmp_path / "board" / "BPR")
    worse = recs(bpr).sort_values(["user_id", "rank"], ascending=[True, False])
    worse = worse[["user_id", "item_id"]]
    for name, table in (("worse", worse), ("same", recs(bpr))):
        options = {"run_dir": str(tmp_path / "board" / name)}
        evaluate_lists(table, bpr, name=name, config_dict=options)
    build_board(tmp_path / "board", quiet=True)
    rows = json.loads((tmp_path / "board" / "board.json").read_text())
    text = json.dumps(rows)
    assert "worse (external)" in text
    tests = pd.read_csv(tmp_path / "board" / "significance.csv")
    mrr = tests[tests["metric"] == "mrr@10"].set_index("row")
    assert set(tests["row"]) == {"worse (external)"}
    assert set(tests["backbone"]) == {"BPR"}
    assert mrr.loc["worse (external)", "difference"] < 0
    assert mrr.loc["worse (external)", "users"] > 50
    page = (tmp_path / "board" / "index.html").read_text()
    assert "not trained here: lists of lists" in page
    assert "same (external): not compared" in page  # the values are those of BPR
    assert "recbole-enhance reproduce worse" not in page
    assert "recbole-enhance reproduce BPR" in page


def test_a_board_refuses_lists_of_changed_data(toy, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(toy, folder)
    run = run_toy(folder, "BPR", run_dir=str(tmp_path / "run"), save_recs=True)["run_dir"]
    options = {"run_dir": str(tmp_path / "board" / "lists")}
    evaluate_lists(Path(run, "recs.csv.gz"), run, config_dict=options)
    with open(folder / "toy" / "toy.inter", "a") as file:
        file.write("u0\ti47\t5\t1\n")
    with pytest.raises(InputError, match=r"lists: toy\.inter changed since the run"):
        build_board(tmp_path / "board", quiet=True)


def test_the_settings_say_the_protocol_and_nothing_of_training(bpr, tmp_path):
    folder = tmp_path / "lists"
    evaluate_lists(bpr / "recs.csv.gz", bpr, config_dict={"run_dir": str(folder)})
    options = yaml.safe_load((folder / "config.yaml").read_text())
    assert options["kind"] == options["model"] == "external"
    original = yaml.safe_load((bpr / "config.yaml").read_text())
    for key in ("eval_args", "topk", "metrics", "load_col", "seed", "group_fields"):
        assert options[key] == original[key]
    assert not {"learning_rate", "epochs", "embedding_size", "train_batch_size"} & set(options)
    assert gzip.decompress((folder / "recs.csv.gz").read_bytes()).startswith(b"list,user_id,rank")
