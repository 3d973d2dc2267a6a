"""Boards as they are written: what is understood, and what is refused in one line."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.leaderboard.rows import RowSpec, split_pair
from recbole_enhance.leaderboard.spec import describe, overlay, read_board
from recbole_enhance.options.read import merge, nest

WORDS = {"models": "BPR,DVR:LightGCN", "dataset": "ml-100k", "seeds": "3", "out": "board"}


def spec(**changes):
    content = {"out": "board", "models": ["BPR"], "datasets": ["ml-100k"], **changes}
    Path("spec.yaml").write_text(yaml.safe_dump(content))
    return "spec.yaml"


def test_a_board_of_words_alone():
    board = read_board(None, {**WORDS, "epochs": "3", "eval_args.mode": "uni100", "jobs": "2"})
    assert board.rows == (RowSpec("BPR"), RowSpec("DVR", "LightGCN"))
    assert board.datasets == (("ml-100k", {}),)
    assert board.seeds == (2020, 2021, 2022)
    assert board.last == {"epochs": 3, "eval_args.mode": "uni100"}
    assert (board.out, board.name, board.jobs, board.tune) == (Path("board"), "board", 2, None)


def test_a_board_of_a_file_and_words_over_it():
    rows = [
        "BPR",
        {
            "model": "DVR",
            "backbone": "BPR",
            "name": "ild",
            "space": "space.yaml",
            "options": {"dvr_reward": "ild@10"},
            "config_files": "best.yaml",
        },
        {"model": "Pop", "tune": False},
    ]
    file = spec(
        models=rows,
        seeds=[7, 5],
        options={"epochs": 9},
        tune={"trials": 4},
        threads=1,
        datasets=["ml-100k", {"dataset": "toy", "options": {"topk": 5}}],
    )
    board = read_board(file, {"out": "other", "tune.trials": "6", "tune.storage": "sqlite:///x"})
    assert board.rows[1] == RowSpec(
        "DVR", "BPR", "ild", {"dvr_reward": "ild@10"}, ("best.yaml",), space="space.yaml"
    )
    assert not board.rows[2].tune
    assert board.datasets == (("ml-100k", {}), ("toy", {"topk": 5}))
    assert (board.seeds, board.out, board.threads) == ((7, 5), Path("other"), 1)
    assert board.tune == {"trials": 6, "storage": "sqlite:///x"}
    labels = [{"label": "BPR"}, {"label": "DVR-BPR"}, {"label": "Pop"}]
    written = yaml.safe_load(yaml.safe_dump(describe(board, labels)))
    assert written["rows"][1]["name"] == "ild"
    assert [row["tune"] for row in written["rows"]] == [True, True, False]
    assert written["seeds"] == [7, 5]


def test_names_that_are_numbers_to_yaml_are_names():
    rows = [{"model": "BPR", "name": 1}, {"model": "Pop", "name": 2, "against": 1}]
    board = read_board(spec(models=rows, out=2024, datasets=[7]), {})
    assert [(row.name, row.against) for row in board.rows] == [("1", None), ("2", "1")]
    assert (board.out, board.name, board.datasets) == (Path("2024"), "2024", (("7", {}),))


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("2", (2020, 2021)), ("[5]", (5,)), ("3,4", (3, 4)), ("[0, 4294967295]", (0, 2**32 - 1))],
)
def test_seeds_are_a_number_of_them_or_a_list(text, seeds):
    assert read_board(None, {**WORDS, "seeds": text}).seeds == seeds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modles": ["BPR"]}, "spec.yaml: modles: unknown key; did you mean models?"),
        ({"learning_rate": 1}, "learning_rate: unknown key .run options belong under options"),
        ({"out": None}, "out: the board's folder is missing: --out=DIR"),
        ({"models": []}, r"models=\[\]: a list is expected"),
        ({"models": "BPR"}, "models=BPR: a list is expected"),
        ({"models": [3]}, "models=3: a name is expected"),
        ({"models": ["BPR", "bpr"]}, "models: bpr is given twice|models: BPR is given twice"),
        ({"models": ["DVR:"]}, "models=DVR:: METHOD:BACKBONE"),
        ({"models": ["DVRR:BPR"]}, "DVRR:BPR: your own code, .* did you mean DVR?"),
        ({"models": ["json:BPR"]}, "models=json:BPR: your own code, and files never import"),
        ({"models": ["DVR:json:BPR"]}, "models=DVR:json:BPR: your own code"),
        ({"models": [{"model": "DVR", "backbone": "json:X"}]}, "models=DVR:json:X: your own code"),
        ({"models": [{"model": "DVR:BPR", "backbone": "X"}]}, "backbone=X is also given"),
        ({"models": [{"model": "BPR", "nmae": "x"}]}, "BPR: nmae: unknown key; did you mean name?"),
        ({"models": [{"model": "BPR", "name": "../x"}]}, "name=../x: letters, digits"),
        ({"models": [{"model": "BPR", "name": True}]}, "name=True: letters, digits"),
        ({"out": [3]}, r"out=\[3\]: text is expected"),
        ({"name": ["x"]}, r"name=\['x'\]: text is expected"),
        ({"name": 1.5}, "name=1.5: text is expected"),
        ({"datasets": [True]}, "datasets=True: a name, or a mapping with dataset"),
        ({"models": [{"model": "BPR", "tune": 3}]}, "tune=3: true or false"),
        ({"models": [{"model": "BPR", "config_files": 3}]}, "config_files=3: a list of files"),
        ({"models": [{"model": "BPR", "against": "x"}]}, "BPR: against=x: no row has this name"),
        ({"history_columns": {"x": 1}}, "history_columns={'x': 1}: a list of columns is expected"),
        ({"explain": {"truth": "mine"}}, "explain.truth=mine: must be one of positive, all"),
        ({"attack": {"targets": ["random"]}}, "targets=random: random needs features or params"),
        ({"attack": {"topk": "ten"}}, "attack.topk=ten: a number is expected"),
        ({"plotly": True}, "plotly=True: one of embed, shared"),
        ({"models": [{"model": "BPR", "options": {"seed": 3}}]}, "seed: not an option of a board"),
        ({"options": {"backbone": "json:X"}}, "options: backbone: not an option of a board"),
        ({"options": [3]}, r"options=\[3\]: a mapping"),
        ({"datasets": None}, "datasets=None: a list of names"),
        ({"datasets": ["a", "a"]}, "datasets: a is given twice"),
        ({"datasets": [{"dataset": "a", "topk": 3}]}, "topk: unknown key"),
        ({"datasets": [{"options": {}}]}, "a name, or a mapping with dataset"),
        ({"seeds": "many"}, "seeds=many: a list of different numbers is expected"),
        ({"seeds": ["a", 3]}, "seeds=a, 3: a list of different numbers"),
        ({"seeds": [1.5]}, "seeds=1.5: a list"),
        ({"seeds": [3, 3]}, "seeds=3, 3: a list of different numbers"),
        ({"seeds": [-1]}, "seeds=-1: a list"),
        ({"seeds": []}, "seeds=: a list"),
        ({"seeds": 2020}, r"seeds=2020: .* such as \[2020, 2021\], .* up to 100"),
        ({"seeds": True}, "seeds=True"),
        ({"jobs": 0}, "jobs=0: a whole number above 0"),
        ({"threads": "x"}, "threads=x: a whole number above 0"),
        (
            {"cluster": "tcp://h:1"},
            r"cluster=tcp://h:1: .*give --cluster=tcp://h:1 on the command line \(spec.yaml\)",
        ),
        (
            {"tune": {"trials": 1, "storage": "sqlite:///x"}},
            "tune.storage=sqlite:///x: .*give --tune.storage=sqlite:///x",
        ),
        ({"options": {"cluster": "tcp://h:1"}}, "cluster: not an option of a board"),
        ({"tune": 3}, "tune=3: a mapping such as"),
        ({"tune": {}}, "tune.trials=None: a whole number above 0"),
    ],
)
def test_what_cannot_be_a_board_is_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as told:
        read_board(spec(**changes), {})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"seeds": "1,x"}, "seeds=1, x: a list of different numbers"),
        ({"models": "DVRR:BPR"}, "did you mean DVR?"),
        ({"seed": "3"}, "the command line: seed: not an option of a board; it belongs in seeds"),
        ({"epochs": "[3"}, r"epochs=\[3: not a YAML value"),
        ({"cluster": "host"}, "cluster=host: an address such as tcp"),
    ],
)
def test_words_that_cannot_be_a_board_are_one_line(words, message):
    with pytest.raises(ValueError, match=message):
        read_board(None, {**WORDS, **words})


def test_a_method_before_the_colon_is_the_method_even_where_there_is_such_a_module(monkeypatch):
    Path("dvr.py").write_text("raise SystemExit('imported')")
    Path("mine.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(".")
    assert split_pair("dvr:BPR") == ("DVR", "BPR")
    assert split_pair("mine:BPR") == ("mine:BPR", None)  # and looking it up runs nothing
    assert split_pair("DVR:mine:BPR") == ("DVR", "mine:BPR")


KEYS = st.sampled_from(
    [
        "topk",
        "epochs",
        "eval_args.mode",
        "eval_args.order",
        "eval_args.split",
        "load_col.inter",
        "load_col.item",
    ]
)
LAYER = st.dictionaries(KEYS, st.integers(0, 9), max_size=4) | st.fixed_dictionaries(
    {"eval_args": st.dictionaries(st.sampled_from(["mode", "order"]), st.integers(0, 9))}
)


@given(st.lists(LAYER, max_size=4))
def test_overlaid_options_are_what_the_layers_are_one_by_one(layers):
    """Handed over as one layer of dotted keys, they merge into the same options."""
    base = ("base", {"eval_args": {"mode": "full", "order": "RO"}, "load_col": {"inter": ["u"]}})
    apart = merge([base, *((str(i), nest(layer)) for i, layer in enumerate(layers))])[0]
    together = merge([base, ("all", nest(overlay(*layers)))])[0]
    assert together == apart
