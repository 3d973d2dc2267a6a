"""The boards that rebuild DVR's tables name methods, backbones and options that there are."""

from pathlib import Path

import pytest

from recbole_enhance.config import Config
from recbole_enhance.enhancer import ENHANCERS
from recbole_enhance.model import MODELS
from recbole_enhance.options import load_yaml

BOARDS = sorted((Path(__file__).parents[1] / "leaderboards").glob("dvr_*.yaml"))
METHODS = {"AOBPR", "WBPR", "PRIS", "TCE", "RCE", "TIL", "DVR"}


def rows_of(board):
    for row in board["models"]:
        row = {"model": row} if isinstance(row, str) else row
        model, _, backbone = row["model"].partition(":")
        yield model, row.get("backbone") or backbone or None, row.get("options", {})


def exists(model, backbone):
    return (model in ENHANCERS or model != "TIL") and (
        "MultiGCCF" not in (model, backbone) or "MultiGCCF" in MODELS
    )


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_each_row_of_a_board_passes_the_checks_of_a_run(path):
    board = load_yaml(path)
    assert board["seeds"] == [2020, 2021, 2022]
    for model, backbone, options in rows_of(board):
        if exists(model, backbone):
            pair = {"model": model, **({"backbone": backbone} if backbone else {})}
            # The checks read the header of a data file; ml-100k's is always there.
            Config(config_dict={**board["options"], **options, **pair, "dataset": "ml-100k"})


def test_the_boards_of_table_2_hold_all_methods_over_each_backbone():
    for name, backbones in (
        ("dvr_table2_ml-100k", ("BPR", "NeuMF", "LightGCN", "MultiGCCF")),
        ("dvr_table2_amazon-beauty", ("BPR", "LightGCN")),
    ):
        (path,) = [board for board in BOARDS if board.stem == name]
        rows = list(rows_of(load_yaml(path)))
        for backbone in backbones:
            methods = [model for model, over, _ in rows if over == backbone]
            assert set(methods) == METHODS
            assert (methods.count("TIL"), methods.count("DVR")) == (2, 3)
            assert (backbone, None, {}) in rows
