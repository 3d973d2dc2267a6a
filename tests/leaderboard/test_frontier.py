"""Accuracy against a metric with every dial: what is run, what is chosen, and the pages."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.cli.program import main
from recbole_enhance.leaderboard import frontier_page
from recbole_enhance.leaderboard.frontier import (
    BACKBONE,
    CONTROL,
    DIALS,
    Point,
    read_frontier,
    recommended,
    table,
)
from recbole_enhance.options.errors import InputError
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.worlds import run_toy

NUMBERS = st.floats(0.01, 1) | st.just(float("nan"))  # of a metric that nobody has


@st.composite
def point_lists(draw):
    others = st.sampled_from([*DIALS, CONTROL])
    dials = [BACKBONE, *draw(st.lists(others, max_size=8))]
    numbers = st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
    return [Point(dial, 0.1, f"row-{n}", 1, *draw(numbers)) for n, dial in enumerate(dials)]


@given(point_lists(), st.sampled_from([1, -1]))
def test_the_best_point_that_keeps_validation_accuracy_is_recommended(points, direction):
    chosen = points[recommended(points, direction)]
    allowed = [p for p in points if p.dial != CONTROL and p.valid_accuracy >= points[0][4]]
    assert chosen is points[0] or chosen in allowed
    assert not any(direction * p.valid_metric > direction * chosen.valid_metric for p in allowed)


@given(point_lists())
def test_the_test_chooses_nothing(points):
    others = [p._replace(test_accuracy=1 - p.valid_accuracy, test_metric=0.5) for p in points]
    assert recommended(points, 1) == recommended(others, 1)


def test_changes_are_against_the_backbone():
    points = [
        Point(BACKBONE, 0, "b", 1, 0.2, 0.4, 0.1, 0.5),
        Point("direct", 1, "d", 1, *[0.3] * 4),
    ]
    rows = table(points, 1)
    assert rows["test_accuracy_change_percent"].tolist() == pytest.approx([0, 200])
    assert rows["valid_metric_change_percent"].tolist() == pytest.approx([0, -25])
    assert rows["recommended"].tolist() == [False, True]


WORDS = {"dataset": "toy", "backbone": "BPR", "out": "board"}


def rows_of(metric, quick=False, **words):
    return {s.row.name: s for s in read_frontier({**WORDS, **words}, metric, None, quick).settings}


def test_every_dial_has_rows():
    rows = rows_of("cc@20")
    assert {s.dial for s in rows.values()} == {BACKBONE, CONTROL, *DIALS}
    assert rows["values-0.05"].row.options == {
        "dvr_reward": "categorycoverage@20",
        "dvr_strength": 0.05,
    }
    assert rows["direct-0.02"].row.options["dvr_weighting"] == "direct"
    assert rows["coverage-0.3"].row.options["dvr_strength"] == 0
    combined = rows["direct-ndcg-0.04-coverage-0.3"].row.options
    assert combined["dvr_reward"] == "ndcg@20"
    assert combined["dvr_weighting"] == "direct"
    assert rows["validation-added"].row.model == "BPR"
    assert len(rows_of("cc@20", quick=True)) == 8


@pytest.mark.parametrize(
    ("metric", "how"),
    [("ild@20", "mmr"), ("calibration@20", "calibrated"), ("gini@20", "popularity")],
)
def test_the_re_ranker_is_one_for_the_metric(metric, how):
    assert f"{how}-0.1" in rows_of(metric)


def test_no_re_ranker_is_about_groups():
    assert not any("rerank" in s.row.options for s in rows_of("groupgap@20").values())


@pytest.mark.parametrize(
    ("words", "metric", "accuracy", "message"),
    [
        ({}, None, None, "--metric=NAME@K is missing"),
        ({}, "cc", None, "metric=cc: NAME@K, a metric of ranked lists"),
        ({}, "nothing@5", None, "metric=nothing@5: NAME@K, a metric of ranked lists"),
        ({}, "recall@5", None, "metric=recall@5: measures accuracy"),
        ({}, "popreo@5", None, "metric=popreo@5: popreo is no metric of one user's list"),
        ({}, "cc@5", "ndcg@10", "accuracy=ndcg@10: one of .*at the metric's @5"),
        ({}, "cc@5", "ild@5", "accuracy=ild@5: one of "),
        ({"model": "TIL"}, "cc@5", None, "model=TIL: frontier works with model=DVR only"),
        ({"dvr_strength": "1"}, "cc@5", None, "dvr_strength=1: the rows of a frontier set this"),
        ({"dataset": ""}, "cc@5", None, "dataset=: the name of one dataset"),
        ({"dataset": "[a,b]"}, "cc@5", None, "the name of one dataset"),
    ],
)
def test_bad_input_is_one_line(words, metric, accuracy, message):
    with pytest.raises(InputError, match=message):
        read_frontier({**WORDS, **words}, metric, accuracy, False)


def test_the_verb_runs_draws_and_resumes(toy, capsys, monkeypatch):
    words = [
        "frontier",
        "--dataset=toy",
        f"--data_path={toy}",
        "--metric=cc@5",
        "--quick",
        "--epochs=4",
        "--embedding_size=8",
        "--train_batch_size=128",
        "--item_category_field=genres",
        "--load_col.item=[item_id,genres]",
        "--out=board",
    ]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "recommended: " in out
    rows = pd.read_csv("board/frontier.csv")
    assert rows["name"][0] == "backbone"
    assert rows["recommended"].sum() == 1
    assert len(rows) == 8
    page = Path("board/frontier.html").read_text()
    assert "(recommended)" in page
    assert 'src="http' not in page
    for suffix in ("png", "svg"):
        assert Path(f"board/frontier.{suffix}").stat().st_size > 5000
    # The backbone's row is the backbone: only its epoch is chosen on half of the validation.
    run_toy(toy, "BPR", epochs=4, run_dir="plain", learning_rate=0.001)
    mine = history_rows(Path("board/cells/toy/DVR-BPR-backbone/2020"))
    losses = [[row["train_loss"] for row in rows] for rows in (mine, history_rows(Path("plain")))]
    assert losses[0] == losses[1]
    before = {p: p.stat().st_mtime_ns for p in Path("board/cells").rglob("metrics.json")}
    assert main([*words, "--quiet"]) == 0
    assert {p: p.stat().st_mtime_ns for p in Path("board/cells").rglob("metrics.json")} == before


def test_without_the_backbone_there_is_no_frontier(tmp_path):
    run_toy_free = read_frontier({**WORDS, "out": str(tmp_path)}, "cc@5", None, True)
    with pytest.raises(ValueError, match="no run"):
        frontier_page.write_frontier(run_toy_free)
