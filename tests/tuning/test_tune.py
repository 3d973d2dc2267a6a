"""The verb and the function ``tune``: what is searched, kept, resumed and shared."""

import json
import shutil
import sys
from pathlib import Path

import optuna
import pytest
import yaml
from tuning_workers import (
    SPACE,
    options,
    rows,
    values,
)

from recbole_enhance.cli.program import main
from recbole_enhance.experiment import assembly, quick_start
from recbole_enhance.testing.worlds import feature_toy_options, run_toy
from recbole_enhance.tuning import study as engine
from recbole_enhance.tuning import tune, workers


def search(toy, trials=3, out="out", model="BPR", space=SPACE, **keys):
    said = {
        key: keys.pop(key)
        for key in list(keys)
        if key not in ("storage", "study", "jobs", "pruner")
    }
    return tune.tune(options(toy, model, **said), Path(out), trials, space, quiet=True, **keys)


def told(out="out"):
    return json.loads((Path(out) / "tuning.json").read_text())


@pytest.fixture
def fake(monkeypatch):
    """Replace the training by a function of the options; scores per epoch may be a list."""

    def install(score):
        calls = []

        def validate(config, callback_fn=None):
            calls.append(config.options)
            curve = score(config.options, len(calls))
            curve = curve if isinstance(curve, list) else [curve]
            for epoch, value in enumerate(curve):
                callback_fn(epoch, value)
            return {"best_valid_score": max(curve)}

        monkeypatch.setattr(workers, "validate", validate)
        return calls

    return install


# ---- results -------------------------------------------------------------------------------


def test_the_best_is_the_best_on_validation_and_a_run_of_it_scores_the_same(toy):
    best = search(toy)
    table, about = rows(), told()
    assert [row["state"] for row in table] == ["complete"] * 3
    assert about["trials"] == {
        "asked": 3,
        "complete": 3,
        "pruned": 0,
        "failed": 0,
        "running": 0,
        "lost": 0,
    }
    scores = [float(row["value"]) for row in table]
    top = table[scores.index(max(scores))]
    assert about["best"]["number"] == int(top["number"])
    assert float(top["learning_rate"]) == best["learning_rate"]
    assert about["metric"] == "NDCG@5"
    assert about["direction"] == "maximize"
    assert about["storage"] == "study.db"  # no folder of the machine's
    assert about["space"]["embedding_size"] == {"choice": [4, 8]}
    written = yaml.safe_load(Path("out/best.yaml").read_text())
    assert written == {"model": "BPR", "dataset": "toy", **best}
    rerun = quick_start.run_recbole_enhance(
        config_file_list=["out/best.yaml"],
        config_dict={**options(toy), "show_progress": False, "model": "BPR"},
    )
    assert rerun["best_valid_score"] == max(scores)


def test_the_verb_prints_the_best_and_composes_with_the_run(toy, capsys):
    Path("toy.yaml").write_text(yaml.safe_dump({**options(toy, "DVR"), "epochs": 1}))
    Path("my.hyper").write_text("dvr_exploration choice [0.0, 0.5]\nlearning_rate uniform 0.01,0.1")
    words = ["--model=DVR", "--backbone=BPR", "--config_files=toy.yaml"]
    assert main(["tune", *words, "--space=my.hyper", "--trials=2", "--pruner=none"]) == 0
    out = capsys.readouterr().out
    assert "2 trials: 2 complete" in out
    assert "best options: tuning/toy/DVR-BPR/best.yaml" in out
    assert len(rows("tuning/toy/DVR-BPR")) == 2
    assert Path("tuning/toy/DVR-BPR/tuning.html").is_file()
    files = "--config_files=toy.yaml,tuning/toy/DVR-BPR/best.yaml"
    assert main(["config", "show", files, "--origin"]) == 0
    shown = capsys.readouterr().out
    assert "model = DVR" in shown
    assert "# tuning/toy/DVR-BPR/best.yaml" in next(
        line for line in shown.splitlines() if line.startswith("dvr_exploration")
    )


