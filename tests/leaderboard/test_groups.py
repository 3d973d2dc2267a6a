"""Which users gain: groups.csv, the plot of changes, and claims about users with few items."""

import csv

import numpy as np
import pytest
from scipy import stats

from recbole_enhance.leaderboard.board import build_board
from recbole_enhance.leaderboard.claims import FAILS, HOLDS, OPEN, claims_page
from recbole_enhance.options.errors import RunFolderError
from recbole_enhance.testing.made_runs import make_run

KEY = "recall@10"
PLAIN = np.array([[0.20, 0.40], [0.22, 0.38], [0.18, 0.45]])  # (seeds, groups)
METHOD = np.array([[0.30, 0.42], [0.34, 0.41], [0.27, 0.46]])


def make(folder, label, means, field="activity", names=("1 to 4", "5 to 9"), seeds=None):
    for seed, of_seed in zip(seeds or range(len(means)), means):
        rows = [[field, name, 10, KEY, mean, 0, 1] for name, mean in zip(names, of_seed)]
        rows.append([field, "gap: 1 to 4 - 5 to 9", 20, KEY, 0.9, 0, 1])
        rows += [[field, name, 10, "ndcg@10", 0.7, 0, 1] for name in names]
        result = float(np.nanmean(of_seed))
        make_run(folder, label, seed, {KEY: result}, users={KEY: [result] * 3}, groups=rows)


def lines(folder):
    with open(folder / "groups.csv", newline="") as file:
        return {(line["row"], line["group"]): line for line in csv.DictReader(file)}


def test_each_group_is_paired_by_seed_against_the_backbone(tmp_path):
    make(tmp_path, "BPR", PLAIN)
    # The bounds of activity differ between splits, the places do not; seed 9 is the method's alone.
    make(tmp_path, "DVR-BPR", [*METHOD, [9, 9]], names=("1 to 3", "4 to 9"), seeds=[0, 1, 2, 9])
    build_board(tmp_path, quiet=True)
    found = lines(tmp_path)
    assert list(found) == [
        ("DVR-BPR", "level 1"),
        ("DVR-BPR", "level 2"),
        ("DVR-BPR", "level 1 less level 2"),
    ]
    change = 100 * (METHOD - PLAIN) / PLAIN.mean(0)
    for group, of_seeds in zip(
        ("level 1", "level 2", "level 1 less level 2"), [*change.T, change[:, 0] - change[:, 1]]
    ):
        line = found["DVR-BPR", group]
        half = stats.t.ppf(0.975, 2) * stats.sem(of_seeds)
        wanted = [of_seeds.mean(), of_seeds.mean() - half, of_seeds.mean() + half]
        assert [float(line[k]) for k in ("percent", "ci_low", "ci_high")] == pytest.approx(wanted)
        assert (line["backbone"], line["metric"], line["seeds"]) == ("BPR", KEY, "3")
    assert float(found["DVR-BPR", "level 1"]["value"]) == pytest.approx(METHOD[:, 0].mean())
    assert float(found["DVR-BPR", "level 1"]["backbone_value"]) == pytest.approx(0.2)
    assert found["DVR-BPR", "level 1 less level 2"]["value"] == ""
    assert (tmp_path / "plots/toy-gains-1.svg").is_file()
    page = (tmp_path / "index.html").read_text()
    assert "Change of Recall@10 by activity" in page
    assert '<a href="groups.csv">' in page


def test_groups_without_an_order_are_not_subtracted(tmp_path):
    make(tmp_path, "BPR", PLAIN, "gender", ("F", "M"))
    make(tmp_path, "DVR-BPR", METHOD, "gender", ("F", "M"))
    build_board(tmp_path, quiet=True)
    assert [group for _, group in lines(tmp_path)] == ["F", "M"]


def test_a_group_that_a_run_lacks_is_left_out(tmp_path):
    make(tmp_path, "BPR", PLAIN, "gender", ("F", "M"))
    make(tmp_path, "DVR-BPR", METHOD[:, :1], "gender", ("F",))
    build_board(tmp_path, quiet=True)
    assert [group for _, group in lines(tmp_path)] == ["F"]


def test_a_backbone_at_zero_gives_no_percent(tmp_path):
    make(tmp_path, "BPR", [[0.0, 0.4]] * 3)
    make(tmp_path, "DVR-BPR", METHOD)
    build_board(tmp_path, quiet=True)
    line = lines(tmp_path)["DVR-BPR", "level 1"]
    assert (line["percent"], line["ci_low"], line["seeds"]) == ("", "", "0")
    assert float(line["value"]) == pytest.approx(METHOD[:, 0].mean())


def test_a_level_without_a_value_keeps_its_number(tmp_path):
    make(tmp_path, "BPR", [[np.nan, 0.4]] * 3)
    make(tmp_path, "DVR-BPR", METHOD)
    build_board(tmp_path, quiet=True)
    found = lines(tmp_path)
    assert list(found) == [("DVR-BPR", "level 2")]
    assert float(found["DVR-BPR", "level 2"]["backbone_value"]) == pytest.approx(0.4)


def test_a_board_without_groups_has_no_such_file(tmp_path):
    make_run(tmp_path, results={KEY: 0.1})
    build_board(tmp_path, quiet=True)
    assert not (tmp_path / "groups.csv").exists()
    assert "groups.csv" not in (tmp_path / "index.html").read_text()
    assert not list((tmp_path / "plots").glob("*gains*"))


def claims(folder, rows):
    text = f"""
papers:
  - paper: X
    page: x.md
    claims:
      - claim: few gain most
        paper_says: so
        evidence: [{{board: ., rows: {rows}, group: level 1 less level 2}}]
        because: reason.
"""
    (folder / "claims.yaml").write_text(text)
    return folder / "claims.yaml"


@pytest.mark.parametrize(
    ("method", "wanted"),
    [(METHOD, HOLDS), (PLAIN * [1.1, 1.5], FAILS), (PLAIN * [[1.2, 1], [1, 1.2], [1, 1]], OPEN)],
)
def test_a_claim_about_few_interactions_is_decided_by_the_interval(tmp_path, method, wanted):
    make(tmp_path, "BPR", PLAIN)
    make(tmp_path, "DVR-BPR", method)
    build_board(tmp_path, quiet=True)
    page = claims_page(claims(tmp_path, "[DVR-BPR]"), tmp_path)
    assert f"| X | few gain most | so | {wanted} |" in page
    assert "recall@10, gain of level 1 less level 2" in page
    with pytest.raises(RunFolderError, match="no line of TIL-BPR for level 1 less level 2"):
        claims_page(claims(tmp_path, "[TIL-BPR]"), tmp_path)
