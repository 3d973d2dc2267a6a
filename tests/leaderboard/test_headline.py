"""What a board says in words, and which rows it marks as not stopped early."""

import json

import numpy as np
import pytest

from recbole_enhance.leaderboard import analysis, collect, protocol
from recbole_enhance.leaderboard.board import build_board
from recbole_enhance.leaderboard.headline import headline
from recbole_enhance.leaderboard.wording import MINUS
from recbole_enhance.testing.made_runs import make_run

SEEDS = (1, 2, 3)


def analysed(folder):
    collected = collect.collect(folder)
    (table,) = protocol.tables(collected.runs)
    return analysis.analyse(table, collected)


def row(folder, label, lift=0.0, noise=0.0, **more):
    """A row whose users are those of all rows, moved."""
    for seed in more.pop("seeds", SEEDS):
        draw = np.random.default_rng(seed)
        users = 0.3 + 0.4 * draw.random(300) + lift
        users += noise * np.random.default_rng(seed + 7).normal(size=300)
        options = {"epochs": 50, **more.get("options", {})}
        make_run(folder, label, seed, users={"recall@10": users}, **{**more, "options": options})


def test_gains_losses_and_what_is_open_are_told_by_the_marks(tmp_path):
    row(tmp_path, "BPR")
    row(tmp_path, "DVR-BPR", 0.05)
    row(tmp_path, "TIL-BPR", 0.1)
    row(tmp_path, "TCE-BPR", -0.05)
    row(tmp_path, "RCE-BPR", 0.0, noise=0.1)
    first, over = headline(analysed(tmp_path))
    assert first == "Best Recall@10: TIL-BPR (0.5984), then DVR-BPR."
    assert over.replace("\u00a0", " ") == (
        f"Against BPR, better in Recall@10: TIL +20.1 %, DVR +10.0 %; worse: TCE {MINUS}10.0 %; "
        "no clear difference in Recall@10: RCE."
    )


def test_what_seeds_leave_open_is_said(tmp_path):
    row(tmp_path, "BPR")
    for seed, lift in zip(SEEDS, (0.2, 0.01, -0.01)):
        row(tmp_path, "DVR-BPR", lift, seeds=(seed,))
    _, over = headline(analysed(tmp_path))
    assert "better over users, but not clearly over seeds: DVR" in over


def test_a_smaller_value_is_a_gain_where_small_is_good(tmp_path):
    for label, value in (("BPR", 0.9), ("DVR-BPR", 0.8)):
        for seed in SEEDS:
            results = {"giniindex@10": value + 0.001 * seed}
            options = {"valid_metric": "GiniIndex@10", "epochs": 50}
            make_run(tmp_path, label, seed, results, options=options)
    first, over = headline(analysed(tmp_path))
    assert first.startswith("Best GiniIndex@10: DVR-BPR (0.80")
    assert "better in GiniIndex@10: DVR" in over


def test_many_names_are_counted(tmp_path):
    row(tmp_path, "BPR")
    for n, name in enumerate(("DVR", "TIL", "TCE", "RCE", "AOBPR", "WBPR", "PRIS", "RER")):
        row(tmp_path, f"{name}-BPR", 0.01 * (n + 1))
    over = headline(analysed(tmp_path))[1].replace("\u00a0", " ")
    assert over == (
        "Against BPR, better in Recall@10: RER +16.1 %, PRIS +14.0 %, WBPR +12.0 %, AOBPR +10.0 %, "
        "RCE +8.0 % and 3 more."
    )


@pytest.mark.parametrize(
    ("epochs", "ran", "marked"),
    [(50, 50, 1), (50, 49, 0), (1, 1, 0), (50, None, 0)],
)
def test_a_row_that_used_all_its_epochs_is_marked(tmp_path, epochs, ran, marked):
    """One epoch is all that a closed form has."""
    row(tmp_path, "BPR", seeds=(1,), options={"epochs": epochs}, report={"epochs_run": ran})
    row(tmp_path, "Pop", -0.1, seeds=(1,), options={"epochs": 50}, report={"epochs_run": 3})
    table = analysed(tmp_path)
    assert [r.at_limit for r in table.rows] == [marked, 0]
    assert any("used all the epochs" in x for x in headline(table)) == bool(marked)
    build_board(tmp_path, quiet=True)
    page = (tmp_path / "index.html").read_text()
    assert ("1 of 1 run used all epochs and did not stop early." in page) == bool(marked)
    rows = json.loads((tmp_path / "board.json").read_text())["tables"][0]["rows"]
    assert [r["runs_at_epoch_limit"] for r in rows] == [marked, 0]


def test_re_ranked_lists_are_held_against_the_models_own(tmp_path):
    """A named setting of a plain model; without an unnamed one there is nothing to compare."""
    row(tmp_path, "BPR")
    row(tmp_path, "BPR", 0.05, name="coverage", options={"rerank": "coverage"})
    row(tmp_path, "LightGCN", name="a", options={"learning_rate": 0.1})
    row(tmp_path, "LightGCN", 0.1, name="b", options={"learning_rate": 0.2})
    table = analysed(tmp_path)
    assert [(c.row.title, c.base.title) for c in table.comparisons] == [("BPR (coverage)", "BPR")]
    assert table.not_compared == {}
    assert "better in Recall@10: BPR (coverage) +" in headline(table)[1]