def test_the_page_shows_text_as_text(toy, fake):
    fake(lambda o, n: o["learning_rate"])
    nasty = "</script><script>alert(1)</script>"
    space = {"learning_rate": {"uniform": [0.1, 0.2]}, "rer_params": [nasty, "embedding"]}
    said = options(toy, "RER", backbone="BPR", rer_target="params")
    tune.tune(said, "out", 6, space, quiet=True, page=True)
    page = Path("out/tuning.html").read_text()
    assert "NDCG@5" in page
    assert "rer_params" in page
    assert "<script>alert" not in page
    assert {row["rer_params"] for row in rows()} == {nasty, "embedding"}
    assert yaml.safe_load(Path("out/best.yaml").read_text())["rer_params"] in (nasty, "embedding")


class Untouchable:
    """Test data that must not be looked at."""

    def __getattr__(self, name):
        raise AssertionError(f"test data: {name}")

    def __len__(self):
        raise AssertionError("test data: their length")

    def __iter__(self):
        raise AssertionError("test data: their batches")


@pytest.mark.parametrize("model", ["BPR", "DVR", "EASE"])
def test_no_trial_looks_at_the_test_data(toy, model, monkeypatch):
    prepare = assembly.prepare_data
    monkeypatch.setattr(assembly, "prepare_data", lambda *a: (*prepare(*a)[:2], Untouchable()))
    with pytest.raises(AssertionError):
        run_toy(toy, "BPR", saved=False)  # a run does look
    space = {"reg_weight": [1.0, 10.0]} if model == "EASE" else SPACE
    search(toy, 2, model=model, space=space)
    assert [row["state"] for row in rows()] == ["complete"] * 2


def test_a_smaller_metric_is_minimised(toy):
    search(toy, 3, metrics=["NDCG", "GiniIndex"], valid_metric="GiniIndex@5")
    scores = [float(row["value"]) for row in rows()]
    assert told()["direction"] == "minimize"
    assert told()["best"]["value"] == min(scores) < max(scores)


@pytest.mark.parametrize(
    ("model", "space", "count"),
    [("Pop", None, 1), ("ItemKNN", {"k": [5, 10]}, 2), ("EASE", {"reg_weight": [1.0, 9.0]}, 2)],
)
def test_models_of_one_fit(toy, model, space, count):
    search(toy, 5, model=model, space=space)
    assert len(rows()) == count  # no more trials than there are different ones
    assert {row["state"] for row in rows()} == {"complete"}


def test_a_model_without_validation_in_training_is_judged_by_its_last_epoch(reviews):
    said = feature_toy_options(reviews, "EFM", epochs=2)
    tune.tune(said, "out", 2, {"efm_alpha": [0.0, 1.0]}, quiet=True)
    assert [row["state"] for row in rows()] == ["complete"] * 2
    assert all(float(row["value"]) > 0 for row in rows())


def test_the_same_options_are_not_trained_twice(toy, fake):
    calls = fake(lambda o, n: o["embedding_size"])
    search(toy, 9, space={"embedding_size": [4, 8], "weight_decay": [0.0, 0.1]})
    tried = {(o["embedding_size"], o["weight_decay"]) for o in calls}
    assert len(calls) == len(tried) <= 4 == len(rows())


@pytest.mark.parametrize("budgets", [[4], [20], [2, 20]], ids=str)
def test_every_setting_of_a_small_space_is_tried_once(toy, fake, budgets):
    calls = fake(lambda o, n: o["embedding_size"])
    space = {"embedding_size": [4, 8], "weight_decay": {"quniform": [0.0, 0.5, 0.25]}}
    for trials in budgets:
        search(toy, trials, space=space)
    tried = [(o["embedding_size"], o["weight_decay"]) for o in calls]
    assert len(tried) == len(set(tried)) == min(trials, 6) == len(rows())
    assert {row["state"] for row in rows()} == {"complete"}


def test_a_failed_setting_is_not_trained_again(toy, fake):
    def fails(options, n):
        if options["embedding_size"] == 4:
            raise ValueError("no")
        return 1.0

    calls = fake(fails)
    search(toy, 9, space={"embedding_size": [4, 8]})
    assert sorted(o["embedding_size"] for o in calls) == [4, 8]


def test_a_folder_with_a_percent_sign_holds_its_study(toy, fake):
    fake(lambda o, n: 1.0)
    search(toy, 1, out="data%41")
    assert Path("data%41", "study.db").is_file()
    assert not Path("dataA").exists()


# ---- what goes wrong in a trial ------------------------------------------------------------


