"""``leaderboard compare``: any two rows, with the tests of a board."""

import numpy as np
import pytest

from recbole_enhance.cli.program import main
from recbole_enhance.leaderboard import analysis, collect, protocol
from recbole_enhance.leaderboard.against import compare_pair
from recbole_enhance.leaderboard.users import Users
from recbole_enhance.testing.made_runs import make_run


@pytest.fixture
def board(tmp_path):
    for label, lift in (("BPR", 0.0), ("DVR-BPR", 0.03), ("EASE", 0.1)):
        for seed in (1, 2, 3):
            draw = np.random.default_rng(seed)
            recall, gini = draw.random(200) / 2, draw.random(200) / 2
            users = {"recall@10": recall + lift + 0.01 * draw.random(200), "giniindex@10": gini}
            make_run(tmp_path, label, seed, users=users)
    return tmp_path


def test_a_method_and_its_backbone_get_what_the_board_gives_them(board):
    """But for Holm, whose family is the pair's metrics alone."""
    collected = collect.collect(board)
    (table,) = protocol.tables(collected.runs)
    made = analysis.analyse(table, collected)
    rows = {row.title: row for row in made.rows}
    pair = [rows["DVR-BPR"], rows["BPR"]]
    for ours, boards in zip(compare_pair(*pair, made.measures, Users(pair)), made.comparisons):
        assert (ours.measure, ours.seeds, ours.users) == (
            boards.measure,
            boards.seeds,
            boards.users,
        )


def test_two_models_are_compared_in_the_terminal(board, capsys):
    words = ["leaderboard", "compare", str(board), "--row=EASE", "--base=DVR-BPR"]
    assert main([*words, "--metrics=recall@10"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "toy: EASE against DVR-BPR, seeds 1, 2, 3"
    assert said[2].startswith("Recall@10")
    assert "+0.07" in said[2]
    assert said[2].endswith("▲")
    assert len(said) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--row=EASE"], "--base=TITLE is missing"),
        (["--row=EASE", "--base=BRP"], "base=BRP: one of"),
        (["--row=EASE", "--base=EASE"], "base=EASE: another row"),
        (["--row=EASE", "--base=BPR", "--metrics=recal@10"], "did you mean recall@10?"),
    ],
)
def test_what_is_wrong_is_one_line(board, capsys, words, message):
    assert main(["leaderboard", "compare", str(board), *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_rows_without_a_common_seed_are_refused(tmp_path, capsys):
    make_run(tmp_path, "BPR", 1, {"recall@10": 0.1})
    make_run(tmp_path, "EASE", 2, {"recall@10": 0.2})
    assert main(["leaderboard", "compare", str(tmp_path), "--row=EASE", "--base=BPR"]) == 2
    assert "EASE and BPR have no seed in common" in capsys.readouterr().err
