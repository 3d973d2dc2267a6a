"""Processes that work on one study, for the tests of ``tune``."""

import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from recbole_enhance.testing.worlds import toy_options
from recbole_enhance.tuning import study, tune, workers

ROOT = Path(__file__).parents[1]
SPACE = {"learning_rate": {"loguniform": [1e-3, 1e-1]}, "embedding_size": [4, 8]}
_SCRIPT = """
import sys
sys.path[:0] = {paths!r}
from recbole_enhance.compat import mends; mends.apply()
import tuning_workers
tuning_workers.pretend()
if __name__ == "__main__":
    tuning_workers.work({toy!r}, {trials}, None, {jobs}, "out")
"""


def options(toy, model="BPR", **changed):
    made = toy_options(toy, model, **changed)
    del made["embedding_size"]
    return made


def line_instead_of_training(config, callback_fn=None):
    """Leave a line in a file, and score by the learning rate."""
    with open("trained", "a") as file:
        file.write(f"{config['learning_rate']}\n")
    time.sleep(0.02)
    callback_fn(0, config["learning_rate"])
    return {"best_valid_score": config["learning_rate"]}


def pretend():
    workers.validate = line_instead_of_training


def work(toy, trials, storage, jobs, out):
    said = options(toy, data_path=str(toy))
    tune.tune(said, out, trials, SPACE, storage=storage, jobs=jobs, quiet=True)


def _pretend_and_work(*words):
    pretend()
    work(*words)


def start(toy, trials, storage=None, out="out"):
    """Start a process that works until the study has its trials.

    Forked, so that it need not import torch again.
    """
    Path("trained").touch()
    process = multiprocessing.get_context("fork").Process(
        target=_pretend_and_work, args=(toy, trials, storage, 1, out)
    )
    process.start()
    return process


def kill_one_that_claims(toy, monkeypatch, storage=None, out="out"):
    """Run a process that is killed between taking its third trial and saying whose it is."""
    begin = study.SharedStudy._begin

    def begin_or_die(self, frozen):
        if frozen.number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return begin(self, frozen)

    with monkeypatch.context() as patch:
        patch.setattr(study.SharedStudy, "_begin", begin_or_die)
        process = start(toy, 5, storage, out)
    process.join(300)
    assert process.exitcode == -signal.SIGKILL


def start_with_jobs(toy, trials, jobs):
    """The same by a program of its own, whose processes are spawned."""
    Path("trained").touch()
    paths = [str(ROOT), str(ROOT / "tests")]
    Path("program.py").write_text(
        _SCRIPT.format(paths=paths, toy=str(toy), trials=trials, jobs=jobs)
    )
    return subprocess.Popen([sys.executable, "-W", "ignore", "program.py"])


def finish(*processes):
    for process in processes:
        process.join(300)
        assert process.exitcode == 0


def wait_for(count, seconds=600):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if Path("trained").is_file() and len(Path("trained").read_text().splitlines()) >= count:
            return
        time.sleep(0.005)
    raise AssertionError(f"no {count} trials after {seconds} s")


def rows(out="out"):
    with open(Path(out) / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def values(out="out"):
    """What each trial tried and got, without those that were lost."""
    return sorted(
        (r["value"], r["learning_rate"], r["embedding_size"])
        for r in rows(out)
        if r["state"] != "lost"
    )


def check_each_once(trials, out="out"):
    """Each trial was trained once, and there are neither more nor fewer of them."""
    trained = Path("trained").read_text().splitlines()
    assert len(trained) == len(set(trained)) == trials
    assert [row["state"] for row in rows(out)] == ["complete"] * trials
    assert sorted(float(row["learning_rate"]) for row in rows(out)) == sorted(map(float, trained))
    assert [int(row["number"]) for row in rows(out)] == list(range(trials))
