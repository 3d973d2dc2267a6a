"""Boards that run: folders, what is kept, what fails, and equality with a run alone."""

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import calling
import pytest
import torch
import yaml

from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.leaderboard import cells, run
from recbole_enhance.leaderboard.local import run_here
from recbole_enhance.storage.run_folder import RunFolder
from recbole_enhance.testing.worlds import TOY, run_toy

ROOT = Path(__file__).parents[2]
SMALL = {"dvr_units": 10, "dvr_reward": "ndcg@5", "dvr_update_interval": 2, "dvr_reward_users": 20}
call = functools.partial(calling.call, "leaderboard")


@pytest.fixture(autouse=True)
def _no_pages(monkeypatch):
    """Pages have tests of their own."""
    monkeypatch.setattr(run, "_build_pages", lambda out, quiet: True)


@pytest.fixture
def spec(toy):
    """Writes ``spec.yaml`` over the small world."""
    options = {key: value for key, value in TOY.items() if key != "dataset"}

    def write(models=("BPR", "DVR:BPR"), **changes):
        small = SMALL if "DVR" in str(models) else {}
        content = {
            "out": "board",
            "models": list(models),
            "datasets": ["toy"],
            "seeds": 2,
            "threads": 1,
            "options": {**options, **small, "data_path": str(toy), **changes.pop("options", {})},
            **changes,
        }
        Path("spec.yaml").write_text(yaml.safe_dump(content))
        return "spec.yaml"

    return write


def metrics(path):
    """What must be equal between two runs of one cell: everything but time and memory."""
    report = json.loads((Path(path) / "metrics.json").read_text())
    costs = ("seconds", "train_seconds_per_epoch", "peak_memory_mb")
    return {key: value for key, value in report.items() if key not in costs}


def same_bits(one, other):
    names = ("per_user.csv.gz", "config.yaml")
    assert metrics(one) == metrics(other)
    for name in names:
        first, second = ((Path(p) / name).read_bytes() for p in (one, other))
        if name == "config.yaml":
            first, second = (yaml.safe_load(text) for text in (first, second))
            for options in (first, second):
                options.pop("data_path")
        assert first == second
    states = [torch.load(Path(p) / "model.pt", weights_only=True) for p in (one, other)]
    for key, tensor in states[0]["state_dict"].items():
        assert torch.equal(tensor, states[1]["state_dict"][key])


def stamps(folder="board"):
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("metrics.json")}


def test_every_cell_is_a_run_folder_and_is_kept(spec):
    status, out, err = call("run", spec())
    assert status == 0
    places = {str(p.relative_to("board/cells/toy")) for p in Path("board/cells").glob("*/*/*")}
    assert places == {"BPR/2020", "BPR/2021", "DVR-BPR/2020", "DVR-BPR/2021"}
    assert "BPR on toy, seed 2020: finished in" in err
    assert "(4 of 4)" in err
    assert "epoch 0" not in err
    assert out.split()[:4] == ["dataset", "model", "seeds", "failed"]  # over names as short as toy
    assert [line.split()[:4] for line in out.splitlines()[1:]] == [
        ["toy", "BPR", "2", "0"],
        ["toy", "DVR-BPR", "2", "0"],
    ]
    board = yaml.safe_load(Path("board/board.yaml").read_text())
    assert [row["label"] for row in board["rows"]] == ["BPR", "DVR-BPR"]
    assert load_run("board/cells/toy/DVR-BPR/2021").config["seed"] == 2021
    before = stamps()
    again = call("run", spec(), "--seeds=3", "--quiet")
    assert again == (0, "", "")
    assert before.items() <= stamps().items()
    assert len(stamps()) == 6
    assert not list(Path("board").rglob(".*"))


@pytest.mark.slow
def test_a_cell_after_others_is_the_cell_alone_bit_for_bit(spec):
    models = ["BPR", "LightGCN", "SASRec", "DVR:BPR", "Pop"]
    assert call("run", spec(models, seeds=1), "--quiet", "--out=one")[0] == 0
    assert call("run", spec(models[::-1], seeds=1), "--quiet", "--jobs=2", "--out=two")[0] == 0
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch; torch.set_num_threads(1)\n"
        "from recbole_enhance.compat import mends; mends.apply()\n"
        "from recbole_enhance.experiment.quick_start import run_recbole_enhance\n"
        "run_recbole_enhance(config_file_list=[sys.argv[2]], config_dict={'run_dir': sys.argv[3]})"
    )
    for label in ("LightGCN", "DVR-BPR", "Pop"):
        path = f"cells/toy/{label}/2020"
        words = [str(ROOT), f"one/{path}/config.yaml", f"alone/{label}"]
        command = [sys.executable, "-W", "ignore", "-c", script, *words]
        subprocess.run(command, check=True, capture_output=True)
        same_bits(f"alone/{label}", f"one/{path}")
    for path in Path("one/cells").glob("*/*/*"):
        same_bits(path, Path("two", *path.parts[1:]))


