"""Upper ends of threads, processes and counts (cases C06 and C17)."""

import json
from pathlib import Path

import pytest

from recbole_enhance.cli.program import main
from recbole_enhance.enhancer import ENHANCERS
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.option_table import option_rows
from recbole_enhance.leaderboard.spec import read_board
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.limits import MOST_PAIRS, MOST_STEPS
from recbole_enhance.options.recbole_models import entries
from recbole_enhance.testing.worlds import run_toy, toy_options

MILLION = 10**6
OWN = ("BPR", "CER", "EFM", "MultiGCCF", "ProtoMF", "TransGNN")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"threads": str(MILLION)}, "threads=1000000: at most 1024"),
        ({"threads": "0"}, "threads=0: a whole number above 0 is expected"),
        ({"jobs": str(MILLION)}, "jobs=1000000: at most 256"),
        ({"tune.trials": "1000000000000"}, "tune.trials=1000000000000: at most 1000000"),
    ],
)
def test_a_board_says_no(option, said):
    options = {"models": "BPR", "dataset": "toy", "out": "board", **option}
    with pytest.raises(ValueError, match=f"^{said}$"):
        read_board(None, options)


@pytest.mark.parametrize("value", [MILLION, "x", -3, [1], 2.5, 0, True])
def test_a_stranger_cannot_choose_the_threads(toy, capsys, value):
    run_dir = Path(run_toy(toy, "Pop", epochs=1)["run_dir"])
    path = run_dir / "env.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "cpu_threads": value}))
    assert main(["reproduce", str(run_dir), "--quiet"]) == 2
    assert f"{path}: cpu_threads=" in capsys.readouterr().err
    assert not (run_dir / "reproduced").exists()


def test_threads_of_the_command_line_have_an_end(toy, capsys):
    run_dir = run_toy(toy, "Pop", epochs=1)["run_dir"]
    assert main(["reproduce", run_dir, f"--threads={MILLION}"]) == 2
    assert "threads=1000000: at most 1024" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"metric_decimal_place": 400},
            "metric_decimal_place=400: must not be below 0 or",
        ),
        ({"loss_decimal_place": 16}, "loss_decimal_place=16: must not be below 0 or above 15"),
        ({"worker": MILLION}, "worker=1000000: must not be below 0 or above 256"),
        ({"normalize_all": "x"}, "normalize_all=x: true or false is expected"),
        ({"clip_grad_norm": {"max_norm": float("nan")}}, "clip_grad_norm=.*max_norm and norm_type"),
        ({"clip_grad_norm": {"max_norm": 1, "norm_type": 0}}, "clip_grad_norm=.*are above 0"),
        ({"clip_grad_norm": {"max_norm": 1, "norm_type": -3}}, "clip_grad_norm=.*are above 0"),
        ({"eval_args": {"mode": "uni1000001"}}, "eval_args.mode=uni1000001: at most 1000000 neg"),
        (
            {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 10**12}},
            "train_neg_sample_args.sample_num=1000000000000: "
            "a whole number above 0 and at most 10000",
        ),
        ({"clip_grad_norm": {"max_norm": 10**400}}, "clip_grad_norm=.*a finite number is expected"),
        (
            {"eval_args": {"split": {"RS": [10**400, 1, 1]}}},
            "eval_args.*a finite number is expected",
        ),
        ({"learning_rate": 10**400}, "learning_rate=10+: a finite number is expected"),
        ({"epochs": "1:30"}, "epochs=1:30: "),
        ({"epochs": "010"}, "epochs=010: "),
        ({"model": "DVR", "dvr_units": 10**12}, "dvr_units=1000000000000: must be a whole number"),
        ({"model": "TIL", "til_clusters": 10**12}, "til_clusters=1000000000000: must be a whole"),
        (
            {"model": "IaCN", "iacn_iterations": 1001, "backbone": "SASRec"},
            "iacn_iterations=1001: ",
        ),
    ],
)
def test_numbers_have_ends(toy, options, said):
    with pytest.raises(OptionError, match=f"^{said}"):
        Config(config_dict={**toy_options(toy, "BPR"), **options})


def test_whole_numbers_of_every_schema_have_an_upper_end():
    rows = [row for model in (*ENHANCERS, *OWN) for row in option_rows(model)]
    endless = {
        row.name for row in rows if row.type.startswith("int") and row.range.endswith("inf)")
    }
    whole = {row.name for row in rows if row.type.startswith("int")}
    assert {"epochs", "train_batch_size", "rvrec_partitions", "activity_groups"} <= whole
    assert not endless
    ranges = [entry.range for entry in entries().values() if entry.type == "int"]
    assert len(ranges) > 50
    assert not [text for text in ranges if text.endswith("inf)")]


@pytest.mark.parametrize(
    ("option", "least"),
    [
        ("epochs", 0),
        ("eval_step", 0),
        ("stopping_step", 0),
        ("train_batch_size", 1),
    ],
)
def test_what_is_counted_in_steps_and_rows_ends_at_ten_million(toy, option, least):
    for value in (least, MOST_STEPS):
        assert Config(config_dict={**toy_options(toy, "BPR"), option: value})[option] == value
    for value in (least - 1, MOST_STEPS + 1, 10**30):
        with pytest.raises(OptionError, match=f"^{option}={value}: must .* 10000000 "):
            Config(config_dict={**toy_options(toy, "BPR"), option: value})


def test_pairs_that_are_scored_at_one_time_end_at_ten_thousand_million(toy):
    options = toy_options(toy, "BPR")
    for value in (1, MOST_PAIRS):
        assert Config(config_dict={**options, "eval_batch_size": value})["eval_batch_size"] == value
    for value in (0, MOST_PAIRS + 1):
        with pytest.raises(OptionError, match=f"^eval_batch_size={value}: must .* {MOST_PAIRS} "):
            Config(config_dict={**options, "eval_batch_size": value})
