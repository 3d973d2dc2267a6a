"""Processes that work on one study, for the tests of ``tune``."""

import csv
import subprocess
import sys
import time
from pathlib import Path

from worlds import toy_options

ROOT = Path(__file__).parents[1]
SPACE = {"learning_rate": {"loguniform": [1e-3, 1e-1]}, "embedding_size": [4, 8]}
# Instead of a training: a line in a file, and the learning rate as the score.
_SCRIPT = """
import sys, time
sys.path[:0] = {paths!r}
from recbole_enhance import compat; compat.apply()
from recbole_enhance import tune

def validate(config, callback_fn=None):
    with open("trained", "a") as file:
        file.write(str(config["learning_rate"]) + "\\n")
    time.sleep(0.02)
    callback_fn(0, config["learning_rate"])
    return {{"best_valid_score": config["learning_rate"]}}

tune.validate = validate
if __name__ == "__main__":
    tune.tune({options!r}, {out!r}, {trials}, {space!r}, quiet=True, storage={storage!r}, jobs={jobs})
"""


def options(toy, model="BPR", **changed):
    made = toy_options(toy, model, **changed)
    del made["embedding_size"]
    return made


def start(toy, trials, storage=None, jobs=1, out="out"):
    """Start a process that works until the study has its trials."""
    Path("trained").touch()
    name = f"worker_{out}.py"
    Path(name).write_text(
        _SCRIPT.format(
            paths=[str(ROOT), str(ROOT / "tests")], options=options(toy), trials=trials,
            space=SPACE, storage=storage, jobs=jobs, out=out,
        )
    )  # fmt: skip
    return subprocess.Popen([sys.executable, "-W", "ignore", name],
                            stderr=subprocess.PIPE, text=True)  # fmt: skip


def finish(*processes):
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err


def wait_for(count, seconds=120):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if Path("trained").is_file() and len(Path("trained").read_text().splitlines()) >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {count} trials after {seconds} s")


def rows(out="out"):
    with open(Path(out) / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def values(out="out"):
    """What each trial tried and got, without those that were lost."""
    return sorted((r["value"], r["learning_rate"], r["embedding_size"]) for r in rows(out)
                  if r["state"] != "lost")  # fmt: skip


def check_each_once(trials, out="out"):
    """Each trial was trained once, and there are neither more nor fewer of them."""
    trained = Path("trained").read_text().splitlines()
    assert len(trained) == len(set(trained)) == trials
    assert [row["state"] for row in rows(out)] == ["complete"] * trials
    assert sorted(float(row["learning_rate"]) for row in rows(out)) == sorted(map(float, trained))
    assert [int(row["number"]) for row in rows(out)] == list(range(trials))