def test_a_failed_cell_is_a_file_with_its_reason_and_the_rest_goes_on(spec):
    models = [{"model": "BPR", "name": "wild", "options": {"learning_rate": 1e38}}, "BPR"]
    status, out, err = call("run", spec(models, seeds=1))
    assert status == 1, err
    (path,) = Path("board").rglob("failure.json")
    assert path.parent == Path("board/cells/toy/BPR-wild/2020")
    assert [entry.name for entry in path.parent.iterdir()] == ["failure.json"]
    failure = json.loads(path.read_text())
    assert failure["reason"].startswith("training loss is nan in epoch")
    assert failure["options"]["learning_rate"] == 1e38
    told = [failure[key] for key in ("label", "backbone", "dataset", "seed", "name")]
    assert told == ["BPR", "BPR", "toy", 2020, "wild"]
    assert "BPR (wild) on toy, seed 2020: failed: training loss" in err
    assert "  failed: training loss" in out
    assert Path("board/cells/toy/BPR/2020/metrics.json").is_file()
    models[0]["options"]["learning_rate"] = 0.01  # mended, and only that cell runs
    before = stamps()
    assert call("run", spec(models, seeds=1))[0] == 0
    assert not list(Path("board").rglob("failure.json"))
    assert before.items() <= stamps().items()


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_is_a_failure_and_a_full_disk_keeps_the_epochs(spec, monkeypatch, error):
    save = RunFolder.save_tensors

    def full(self, name, content):
        save(self, name, content)
        if content["epoch"] == 1 and name == "checkpoint.pt":
            raise error

    monkeypatch.setattr(RunFolder, "save_tensors", full)
    assert call("run", spec(["BPR"], seeds=1), "--quiet")[0] == 1
    place = Path("board/cells/toy/BPR/2020")
    reason = json.loads((place / "failure.json").read_text())["reason"]
    assert reason.startswith(f"{type(error).__name__}: ")
    assert (place / "checkpoint.pt").is_file()

    def no_memory(*_, **__):
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", no_memory)
        assert call("run", spec(["BPR"], seeds=1), "--quiet")[0] == 1
    assert (place / "checkpoint.pt").is_file()
    monkeypatch.setattr(RunFolder, "save_tensors", save)
    assert call("run", spec(["BPR"], seeds=1), "--quiet")[0] == 0
    assert "resumed after epoch 1" in (place / "run.log").read_text()
    assert call("run", spec(["BPR"], seeds=1), "--quiet", "--out=other")[0] == 0
    same_bits(place, "other/cells/toy/BPR/2020")

    monkeypatch.setattr(RunFolder, "save_tensors", full)
    assert call("run", spec(["BPR"], seeds=1), "--quiet", "--out=changed")[0] == 1
    monkeypatch.setattr(RunFolder, "save_tensors", save)
    changed = Path("changed/cells/toy/BPR/2020")
    assert (changed / "checkpoint.pt").is_file()
    words = ["--quiet", "--out=changed", "--learning_rate=0.5"]
    assert call("run", spec(["BPR"], seeds=1), *words)[0] == 0
    assert "resumed" not in (changed / "run.log").read_text()
    assert yaml.safe_load((changed / "config.yaml").read_text())["learning_rate"] == 0.5

    def broken(**_):
        raise KeyError("odd")

    monkeypatch.setattr(cells, "run_recbole_enhance", broken)
    assert call("run", spec(["BPR"], seeds=1), "--quiet", "--out=third")[0] == 1
    (path,) = Path("third").rglob("failure.json")
    assert json.loads(path.read_text())["reason"] == "KeyError: 'odd'"