def test_a_trial_below_the_median_is_pruned_and_kept(toy, fake):
    fake(lambda o, n: [0.9 if n <= 5 else 0.1] * 8)
    search(toy, 8)
    assert [row["state"] for row in rows()] == ["complete"] * 5 + ["pruned"] * 3
    assert told()["trials"]["pruned"] == 3
    search(toy, 8, "none", pruner="none")
    assert [row["state"] for row in rows("none")] == ["complete"] * 8


def test_a_training_that_diverges_is_a_failed_trial_with_its_reason(toy):
    search(toy, 6, space={"learning_rate": {"choice": [0.01, 1e30]}, "embedding_size": [4, 8, 9]})
    failed = [row for row in rows() if row["state"] == "failed"]
    assert failed
    assert len(failed) < 6
    for row in failed:
        assert row["learning_rate"] == "1e+30"
        assert "learning_rate=1e+30 may be too high for BPR" in row["reason"]
    assert told()["best"]["options"]["learning_rate"] == 0.01


@pytest.mark.parametrize(
    "error", [MemoryError("no"), RuntimeError("CUDA out of\nmemory"), KeyError("x")]
)
def test_whatever_a_training_dies_of_the_study_goes_on(toy, fake, error):
    def score(o, n):
        if n == 2:
            raise error
        return 0.5

    fake(score)
    search(toy, 3)
    assert [row["state"] for row in rows()] == ["complete", "failed", "complete"]
    assert rows()[1]["reason"].startswith(f"{type(error).__name__}: ")
    assert "\n" not in rows()[1]["reason"]


def test_all_trials_failed_is_an_error_and_leaves_the_reasons(toy, fake):
    fake(lambda o, n: float("nan"))
    with pytest.raises(ValueError, match=r"none of 2 trials was completed; .*nan"):
        search(toy, 2)
    assert [row["state"] for row in rows()] == ["failed"] * 2
    assert told()["best"] is None
    assert not Path("out/best.yaml").exists()


# ---- going on ------------------------------------------------------------------------------


def test_a_second_call_goes_on_to_the_total_and_a_finished_one_returns(toy, fake):
    calls = fake(lambda o, n: -o["learning_rate"])
    search(toy, 3)
    search(toy, 7)
    assert len(calls) == 7
    best = search(toy, 7)
    assert len(calls) == 7
    assert best["learning_rate"] == min(o["learning_rate"] for o in calls)
    search(toy, 7, "whole")
    assert values("whole") == values()  # in one go or in two, the same trials


def test_ctrl_c_loses_the_trial_in_flight_and_the_next_call_runs_it_again(toy, fake):
    def interrupted(o, n):
        if n == 3:
            raise KeyboardInterrupt
        return o["learning_rate"]

    fake(interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(toy, 5)
    fake(lambda o, n: o["learning_rate"])
    search(toy, 5)
    assert [row["state"] for row in rows()].count("lost") == 1
    assert told()["trials"]["complete"] == 5
    search(toy, 5, "whole")
    assert values() == values("whole")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 9}, "options: epochs was 3 and is 9 now"),
        ({"seed": 1}, "options: seed was 2020 and is 1 now"),
        ({"pruner": "none"}, "pruner was median and is none now"),
        ({"space": {"learning_rate": [0.1]}}, "space: embedding_size was"),
    ],
)
def test_a_study_of_other_options_or_another_space_is_refused(toy, fake, change, message):
    fake(lambda o, n: 0.5)
    search(toy, 1)
    before = rows()
    with pytest.raises(ValueError, match="study=BPR-toy: ") as error:
        search(toy, 2, **change)
    assert message in str(error.value)
    assert rows() == before


def test_changed_data_are_refused(toy, fake, tmp_path):
    fake(lambda o, n: 0.5)
    data = tmp_path / "copy"
    shutil.copytree(toy, data)
    search(data, 1)
    with open(data / "toy" / "toy.inter", "a") as file:
        file.write("u0\ti0\t5\t1\n")
    with pytest.raises(ValueError, match=r"data: toy.inter was"):
        search(data, 2)


