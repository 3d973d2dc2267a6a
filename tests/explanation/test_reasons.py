"""Explanations of any model: against scores worked out anew, and against loops."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.cli.program import main
from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.explanation import reasons
from recbole_enhance.explanation.explain import explain
from recbole_enhance.options.errors import InputError
from recbole_enhance.testing.worlds import run_toy

KEYS = [
    "user",
    "item",
    "title",
    "rank",
    "score",
    "history",
    "nearest",
    "removal",
    "valuable",
    "text",
]
SEQUENTIAL = {
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
    "train_neg_sample_args": None,
}


def made(toy, folder, model, **options):
    return Path(
        run_toy(toy, model, run_dir=str(folder / model), save_recs=True, **options)["run_dir"]
    )


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(1, 7))
def test_each_item_leaves_once(counts, most):
    user, left, variant, row = reasons.leave_one_out(torch.tensor(counts), most)
    found = [
        (int(u), int(gone), row[variant == v].tolist())
        for v, (u, gone) in enumerate(zip(user, left))
    ]
    expected, start = [], 0
    for u, n in enumerate(counts):
        rows = list(range(start, start + n))
        expected.append((u, -1, rows))
        leaving = rows[max(n - most, 0) :]
        expected += [(u, gone, [r for r in rows if r != gone]) for gone in leaving]
        start += n
    assert found == expected


@pytest.mark.parametrize("known", [False, True])
def test_the_loss_of_ease_is_the_similarity_that_leaves(toy, tmp_path, known):
    run = load_run(made(toy, tmp_path, "EASE", read_known=known))
    lines = reasons.explanations(run, n_users=4, k=3, nearest=50)
    similarity = np.asarray(run.trainer.model.item_similarity)
    ids = run.test_data._dataset.field2token_id["item_id"]
    assert len(lines) == 12
    parts = [run.train_data, run.valid_data][: 1 + known]
    for line in lines:
        assert list(line) == KEYS
        user = run.test_data._dataset.token2id("user_id", line["user"])
        counts = [int((part._dataset.inter_feat["user_id"] == user).sum()) for part in parts]
        assert line["history"] == sum(counts)
        losses = sum(entry["loss"] for entry in line["removal"])
        assert losses == pytest.approx(line["score"], abs=1e-4)  # the sum of the similarities
        assert line["nearest"] is None  # it has no vectors
        assert len(line["removal"]) == line["history"]
        for entry in line["removal"]:
            expected = similarity[ids[entry["item"]], ids[line["item"]]]
            assert entry["loss"] == pytest.approx(expected, abs=1e-5)
        losses = [entry["loss"] for entry in line["removal"]]
        assert losses == sorted(losses, reverse=True)
        best = line["removal"][0]
        assert line["text"].startswith(
            f"Based mostly on {best['title']}: without it the score falls"
        )


def test_the_loss_of_a_sequential_model_is_that_of_its_score_without_the_item(toy, tmp_path):
    run = load_run(made(toy, tmp_path, "SASRec", **SEQUENTIAL))
    (line,) = reasons.explanations(run, ["u5"], k=1, nearest=50)
    log = pd.read_csv(toy / "toy" / "toy.inter", sep="\t").sort_values("timestamp:float")
    history = log[log["user_id:token"] == "u5"]["item_id:token"].tolist()[:-1]
    ids, model = run.test_data._dataset.field2token_id["item_id"], run.trainer.model.eval()

    def score(tokens):
        rows = torch.zeros(1, run.config["MAX_ITEM_LIST_LENGTH"], dtype=torch.long)
        rows[0, : len(tokens)] = torch.tensor([ids[token] for token in tokens])
        with torch.no_grad():
            output = model.forward(rows, torch.tensor([len(tokens)]))
            return float(output @ model.item_embedding.weight[ids[line["item"]]])

    assert line["score"] == pytest.approx(score(history), abs=1e-4)
    assert {e["item"] for e in line["removal"]} == set(history)
    for entry in line["removal"]:
        rest = [token for token in history if token != entry["item"]]
        assert entry["loss"] == pytest.approx(score(history) - score(rest), abs=1e-4)


@pytest.mark.parametrize("model", ["BPR", "LightGCN"])
def test_likeness_is_the_cosine_of_the_vectors_that_score(toy, tmp_path, model):
    folder = made(toy, tmp_path, model)
    run = load_run(folder)
    lines = reasons.explanations(run, n_users=3, k=4, nearest=50)
    model = run.trainer.model.eval()
    with torch.no_grad():
        vectors = model.forward()[1] if hasattr(model, "norm_adj_matrix") else None
    vectors = model.item_embedding.weight.detach() if vectors is None else vectors
    ids = run.test_data._dataset.field2token_id["item_id"]
    recs = pd.read_csv(folder / "recs.csv.gz", dtype=str).set_index(["user_id", "rank"])["item_id"]
    for line in lines:
        assert line["removal"] is None  # its user's vector is learnt, not read
        assert line["item"] == recs[line["user"], str(line["rank"])]
        assert len(line["nearest"]) == line["history"]
        for entry in line["nearest"]:
            pair = vectors[ids[entry["item"]]], vectors[ids[line["item"]]]
            expected = torch.cosine_similarity(*pair, dim=0)
            assert entry["similarity"] == pytest.approx(float(expected), abs=1e-5)
        top = line["nearest"][0]["title"]
        assert line["text"] == reasons.NO_REASON or f"Most similar to {top}" in line["text"]


def test_dvr_shows_what_training_gained_most_from(toy, tmp_path):
    folder = made(toy, tmp_path, "DVR", epochs=4)
    lines = explain(folder, users=["u3"], k=2, nearest=3, quiet=True)
    values = pd.read_csv(folder / "values.csv.gz")
    own = values[values["user_id"] == "u3"].sort_values("value", ascending=False).head(3)
    own = own[own["value"] > 0]
    for line in lines:
        assert [e["item"] for e in line["valuable"]] == own["item_id"].tolist()
        assert [e["value"] for e in line["valuable"]] == pytest.approx(own["value"].tolist())


def test_a_model_with_nothing_to_say_is_refused(toy, tmp_path, capsys):
    folder = made(toy, tmp_path, "Pop")
    assert main(["explain", str(folder), "--quiet"]) == 2
    err = capsys.readouterr().err
    assert "Pop has no vectors of items and reads no history" in err
    assert err.count("\n") == 1
    assert not (folder / "reasons.jsonl").exists()


@pytest.mark.parametrize("model", ["MultiVAE", "ItemKNN", "NeuMF", "FM", "GRU4Rec"])
def test_every_family_of_models_has_a_reason(toy, tmp_path, model):
    options = {
        "GRU4Rec": SEQUENTIAL,
        "FM": {"eval_args.mode": "full", "threshold": {"rating": 1}},
    }.get(model, {})
    lines = explain(made(toy, tmp_path, model, **options), rows=2, k=2, quiet=True)
    assert len(lines) == 4
    kinds = {key for line in lines for key in ("nearest", "removal") if line[key]}
    expected = {
        "MultiVAE": {"removal"},
        "ItemKNN": {"removal"},
        "NeuMF": {"nearest"},
        "FM": {"nearest"},
        "GRU4Rec": {"nearest", "removal"},
    }
    assert kinds >= expected[model]


def test_the_files_the_page_and_the_lines(toy, tmp_path, capsys):
    folder = made(toy, tmp_path, "GRU4Rec", **SEQUENTIAL)
    words = ["explain", str(folder), "--users=u1,u2", "--k=2", "--title=genres"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert re.match(r"user u1, 1\. g\d \w+: ", out)
    lines = [json.loads(line) for line in (folder / "reasons.jsonl").read_text().splitlines()]
    assert [(line["user"], line["rank"]) for line in lines] == [
        ("u1", 1),
        ("u1", 2),
        ("u2", 1),
        ("u2", 2),
    ]
    page = (folder / "reasons.html").read_text(encoding="utf-8")
    assert "<title>Why these items? GRU4Rec on toy</title>" in page
    assert len(page) < 300_000
    for line in lines:
        assert line["text"] in page
    assert "says that two items are alike to the model, not that one is the reason" in page


def test_names_cannot_write_html():
    evil = "<script>alert(1)</script>"
    entry = {"item": evil, "title": evil}
    line = dict.fromkeys(KEYS, evil) | {"rank": 1, "score": -0.00001, "history": 3}
    line["nearest"] = [{**entry, "similarity": 0.5}]
    line["removal"] = [{**entry, "loss": -0.00001}]
    line["valuable"] = [{**entry, "value": 0.1, "standard_error": None}]
    text = reasons.page(evil, evil, [line])
    assert "<script>alert" not in text
    assert not re.search(r"[-\N{MINUS SIGN}]0\.0+<", text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"users": ["nobody"]}, "users=nobody: no such user in toy"),
        ({"k": 0}, "k=0: "),
        ({"k": 100}, "k=100: "),
        ({"topk": 3}, "--topk: unknown option of an explanation of BPR"),
        ({"title": "none"}, "title=none: "),
    ],
)
def test_what_cannot_be_is_refused(toy, tmp_path, options, message):
    folder = made(toy, tmp_path, "BPR")
    with pytest.raises(InputError, match=re.escape(message)):
        explain(folder, quiet=True, **options)
