"""The boards in leaderboards/ name methods, backbones and options that there are."""

from pathlib import Path

import pytest

from recbole_enhance.leaderboard.cells import resolve
from recbole_enhance.leaderboard.spec import read_board
from recbole_enhance.options.read import load_yaml

BOARDS = sorted((Path(__file__).parents[1] / "leaderboards").glob("*.yaml"))
METHODS = {"AOBPR", "WBPR", "PRIS", "TCE", "RCE", "TIL", "DVR"}  # of DVR's Table 2
REWARDS = {"loss", "recall@20", "ndcg@20"}


def rows_of(board):
    for row in board["models"]:
        row = {"model": row} if isinstance(row, str) else row
        model, _, backbone = row["model"].partition(":")
        yield model, row.get("backbone") or backbone or None, row.get("options", {})


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_each_row_of_a_board_passes_the_checks_of_a_run(path, tmp_path):
    # The checks read the header of a data file; ml-100k's is always there, without variants.
    words = {"dataset": "ml-100k", "variant": "null", "out": str(tmp_path)}
    options = load_yaml(path)["options"]
    if options.get("variant") == "ctr":
        words["eval_args.mode"] = "uni1"
    else:
        words["valid_metric"] = f"NDCG@{options['topk'][0]}"
    board = read_board(str(path), words)
    # A point of a curve has one seed; what is chosen of the curves has a board with five.
    seeds = (2020,) if path.stem.startswith("dvr_curves_") else (2020, 2021, 2022)
    assert board.seeds[:3] == seeds
    assert len(resolve(board)) == len(board.rows) * len(board.seeds)


@pytest.mark.parametrize(
    ("name", "backbones"),
    [
        ("dvr_table2_ml-100k", ("BPR", "NeuMF", "LightGCN", "MultiGCCF")),
        ("amazon-beauty", ("BPR",)),
    ],
)
def test_the_boards_of_table_2_hold_all_methods_over_each_backbone(name, backbones):
    (path,) = [board for board in BOARDS if board.stem == name]
    rows = list(rows_of(load_yaml(path)))
    for backbone in backbones:
        over = [(model, options) for model, under, options in rows if under == backbone]
        assert {model for model, _ in over} >= METHODS
        assert {o["til_mode"] for model, o in over if model == "TIL"} == {"ui", "mi"}
        assert {o["dvr_reward"] for model, o in over if model == "DVR"} >= REWARDS
        plain = [options for model, under, options in rows if (model, under) == (backbone, None)]
        assert any(set(options) <= {"learning_rate", "epochs"} for options in plain)


def test_the_rewards_of_tables_3_and_4_are_on_amazon_beauty():
    (path,) = [board for board in BOARDS if board.stem == "amazon-beauty"]
    rewards = {
        o["dvr_reward"]
        for model, under, o in rows_of(load_yaml(path))
        if (model, under) == ("DVR", "BPR")
    }
    assert rewards >= {"cc@20", "ild@20", "gini@20"}
