import json
import time

import pytest

from recbole_enhance.cli.program import main
from recbole_enhance.experiment.assembly import assemble
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.estimate import Estimate, Seconds, _Stopwatch, estimate

OPTIONS = {"use_gpu": False, "show_progress": False}


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_parts_of_lightgcn_are_those_of_its_run(in_folder):
    told = estimate("LightGCN", "ml-100k", config_dict=OPTIONS, steps=3)
    assert list(in_folder.iterdir()) == []
    numbers = (944 + 1683) * 64
    assert told.parameters == numbers
    assert told.memory["parameters"] == pytest.approx(numbers * 4 / 2**20)
    assert told.memory["state of adam"] == pytest.approx(2 * numbers * 4 / 2**20)
    edges = 2 * told.size["interactions"]
    assert told.memory["graphs and other tables of the model"] > edges * (8 + 8 + 4) / 2**20
    assert told.size["users"] == 943
    assert told.epoch.parts == -(-told.size["interactions"] // 2048)
    assert 1 <= told.epoch.timed <= 3  # fewer where 20 s were over
    assert 0 < told.epoch.low <= told.epoch.median <= told.epoch.high
    assert told.validation.median > 0
    assert told.measured_mb > told.memory["Python and its libraries"] > 100
    assert sum(told.memory.values()) < 2 * told.measured_mb
    text = "\n".join(told.lines())
    assert "LightGCN on ml-100k: 943 users, 1,682 items, " in text
    assert f"quartiles of {told.epoch.timed} of {told.epoch.parts} steps" in text
    assert "at most " in text


def test_an_estimate_comes_near_the_run(in_folder):
    options = {**OPTIONS, "epochs": 2, "train_batch_size": 512, "embedding_size": 16}
    told = estimate("BPR", "ml-100k", config_dict=options, steps=60)
    run = assemble(Config("BPR", "ml-100k", config_dict=options))
    start = time.perf_counter()
    run.trainer.fit(run.train_data)
    seconds = (time.perf_counter() - start) / 2
    assert told.epoch.median / 5 < seconds < told.epoch.median * 5  # of a busy machine


def test_a_model_that_is_learnt_at_once_has_no_epoch(in_folder):
    told = estimate("ItemKNN", "ml-100k", config_dict=OPTIONS)
    assert told.epoch is None
    assert told.model > 0
    assert "the model is trained when it is built" in told.lines()[-1]


def test_the_state_of_other_optimisers_is_theirs(in_folder):
    sgd = {**OPTIONS, "learner": "sgd"}
    told = estimate("DVR", "ml-100k", config_dict={**sgd, "backbone": "BPR"}, steps=1)
    assert told.label == "DVR-BPR"
    assert told.memory["state of sgd"] == 0


def test_seconds_of_a_whole():
    assert Seconds.of([], 4) is None
    assert Seconds.of([2.0], 4, before=1.0) == (9.0, 9.0, 9.0, 1, 4)
    assert Seconds.of([1.0, 2.0, 3.0], 10) == (10.0, 20.0, 30.0, 3, 10)


def test_a_run_that_stops_early_is_told_beside_the_longest():
    part = Seconds(1.0, 2.0, 3.0, 5, 10)
    told = Estimate(
        *("BPR", "toy", {"users": 1, "items": 1, "interactions": 1}, 3, {"all": 1.0}, 2.0),
        *(1.0, 0.5, part, part, 100, 2, 3),
    )
    assert told.run_seconds(10) == 1.5 + 10 * 2 + (5 + 1) * 2
    assert told.lines()[-2].strip() == (
        "run: 34 s if it stops early (10 epochs), at most 5 min (100 epochs)"
    )
    assert json.loads(json.dumps(told.as_json()))["at_most_seconds"] == told.run_seconds(100)


def test_the_stopwatch_leaves_out_the_first_parts():
    watch = _Stopwatch(2)
    watch.ends = [1.0, 5.0, 6.0, 8.0]
    assert watch.parts() == [1.0, 2.0]
    watch.ends = [1.0, 5.0]
    assert watch.parts() == [4.0]


def test_the_verb_prints_and_writes(in_folder, capsys):
    words = ["--model=BPR", "--dataset=ml-100k", "--use_gpu=False", "--steps=2"]
    assert main(["estimate", *words, "--json=told.json"]) == 0
    assert "an epoch" in capsys.readouterr().out
    assert json.loads((in_folder / "told.json").read_text())["label"] == "BPR"
    assert main(["estimate", "--model=BPR", "--dataset=ml-100k", "--steps=0"]) == 2
    assert "steps=0: a whole number above 0 is expected" in capsys.readouterr().err