def test_a_trial_of_a_machine_that_is_gone_is_run_again(toy, fake, monkeypatch):
    fake(lambda o, n: o["learning_rate"])
    monkeypatch.setattr(engine, "GRACE", 1)
    search(toy, 2)
    url = f"sqlite:///{Path('out/study.db').resolve()}"
    storage = optuna.storages.RDBStorage(url, heartbeat_interval=1, grace_period=1)
    study = optuna.load_study(study_name="BPR-toy", storage=storage)
    gone = study.ask()
    gone.set_user_attr("worker", "elsewhere:1:1.0:x")
    gone.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
    storage.record_heartbeat(gone._trial_id)
    search(toy, 4)  # waits until the heartbeat is old
    table = rows()
    assert [row["state"] for row in table] == ["complete"] * 2 + ["lost"] + ["complete"] * 2
    again = next(row for row in table[3:] if row["learning_rate"] == table[2]["learning_rate"])
    assert again["embedding_size"]
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        gone.report(1.0, 1)  # what comes back from the dead is refused


# ---- saying no -----------------------------------------------------------------------------

ML = ["--model=BPR", "--dataset=ml-100k"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*ML, "--trials=0"], "trials=0: a whole number above 0"),
        ([*ML, "--trials=many"], "trials=many: a whole number above 0"),
        ([*ML, "--jobs=0"], "jobs=0: a whole number above 0"),
        ([*ML, "--pruner=hyper"], "pruner=hyper: one of median, none"),
        ([*ML, "--run_dir=x"], "run_dir=x: trials leave no run folder"),
        ([*ML, "--space=no.yaml"], "search space no.yaml: no such file"),
        ([*ML, "--space=no.hyper"], "search space no.hyper: no such file"),
        ([*ML, "--space=/dev/null"], "search space /dev/null: is not a regular file"),
        (["--model=BPR"], "--dataset=NAME is missing"),
        (["--model=BPPR", "--dataset=ml-100k"], "did you mean BPR?"),
        ([*ML, "--learnng_rate=1"], "did you mean learning_rate?"),
        ([*ML, "--storage=sqlite://"], "storage=sqlite://: a database in memory"),
        ([*ML, "--storage=nonsense"], "storage: an address as sqlite:///FILE"),
        ([*ML, "--storage=oracl://x/y"], "storage=oracl://x/y"),
        ([*ML, "--storage=sqlite:////nowhere/at/all.db"], "storage=sqlite:////nowhere/at/all.db"),
        (
            [*ML, "--storage=postgresql+psycopg://me:secret@127.0.0.1:1/x"],
            "storage=postgresql+psycopg://me:***@127.0.0.1:1/x: does not answer",
        ),
    ],
)
def test_bad_input_is_one_line(words, message, capsys):
    assert main(["tune", *words]) == 2
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("recbole-enhance: error: ")
    assert message in err
    assert "secret" not in err
    assert not list(Path(".").iterdir())


def test_a_file_that_is_no_database(toy):
    Path("out").mkdir()
    Path("out/study.db").write_text("not a database, but text that is long enough" * 99)
    with pytest.raises(ValueError, match=r"storage=.*study.db: does not answer: .*not a database"):
        search(toy)


def test_a_study_that_is_not_ours(toy):
    Path("out").mkdir()
    optuna.create_study(storage="sqlite:///out/study.db", study_name="BPR-toy").ask()
    with pytest.raises(ValueError, match="study=BPR-toy: was not made by `tune`"):
        search(toy)


def test_without_optuna_the_extra_is_named(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r"needs optuna .* -m pip install .*optuna>=4\.9"):
        search(toy)


def test_no_validation_data_is_each_trials_failure(toy):
    with pytest.raises(ValueError, match="no validation data"):
        search(toy, 1, eval_args={"split": {"LS": "test_only"}, "order": "TO"})


def test_trials_of_strength_0_select_on_the_same_interactions_as_the_others(toy, fake):
    calls = fake(lambda options, _: options["dvr_strength"] + 0.1)
    space = {"dvr_strength": [0, 0.1]}
    assert search(toy, trials=2, model="DVR", space=space) == {"dvr_strength": 0.1}
    assert sorted(call["dvr_strength"] for call in calls) == [0, 0.1]
    assert {call["dvr_judges"] for call in calls} == {0.5}
    search(toy, trials=2, model="DVR", space=space, dvr_judges=0.3, out="own")
    assert {call["dvr_judges"] for call in calls[2:]} == {0.3}
