"""Boards that explain and attack their runs, and show columns of their history."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from recbole_enhance.cli.program import main
from recbole_enhance.explanation import features
from recbole_enhance.leaderboard.examination import record_not_examined
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.worlds import FEATURE_TOY

ATTACK = {
    "targets": ["features", "params"],
    "budgets": [0.5],
    "param_budgets": [0.1],
    "pairs": "test",
    "columns": ["ndcg", "f1", "f1_drop", "jaccard_others"],
}


@pytest.fixture(scope="module")
def board(tmp_path_factory, reviews):
    """A board of four rows over the planted reviews, examined, and what was printed."""
    folder = tmp_path_factory.mktemp("boards")
    options = {key: value for key, value in FEATURE_TOY.items() if key != "dataset"}
    spec = {
        "out": str(folder / "board"),
        "datasets": ["reviews"],
        "models": ["Pop", "BPR", "CER", "RER:CER"],
        "seeds": 2,
        "threads": 1,
        "options": {**options, "data_path": str(reviews), "epochs": 2},
        "explain": {"pairs": "test"},
        "attack": ATTACK,
        "history_columns": ["valid_ndcg@5", "train_loss@first", "train_loss@mean"],
        "plotly": "shared",
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    assert main(["leaderboard", "run", str(folder / "spec.yaml"), "--quiet"]) == 0
    return folder / "board"


def run_again(board, *words):
    return main(["leaderboard", "run", str(board.parent / "spec.yaml"), "--quiet", *words])


def results_of(board, row):
    (table,) = json.loads((board / "board.json").read_text())["tables"]
    return next(r["results"] for r in table["rows"] if r["row"] == row)


def cell(board, row, seed=2020):
    return board / "cells" / "reviews" / row / str(seed)


def test_what_was_measured_of_the_runs_are_columns(board):
    found = results_of(board, "RER-CER")
    seeds = [cell(board, "RER-CER", seed) for seed in (2020, 2021)]
    quality = [json.loads((run / "explanations.json").read_text())["quality"] for run in seeds]
    assert found["explain:f1"]["values"] == [q["RER-CER"]["f1"] for q in quality]
    assert found["explain:f1 of item's top"]["values"] == [q["item's top"]["f1"] for q in quality]
    rows = [json.loads((run / "attack.json").read_text())["rows"] for run in seeds]
    assert [(r["target"], r["budget"]) for r in rows[0]] == [
        ("clean", 0.0),
        ("features", 0.5),
        ("params", 0.1),
    ]
    assert found["attack:ndcg@clean"]["values"] == [r[0]["ndcg"] for r in rows]
    assert found["attack:f1_drop@params 0.1"]["values"] == [r[2]["f1_drop"] for r in rows]
    assert found["attack:f1_drop@params 0.1"]["std"] > 0
    assert "attack:f1_drop@clean" not in found
    assert not any(key.startswith("attack:jaccard@") for key in found)
    attacks = [key.partition("@")[2] for key in found if key.startswith("attack:")]
    assert list(dict.fromkeys(attacks)) == ["clean", "features 0.5", "params 0.1"]
    assert sorted(attacks, key=["clean", "features 0.5", "params 0.1"].index) == attacks


def test_columns_of_the_history_take_the_epoch_that_they_name(board):
    found = results_of(board, "CER")
    for place, seed in enumerate((2020, 2021)):
        rows = history_rows(cell(board, "CER", seed))
        best = json.loads((cell(board, "CER", seed) / "metrics.json").read_text())["best_epoch"]
        losses = [float(row["train_loss"]) for row in rows]
        assert len(losses) == 2
        for key, value in (
            ("valid_ndcg@5", float(rows[best]["valid_ndcg@5"])),
            ("train_loss@first", losses[0]),
            ("train_loss@mean", sum(losses) / 2),
        ):
            assert found[f"history:{key}"]["values"][place] == pytest.approx(value)


def test_columns_have_directions_and_tests_as_others_have(board):
    with open(board / "significance.csv", newline="") as file:
        tested = {line["metric"]: line for line in csv.DictReader(file) if line["row"] == "RER-CER"}
    assert tested["attack:f1_drop@features 0.5"]["better"] == "smaller"
    assert tested["explain:f1"]["better"] == "larger"
    assert float(tested["attack:ndcg@params 0.1"]["p_seeds_holm"]) >= float(
        tested["attack:ndcg@params 0.1"]["p_seeds"]
    )
    # What only describes a run has no better side: it is not tested, and nothing is the best of it.
    for key in (
        "history:train_loss@mean",
        "explain:f1 of item's top",
        "attack:jaccard_others@clean",
    ):
        assert key not in tested
        assert not results_of(board, "CER")[key]["best"]
        assert results_of(board, "CER")[key]["mean"] is not None
    page = (board / "index.html").read_text()
    assert "F1, features 0.5 ↑" in page
    assert "Neither larger nor smaller is better." in page


def test_a_model_that_cannot_be_examined_says_why_and_is_no_failure(board):
    for row, key, reason in (
        ("BPR", "explain:f1", "BPR has no item features to explain by; models that have: CER, EFM"),
        ("Pop", "attack:ndcg@clean", "Pop: only general models rank pairs of user and item"),
        ("BPR", "attack:f1@features 0.5", "the run was not attacked in this way"),
    ):
        found = results_of(board, row)[key]
        assert found["mean"] is None
        assert found["reason"] == reason
    assert results_of(board, "BPR")["attack:ndcg@params 0.1"]["mean"] is not None


def test_a_reason_names_no_folder_of_the_machine(board, tmp_path):
    """A board may be shown to others, or lie elsewhere tomorrow."""
    run = SimpleNamespace(path=tmp_path / "run")
    shutil.copytree(cell(board, "Pop"), run.path)
    for reason in (f"{run.path}/model.pt: no such file", f"{run.path}: no such file"):
        told = record_not_examined(run, "explain", "failed", reason, {})
        left = json.loads((run.path / "explanations.failure.json").read_text())
        assert told.reason == left["reason"] == reason.replace(str(run.path), "")[1:].strip()


def test_what_is_there_is_kept_and_other_options_are_done_again(board, monkeypatch):
    """The cells' files are left as they were found."""
    copy = board.parent / "copy"
    shutil.copytree(board, copy)
    files = [p for p in copy.rglob("*.json") if p.parent.name in ("2020", "2021")]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert run_again(board, f"--out={copy}") == 0
    assert {path: path.stat().st_mtime_ns for path in files} == before

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features, "assess", broken)
    assert run_again(board, f"--out={copy}", "--explain.topk=3") == 1
    listed = json.loads((copy / "board.json").read_text())["failed"]
    assert [c["label"] for c in listed] == ["CER", "CER", "RER-CER", "RER-CER"]
    assert listed[0]["reason"] == "explain: OSError: [Errno 28] No space left on device"
    assert not (cell(copy, "CER") / "explanations.json").exists()
    monkeypatch.undo()
    assert run_again(board, f"--out={copy}", "--explain.topk=3") == 0  # what failed is tried again
    content = json.loads((cell(copy, "CER") / "explanations.json").read_text())
    assert content["protocol"]["topk"] == 3
    assert not (cell(copy, "CER") / "explanations.failure.json").exists()
    attacked = cell(copy, "CER") / "attack.json"
    assert attacked.stat().st_mtime_ns == before[attacked]
    shutil.rmtree(copy)


