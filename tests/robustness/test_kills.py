"""Every verb that writes, killed at random moments and called again: the same results."""

import contextlib
import csv
import itertools
import json
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
from leaderboard.test_kill import Server, check_whole

from recbole_enhance.storage.run_folder import CONFIG, METRICS
from recbole_enhance.testing.worlds import TOY

pytestmark = [pytest.mark.slow, pytest.mark.serial]
MOST_OF_ONE = 4  # kills before a folder is left to finish
_COSTS = ("seconds", "train_seconds_per_epoch", "peak_memory_mb", "peak_gpu_memory_mb")


def words_of(toy, *more):
    options = [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in TOY.items()
        if not any(word.startswith(f"--{key}=") for word in more)
    ]
    return [*options, f"--data_path={toy}", "--quiet", "--show_progress=false", *more]


def report(folder):
    """What a run reported, without what it cost."""
    found = json.loads(Path(folder, METRICS).read_text())
    users = Path(folder, "per_user.csv.gz").read_bytes()
    return {key: value for key, value in found.items() if key not in _COSTS}, users


class Run:
    """A run of DVR, which goes on with ``--resume``."""

    def words(self, toy, out):
        if Path(out, CONFIG).is_file():
            return [f"--resume={out}", "--quiet"]
        return ["--model=DVR", *words_of(toy, "--epochs=12"), f"--run_dir={out}"]

    def result(self, out):
        return report(out), Path(out, "values.csv.gz").read_bytes()


class Tune:
    """A search, which goes on with the same words."""

    def words(self, toy, out):
        options = words_of(toy, "--epochs=3", "--trials=4", "--space=space.yaml")
        Path("space.yaml").write_text("learning_rate: {choice: [0.001, 0.003, 0.01, 0.03]}\n")
        return ["tune", "--model=BPR", *options, f"--out={out}"]

    def result(self, out):
        # A killed trial is drawn again, so that the order of trials may differ, and no score.
        with open(Path(out, "trials.csv"), newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["state"] == "complete"]
        key = "learning_rate"
        scores = {row[key]: row["value"] for row in rows}
        best = Path(out, "best.yaml").read_text()
        return re.sub(r"trial \d+", "trial", best), scores


class Board:
    """A board of two models, which goes on with the same words."""

    def words(self, toy, out):
        options = [word for word in words_of(toy, "--epochs=6") if "show_progress" not in word]
        return ["leaderboard", "run", "--models=BPR,LightGCN", *options, f"--out={out}"]

    def result(self, out):
        cells = sorted(Path(out, "cells").rglob(METRICS))
        return {str(path.parent.relative_to(out)): report(path.parent) for path in cells}


class Values:
    """The values of a run, written to a file."""

    def words(self, toy, out):
        return ["values", "whole-Run", "--by=item", f"--out={out}.csv", "--quiet"]

    def result(self, out):
        return Path(f"{out}.csv").read_bytes()


class Recommend:
    """Lists of all users, written to a file."""

    def words(self, toy, out):
        return ["recommend", "whole-Run", "--all", f"--out={out}.csv", "--quiet"]

    def result(self, out):
        return Path(f"{out}.csv").read_bytes()


class Import:
    """A dataset that is made of a log."""

    def words(self, toy, out):
        log = Path("log.csv")
        if not log.is_file():
            text = (toy / "toy" / "toy.inter").read_text().partition("\n")[2]
            log.write_text("u,i,r,t\n" + text.replace("\t", ","))
        columns = ["--user=u", "--item=i", "--rating=r", "--time=t", "--name=mine"]
        return ["data", "import", "log.csv", *columns, f"--out={out}", "--quiet"]

    def result(self, out):
        files = (path for path in Path(out).rglob("*") if path.is_file())
        return {str(path.relative_to(out)): path.read_bytes() for path in files}


VERBS = {Run(): 8, Tune(): 6, Board(): 6, Values(): 6, Recommend(): 7, Import(): 7}  # kills of each


@pytest.fixture
def server():
    there = Server()
    yield there
    there.process.kill()
    there.process.wait()


def test_forty_kills_of_six_verbs_change_nothing(toy, server, capsys):
    moments, told = random.Random(18), []
    for verb, most in VERBS.items():
        name = type(verb).__name__
        start = time.monotonic()
        server.start(*verb.words(toy, f"whole-{name}"))
        assert server.status() == 0, name
        span, whole = time.monotonic() - start, verb.result(f"whole-{name}")
        kills = rounds = 0
        while kills < most:
            out, rounds = f"{name}{rounds}", rounds + 1
            for attempt in itertools.count():
                process = server.start(*verb.words(toy, out))
                kill = kills < most and attempt < MOST_OF_ONE
                if kill:
                    time.sleep(span * moments.random())
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                status = server.status()
                if status == 0:
                    break
                assert (kill, status) == (True, -signal.SIGKILL), (name, out, status)
                kills += 1
                if Path(out).is_dir():
                    check_whole(out)
            assert verb.result(out) == whole, (name, out)
        told.append(f"{name.lower()} {kills} kills, {rounds} finished")
    assert sum(VERBS.values()) == 40
    with capsys.disabled():
        print(f"\nkills: {'; '.join(told)}", end="")
