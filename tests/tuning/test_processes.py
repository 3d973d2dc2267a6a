"""Processes of one machine on one study, and what a kill leaves."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import psutil
import pytest
from tuning_workers import (
    SPACE,
    check_each_once,
    finish,
    kill_one_that_claims,
    options,
    rows,
    start,
    start_with_jobs,
    values,
    wait_for,
)

from recbole_enhance.tuning import study, tune

pytestmark = pytest.mark.serial


def told():
    return json.loads(Path("out/tuning.json").read_text())


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_processes_on_one_file_run_each_trial_once_and_no_more(toy):
    finish(*[start(toy, 40) for _ in range(3)])
    check_each_once(40)


def test_a_killed_process_loses_one_trial_and_the_next_ends_as_if_nothing_was(toy):
    process = start(toy, 20)
    wait_for(7)
    kill(process)
    finish(start(toy, 20))
    lost = [row for row in rows() if row["state"] == "lost"]
    assert len(lost) <= 1
    assert len(rows()) == 20 + len(lost)
    assert told()["trials"]["complete"] == 20
    finish(start(toy, 20, out="unstopped"))
    assert values() == values("unstopped")


def test_one_killed_while_it_claims_is_noticed_at_once(toy, monkeypatch):
    monkeypatch.setattr(study, "GRACE", 10**6)  # its heartbeat would not tell
    kill_one_that_claims(toy, monkeypatch)
    finish(start(toy, 5))
    assert sorted(row["state"] for row in rows()) == ["complete"] * 5 + ["lost"]


def test_a_trial_that_two_claimed_is_alive_while_one_of_them_is():
    claims = {"claimed by a": "here:1:then:a", "claimed by b": "here:2:then:b"}
    trial, ended = SimpleNamespace(user_attrs=claims), {"here:1:then:a"}
    asked = SimpleNamespace(_has_ended=ended.__contains__)
    assert not study.SharedStudy._is_dead(asked, trial)
    ended.add("here:2:then:b")
    assert study.SharedStudy._is_dead(asked, trial)
    claims["worker"] = "here:3:then:c"
    assert not study.SharedStudy._is_dead(asked, trial)


@pytest.mark.slow
def test_twenty_kills(toy):
    for number in range(20):
        process = start(toy, 80)
        wait_for(3 * number + 1)
        time.sleep(0.007 * number)
        kill(process)
    finish(start(toy, 80))
    assert told()["trials"]["complete"] == 80
    assert told()["trials"]["running"] == 0
    finish(start(toy, 80, out="unstopped"))
    assert values() == values("unstopped")


@pytest.mark.slow
def test_killing_a_program_with_jobs_ends_its_processes_too(toy):
    program = start_with_jobs(toy, 200, 2)
    try:
        wait_for(5)
    finally:
        program.kill()
        program.wait()
    before, trained = -1, 0
    while before != trained:  # the trials in flight may go on to the end of their epoch
        time.sleep(5)
        before, trained = trained, len(Path("trained").read_text().splitlines())
    assert trained < 200
    finish(start(toy, trained + 3))
    states = [row["state"] for row in rows()]
    assert states.count("complete") == trained + 3
    assert states.count("lost") == len(states) - trained - 3 <= 2


def test_ctrl_c_while_processes_start_is_ctrl_c(toy, monkeypatch):
    class Context:
        @staticmethod
        def Process(**_):
            return process

    def stop():
        raise KeyboardInterrupt

    process = multiprocessing.get_context("spawn").Process(target=stop)
    monkeypatch.setattr(process, "start", stop)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: Context)
    with pytest.raises(KeyboardInterrupt):
        tune.tune(options(toy), "out", 4, SPACE, jobs=2, quiet=True)


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere psutil has nothing better")
def test_a_clock_that_is_set_kills_no_trial(monkeypatch):
    before = study._started(os.getpid())
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: 0.0)
    assert study._started(os.getpid()) == before != ""
    assert study._started(2**22 + 1) == ""


@pytest.mark.slow
def test_jobs_are_processes_that_share_the_budget(toy):
    tune.tune(options(toy), "out", 4, SPACE, jobs=2, quiet=True)
    assert [row["state"] for row in rows()] == ["complete"] * 4
    url = f"sqlite:///{Path('out/study.db').resolve()}"
    study = optuna.load_study(study_name="BPR-toy", storage=url)
    workers = {trial.user_attrs["worker"].split(":")[1] for trial in study.trials}
    assert str(os.getpid()) not in workers