def test_boards_beside_each_other_share_plotly(board):
    page = (board / "index.html").read_text()
    assert '<script src="../plotly.min.js"></script>' in page
    assert len(page) < 300_000
    script = board.parent / "plotly.min.js"
    assert script.stat().st_size > 1_000_000
    script.write_text("// another build")
    assert main(["leaderboard", "build", str(board), "--quiet"]) == 0
    assert script.read_text() == "// another build"
    assert main(["leaderboard", "build", str(board), "--quiet", "--plotly=embed"]) == 0
    assert "* plotly.js v" in (board / "index.html").read_text()
    script.unlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plotly=cdn"], "plotly=cdn: one of embed, shared"),
        (["--history_columns=x@epoch"], "history_columns=x@epoch: NAME@EPOCH has best, mean"),
        (["--history_columns=x,x"], "a column is given twice"),
        (
            ["--attack.targets=me"],
            "attack.targets=['me']: a list of features, params, own, random",
        ),
        (["--attack.target=params"], "attack.target: unknown option; did you mean targets?"),
        (["--attack.columns=f2"], "attack.columns=f2: one of ndcg, "),
        (
            ["--attack.budgets=[-1]"],
            "attack.budgets=[-1]: a list of numbers of at least 0",
        ),
        (["--explain.topk=0"], "explain.topk=0: must be a whole number above 0"),
        (["--explain.show=3"], "explain.show: unknown option"),
        (["--explain=3"], "explain=3: a mapping such as"),
    ],
)
def test_bad_words_are_one_line(words, message, capsys):
    base = ["leaderboard", "run", "--models=BPR", "--dataset=ml-100k", "--out=out"]
    assert main([*base, *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()
