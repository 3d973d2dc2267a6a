import csv
import json
from pathlib import Path

import pytest
from calling import call

from recbole_enhance.experiment.quick_start import run_recbole_enhance
from recbole_enhance.explanation.plot import quality_against_budget
from recbole_enhance.testing.worlds import feature_toy_options, write_feature_toy


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = write_feature_toy(tmp_path_factory.mktemp("reviews"))
    found = {}
    for name in ("CER", "RER", "EFM", "BPR"):
        options = feature_toy_options(folder, name, quiet=True, run_dir=str(folder / name))
        found[name] = run_recbole_enhance(config_dict=options)["run_dir"]
    return found


def test_attack_writes_a_table_json_csv_and_one_plot_of_all_runs(runs):
    status, out, _ = call(
        "attack",
        runs["CER"],
        runs["RER"],
        "--budgets=0.5,1",
        "--targets",
        "features,random",
        "--pairs=test",
    )
    assert status == 0
    assert "CER on reviews, seed 2020" in out
    assert "RER-CER on reviews, seed 2020" in out
    for name in ("CER", "RER"):
        report = json.loads(Path(runs[name], "attack.json").read_text())
        assert [(r["target"], r["budget"]) for r in report["rows"]] == [
            ("clean", 0.0),
            ("features", 0.5),
            ("features", 1.0),
            ("random features", 0.5),
            ("random features", 1.0),
        ]
        assert report["protocol"] == {
            "pairs": "test",
            "truth": "positive",
            "topk": 5,
            "features": 5,
            "negatives": 100,
        }
        rows = list(csv.DictReader(Path(runs[name], "attack.csv").read_text().splitlines()))
        assert [row["target"] for row in rows] == [r["target"] for r in report["rows"]]
        for row in report["rows"][1:]:
            assert f"{row['f1_drop']:.4f}" in out
    page = Path(runs["CER"], "attack.html").read_text()
    assert not Path(runs["RER"], "attack.html").exists()
    assert "RER-CER (random control)" in page
    assert 'src="http' not in page  # works without a network
    assert '<script src="plotly.min.js">' in page
    assert Path(runs["CER"], "plotly.min.js").is_file()
    assert len(page) < 300_000


def test_attacks_of_other_models_and_quiet(runs):
    assert call("attack", runs["BPR"], "--param_budgets=0.1", "--quiet") == (0, "", "")
    rows = json.loads(Path(runs["BPR"], "attack.json").read_text())["rows"]
    assert [row["target"] for row in rows] == ["clean", "params", "random params"]
    status, out, _ = call("attack", runs["EFM"], "--targets=params")
    assert status == 0
    assert "0.25" in out


@pytest.mark.parametrize("name", ["CER", "EFM"])
def test_explain_writes_sentences_and_shows_the_baselines(runs, name):
    status, out, _ = call("explain", runs[name], "--pairs=test", "--show=1", "--features=2")
    assert status == 0
    for baseline in ("most frequent", "user's top", "item's top", "random of user's"):
        assert baseline in out
    lines = [json.loads(x) for x in Path(runs[name], "explanations.jsonl").read_text().splitlines()]
    quality = json.loads(Path(runs[name], "explanations.json").read_text())
    assert quality["pairs"] == len(lines)
    explained = [line for line in lines if line["features"]]
    assert explained
    for line in lines:
        assert line["user"].startswith("u")
        assert line["item"].startswith("i")
        assert (line["sentence"] is None) == (not line["features"])
        weights = [f["weight"] for f in line["features"]]
        assert weights == sorted(weights, reverse=True)
        assert all(f["feature"].startswith("f") for f in line["features"])
    first = explained[0]
    assert first["sentence"].endswith(", ".join(f["feature"] for f in first["features"][:2]))
    assert quality["quality"][name]["coverage"] == pytest.approx(len(explained) / len(lines))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["attack"], "attack RUN_DIR ...: folders of finished runs are expected"),
        (["attack", "nowhere"], "nowhere: not a finished run (config.yaml is missing)"),
        (["attack", "CER", "--targets=feature"], "targets=feature: one of features, params"),
        (["attack", "CER", "--targets=random"], "targets=random: random needs"),
        (["attack", "CER", "--budgets=big"], "budgets=big: a number of at least 0"),
        (["attack", "CER", "--budgets=-1"], "budgets=-1: a number of at least 0"),
        (["attack", "CER", "--param_budgets=nan"], "param_budgets=nan"),
        (["attack", "CER", "--topk=0"], "topk=0: a whole number above 0"),
        (["attack", "CER", "--pairs=all"], "pairs=all: one of auto, hits, test"),
        (["attack", "CER", "--truth=some"], "truth=some: one of positive, all"),
        (["attack", "CER", "--budget=1"], "--budget: unknown option; did you mean budgets?"),
        (["attack", "BPR", "--targets=features"], "BPR: has no item features to attack"),
        (["explain", "BPR", "--truth=all"], "--truth: unknown option of an explanation of BPR"),
        (["explain", "CER", "EFM"], "explain takes one RUN_DIR, not 2"),
        (["explain", "CER", "--truth=some"], "truth=some: one of positive, all"),
        (["explian", "CER"], "did you mean explain?"),
    ],
)
def test_bad_input_is_one_line_and_status_2(runs, argv, message):
    status, out, err = call(*(runs.get(word, word) for word in argv))
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


def test_names_in_the_plot_are_escaped():
    rows = [
        {"target": "clean", "budget": 0.0, "ndcg": 0.2},
        {"target": "params", "budget": 0.1, "ndcg": 0.1, "list_jaccard": 0.5},
    ]
    report = {"label": "</script><b>", "run": "a", "rows": rows}
    page = quality_against_budget([report, report])
    assert "</script><b>" not in page


def test_list_shows_our_models():
    _, out, _ = call("list")
    assert "  ours: CER, EFM" in out
    assert "RER" in out
