"""Every word of a command line is used, or refused."""

from pathlib import Path

import click
import pytest

from recbole_enhance.cli.command import Verb, Verbs
from recbole_enhance.cli.program import VERBS


def leaves(group, before=()):
    """Every verb, with the words that lead to it."""
    for name, verb in group.commands.items():
        if isinstance(verb, Verbs):
            yield from leaves(verb, (*before, name))
        else:
            yield (*before, name), verb


ALL = dict(leaves(VERBS))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_a_verb_refuses_what_it_has_no_use_for(refused, words):
    assert isinstance(ALL[words], Verb)
    many = [p for p in ALL[words].params if isinstance(p, click.Argument) and p.nargs == -1]
    folders = [f"folder{n}" for n in range(3)]
    if not many:
        assert "folder" in refused(*words, *folders) or "takes one" in refused(*words, *folders)
    if not ALL[words].takes_run_options:
        place = ["folder0"] if any(isinstance(p, click.Argument) for p in ALL[words].params) else []
        assert "--bogus: unknown option" in refused(*words, *place, "--bogus=1")
    assert "is not an option" in refused(*words, "-x")
    assert not list(Path().iterdir())


@pytest.mark.parametrize("words", [w for w in ALL if ALL[w].takes_run_options], ids=" ".join)
def test_a_verb_that_takes_options_of_a_run_refuses_others(toy, refused, words):
    Path("../lists.csv").write_text("user_id,item_id\nu1,i1\n")
    own = {
        ("leaderboard", "run"): ("--models=BPR", "--out=b"),
        ("data", "check"): ("toy",),
        ("evaluate",): ("../lists.csv",),
        ("frontier",): ("--model=DVR", "--metric=gini@5"),
    }.get(words, ("--model=BPR",))
    dataset = () if words == ("data", "check") else ("--dataset=toy",)
    base = (*words, *own, *dataset, f"--data_path={toy}")
    assert "bogus" in refused(*base, "--bogus=1")
    if words != ("config", "show"):
        assert "origin" in refused(*base, "--origin")
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("metric_decimal_place=400", "above 15"),
        ("clip_grad_norm={max_norm: .nan}", "max_norm: 5"),
        ("clip_grad_norm={max_norm: .inf}", "are above 0"),
        ("clip_grad_norm={max_norm: 1, norm_type: 0}", "are above 0"),
        ("clip_grad_norm={max_norm: 1, norm_type: -3}", "are above 0"),
        ("epochs=010", "a number is expected"),
        ("epochs=1:30", "a number is expected"),
        ("normalize_all=x", "true or false"),
    ],
)
def test_a_value_that_would_be_taken_for_another_is_refused(toy, refused, option, says):
    line = refused("--model=BPR", "--dataset=toy", f"--data_path={toy}", f"--{option}")
    assert says in line


def test_a_warm_up_is_of_whole_epochs(toy, refused):
    words = ("--model=DVR", "--dataset=toy", f"--data_path={toy}", "--dvr_warmup_epochs=1.5")
    assert "dvr_warmup_epochs=1.5: must be a whole number" in refused(*words)


def test_a_bad_value_of_a_board_names_its_file(toy, refused):
    Path("o.yaml").write_text("epochs: -1\n")
    words = ("--models=BPR", "--dataset=toy", f"--data_path={toy}", "--out=b")
    line = refused("leaderboard", "run", *words, "--config_files=o.yaml")
    assert line.endswith("BPR on toy: epochs=-1: must not be below 0 or above 10000000 (o.yaml)")


@pytest.mark.parametrize(
    "tuning",
    [
        {"trials": 1, "space": "nope"},
        {"trials": 1, "pruner": "bogus"},
        {"trials": 1, "storage": "bogus"},
        {"trials": 0},
    ],
    ids=str,
)
def test_a_board_that_cannot_be_tuned_writes_nothing(toy, refused, tuning):
    words = ("--models=BPR", "--dataset=toy", f"--data_path={toy}", "--out=b", "--epochs=1")
    arguments = [f"--tune.{key}={value}" for key, value in tuning.items()]
    key = list(tuning)[-1]
    assert key in refused("leaderboard", "run", *words, *arguments)
    assert not list(Path().iterdir())


def test_a_study_without_validation_is_none(toy, refused):
    words = ("--model=BPR", "--dataset=toy", f"--data_path={toy}", "--trials=1")
    for split in ("{RS: [0.9, 0, 0.1]}", "{LS: test_only}"):
        line = refused("tune", *words, f"--eval_args.split={split}")
        assert "no validation data" in line
    assert not list(Path().iterdir())