def test_a_stopped_board_goes_on_where_it_was(spec, monkeypatch):
    from recbole_enhance.training.trainer import EnhancedTrainer

    end = EnhancedTrainer._end_epoch

    def stop(self, epoch):
        end(self, epoch)
        if self.config["seed"] == 2021 and epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(EnhancedTrainer, "_end_epoch", stop)
    assert call("run", spec(["BPR"]))[0] == 130
    assert not Path("board/.lock").exists()
    before = stamps()
    assert len(before) == 1
    monkeypatch.setattr(EnhancedTrainer, "_end_epoch", end)
    assert call("run", spec(["BPR"]), "--quiet")[0] == 0
    assert before.items() <= stamps().items()
    assert "resumed after epoch 1" in Path("board/cells/toy/BPR/2021/run.log").read_text()
    assert call("run", spec(["BPR"]), "--quiet", "--out=whole")[0] == 0
    same_bits("board/cells/toy/BPR/2021", "whole/cells/toy/BPR/2021")


def test_what_cannot_be_continued_starts_over(spec):
    """Training in stages, of ConvNCF for one, RecBole cannot continue."""
    place = Path("board/cells/toy/BPR/2020")
    assert call("run", spec(["BPR"], seeds=1), "--quiet")[0] == 0
    (place / "metrics.json").unlink()

    def stages(path, **_):
        if path == place.absolute():
            raise cells.NotResumableError("trains in stages")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "resume_run", stages)
        assert call("run", spec(["BPR"], seeds=1), "--quiet")[0] == 0
    assert "resumed" not in (place / "run.log").read_text()


def test_other_options_than_those_of_a_finished_cell_are_refused(spec):
    assert call("run", spec(["BPR"], seeds=1), "--quiet")[0] == 0
    before = stamps(), Path("board/board.yaml").read_text()
    status, out, err = call("run", spec(["BPR", "Pop"], seeds=1), "--learning_rate=0.5")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "BPR/2020: was run with learning_rate=0.001, but learning_rate=0.5 is given" in err
    assert before == (stamps(), Path("board/board.yaml").read_text())
    assert call("run", spec(["BPR"], seeds=1), "--quiet", "--save_recs=true")[0] == 0  # no number


def test_cells_of_other_data_are_refused(spec, toy, tmp_path):
    """By a board that goes on, before a cell runs, and by its pages."""
    shutil.copytree(toy, tmp_path / "data")
    data = {"data_path": str(tmp_path / "data")}
    assert call("run", spec(["Pop"], seeds=1, options=data), "--quiet")[0] == 0
    assert call("build", "board", "--quiet")[0] == 0
    file = tmp_path / "data" / "toy" / "toy.inter"
    file.write_text(file.read_text() + "u0\ti0\t1\t9999\n")
    pages = Path("board/board.md").read_bytes()
    for words in (["run", spec(["Pop", "BPR"], seeds=1, options=data)], ["build", "board"]):
        status, out, err = call(*words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "board/cells/toy/Pop/2020: toy.inter changed since the run" in err
    assert not Path("board/cells/toy/BPR").exists()
    assert Path("board/board.md").read_bytes() == pages
    shutil.rmtree(tmp_path / "data")  # a board that was made elsewhere has no data here
    assert call("build", "board", "--quiet")[0] == 0


@pytest.mark.parametrize(
    ("models", "words", "message"),
    [
        (["BPPR"], [], "BPPR on toy: model=BPPR: unknown model; did you mean BPR?"),
        (["BPR", "DVR:SASRec"], [], "DVR:SASRec on toy: backbone=SASRec"),
        (["BPR"], ["--learnng_rate=1"], "learnng_rate: unknown option; did you mean learning_rat"),
        (["BPR"], ["--rer_eps=1"], "rer_eps: an option of RER"),
        ([{"model": "BPR", "options": {"dvr_units": 3}}], [], "BPR: dvr_units: an option of DVR"),
        (["BPR"], ["--seeds=a,b"], "seeds=a, b: a list"),
        (["BPR"], ["--dataset=nope"], "BPR on nope: "),
        (["BPR"], ["--learning_rate=high"], "learning_rate=high"),
        (["DVR", "DVR:BPR"], [], "models: DVR and DVR:BPR are both DVR-BPR; give one a name"),
        (["BPR"], ["--dvr_units=3"], "dvr_units: an option of DVR, and this run is of BPR"),
        (["BPR"], ["--tune.trials=0"], "tune.trials=0: a whole number above 0"),
        (["BPR"], ["--cluster=tcp:x"], "cluster=tcp:x: an address"),
    ],
)
def test_what_cannot_run_is_one_line_and_nothing_is_written(spec, models, words, message):
    status, out, err = call("run", spec(models), *words)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert message in err
    assert not Path("board").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "leaderboard run SPEC.yaml"),
        (["rnu"], "leaderboard rnu: .*did you mean run"),
        (["run"], "leaderboard run: "),
        (["run", "no.yaml"], "config file no.yaml does not exist"),
        (["run", "a", "b"], "leaderboard run takes one SPEC.yaml, not 2"),
        (["build"], "leaderboard build DIR: the folder of a board is expected"),
        (["build", "nowhere"], "nowhere: no such folder"),
        (["build", ".", "--epochs=3"], "--epochs: unknown option; options are plotly, quiet"),
    ],
)
def test_bad_words_are_one_line(words, message):
    status, _, err = call(*words)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert re.search(message, err)


def test_an_option_that_some_rows_have_goes_to_those(spec):
    file = spec(["BPR", "DVR:BPR", {"model": "LightGCN", "options": {"n_layers": 1}}], seeds=1)
    assert call("run", file, "--quiet", "--epochs=1", "--dvr_gamma=7")[0] == 0
    options = {
        p.parent.parent.name: yaml.safe_load(p.read_text())
        for p in Path("board/cells").rglob("config.yaml")
    }
    assert options["DVR-BPR"]["dvr_gamma"] == 7
    assert "dvr_gamma" not in options["BPR"]
    assert options["LightGCN"]["n_layers"] == 1


def test_a_class_of_ones_own_in_a_row(spec, toy, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("own_models.py").write_text(
        "from recbole.model.general_recommender.bpr import BPR\nclass Mine(BPR):\n    pass\n"
    )
    words = ["run", spec(), "--models=own_models:Mine,DVR:own_models:Mine", "--seeds=1"]
    assert call(*words, "--quiet")[0] == 0
    place = Path("board/cells/toy/Mine/2020")
    (place / "metrics.json").unlink()
    assert call(*words, "--quiet")[0] == 0  # the class is named again for the resumed run
    assert (place / "metrics.json").is_file()
    assert Path("board/cells/toy/DVR-Mine/2020/metrics.json").is_file()


def test_what_a_killed_board_was_writing_is_removed(spec):
    Path("board").mkdir()
    Path("board/.board.yaml.1.tmp").write_text("half")
    assert call("run", spec(["BPR"], seeds=1), "--quiet")[0] == 0
    assert not list(Path("board").rglob(".*"))


def test_two_processes_do_not_run_one_board(spec):
    with run._board_lock(Path("board")):
        status, _, err = call("run", spec(["BPR"], seeds=1))
    assert status == 2
    assert "out=board: another process is running in this folder" in err


def test_a_cell_waits_for_the_process_that_runs_it(spec, monkeypatch):
    """A worker that the cluster took for dead may be alive."""
    place = Path("board/cells/toy/BPR/2020")
    place.mkdir(parents=True)
    other = RunFolder(place, fresh=True)
    other.lock("out")
    waits = []

    def wait(seconds):
        if seconds == cells._WAIT_SECONDS:  # and not one of a subprocess's
            waits.append(seconds)
        if len(waits) == 2:
            other.release()

    monkeypatch.setattr(cells.time, "sleep", wait)
    status, _, err = call("run", spec(["BPR"], seeds=1), "--quiet")
    assert (status, len(waits)) == (0, 2)
    assert err.count("waiting for it") == 1


# ---- processes ---------------------------------------------------------------------------------


def test_a_process_that_is_killed_takes_no_other_task_with_it():
    def work(number, *_):
        if number == 2:
            os.kill(os.getpid(), 9)
        return number * 10

    results = dict(run_here(work, [(n,) for n in range(5)], jobs=2, threads=1))
    assert results == {0: 0, 1: 10, 2: None, 3: 30, 4: 40}


def test_a_task_that_was_beside_the_killed_one_is_tried_again(tmp_path):
    def work(number, *_):
        marker = tmp_path / f"{number}"
        first = not marker.exists()
        marker.touch()
        if number == 0 and first:
            os.kill(os.getpid(), 9)
        return number

    assert dict(run_here(work, [(n,) for n in range(3)], 2, 1)) == {0: 0, 1: 1, 2: 2}


def test_threads_are_shared_out(spec, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(
        run,
        "run_here",
        lambda f, tasks, jobs, threads: (
            seen.append((jobs, threads, [task[1] for task in tasks])) or (x for x in ())
        ),
    )
    for words in ([], ["--jobs=3"], ["--jobs=20"], ["--jobs=2", "--threads=5"]):
        with run._engine(run_board_of(*words)) as engine:
            list(engine(None, [("cell",)]))
    assert seen == [(1, 8, [8]), (3, 2, [2]), (20, 1, [1]), (2, 5, [5])]


def run_board_of(*words):
    from recbole_enhance.leaderboard.spec import read_board
    from recbole_enhance.options.read import parse_argv

    return read_board(None, {"models": "BPR", "dataset": "toy", "out": "o", **parse_argv(words)})


# ---- tuning ------------------------------------------------------------------------------------


@pytest.fixture
def tuner(monkeypatch):
    """A tuner that knows the best learning rate of each model, and says what it was asked."""
    asked = []

    def tune(options, out, trials, space=None, storage=None, study=None, jobs=1, quiet=False):
        asked.append((options, out, trials, space, storage, study))
        if options["model"] == "LightGCN":
            raise ValueError("space=none.yaml: no such file")
        return {"learning_rate": 0.05 if options["model"] == "DVR" else 0.02}

    module = types.ModuleType("recbole_enhance.tuning.tune")
    module.tune = tune
    module.check_plan = lambda *args, **kwargs: None
    monkeypatch.setitem(sys.modules, "recbole_enhance.tuning.tune", module)
    return asked


def test_rows_are_tuned_with_one_budget_on_the_first_seed(spec, tuner):
    models = [
        "BPR",
        {"model": "DVR:BPR", "space": "mine.yaml", "name": "x"},
        "LightGCN",
        {"model": "Pop", "tune": False},
    ]
    words = ["run", spec(models, tune={"trials": 4}, seeds=[5, 6]), "--tune.storage=sqlite:///s.db"]
    assert call(*words)[0] == 1
    assert [entry[2:] for entry in tuner] == [
        (4, None, "sqlite:///s.db", "board/toy/BPR"),
        (4, "mine.yaml", "sqlite:///s.db", "board/toy/DVR-BPR-x"),
        (4, None, "sqlite:///s.db", "board/toy/LightGCN"),
    ]
    assert {entry[0]["seed"] for entry in tuner} == {5}
    place = Path("board/tuning/toy").absolute()
    assert [entry[1] for entry in tuner] == [place / x for x in ("BPR", "DVR-BPR-x", "LightGCN")]
    rates = {
        str(p.parent.relative_to("board/cells/toy")): yaml.safe_load(p.read_text()).get(
            "learning_rate"
        )
        for p in Path("board/cells").rglob("config.yaml")
    }
    assert rates["BPR/5"] == rates["BPR/6"] == 0.02
    assert rates["DVR-BPR-x/6"] == 0.05
    assert {"Pop/5", "Pop/6"} <= set(rates)
    failure = json.loads(Path("board/cells/toy/LightGCN/6/failure.json").read_text())
    assert failure["reason"] == "tune: space=none.yaml: no such file"
    before = stamps()
    assert call(*words, "--quiet")[0] == 1
    assert stamps() == before


def test_a_board_with_another_title_goes_on_with_the_studies_in_its_folder(spec, tuner):
    words = ["run", spec(["BPR"], tune={"trials": 4}, seeds=[5])]
    folder = Path("board/tuning/toy/BPR")
    folder.mkdir(parents=True)
    (folder / "tuning.json").write_text('{"study": "former title/toy/BPR"}')
    assert call(*words)[0] == 0
    assert call(*words, "--tune.storage=sqlite:///s.db")[0] == 0
    assert [entry[-1] for entry in tuner] == ["former title/toy/BPR", "board/toy/BPR"]


def test_tuning_that_cannot_be_is_one_line(spec, tuner, monkeypatch):
    status, _, err = call("run", spec(["BPR"]), "--tune.trials=3", "--tune.strage=x")
    assert status == 2
    assert "tune.strage: unknown option; there are space, storage, trials" in err
    monkeypatch.setitem(sys.modules, "recbole_enhance.tuning.tune", None)
    status, _, err = call("run", spec(["BPR"]), "--tune.trials=3")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "optuna>=4.9" in err
    assert not Path("board").exists()


def test_a_run_beside_the_board_is_the_same_run(spec, toy):
    assert call("run", spec(["BPR"], seeds=[2020]), "--quiet")[0] == 0
    run_toy(toy, "BPR", run_dir="beside")
    same_bits("beside", "board/cells/toy/BPR/2020")


def test_sigterm_comes_again_where_its_exception_was_lost(monkeypatch):
    monkeypatch.setattr(run, "_AGAIN_SECONDS", 0.05)
    before = signal.getsignal(signal.SIGTERM)

    def lose_it_and_go_on():
        with run._stopped_by_sigterm():
            with contextlib.suppress(SystemExit):
                signal.raise_signal(signal.SIGTERM)
            time.sleep(60)

    with pytest.raises(SystemExit) as stopped:
        lose_it_and_go_on()
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
