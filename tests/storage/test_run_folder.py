"""Locks, and what a killed process leaves in its folder."""

import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import load_run, resume_run
from recbole_enhance.storage import file_lock
from recbole_enhance.storage.run_folder import CONFIG, LOCK, RunFolder
from recbole_enhance.testing.worlds import run_toy, toy_options

HOLDER = """
import sys, time
from pathlib import Path
from recbole_enhance.storage.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]), fresh=False)
folder.lock("run_dir")
(folder.path / f".model.pt.{sys.argv[2]}.tmp").write_text("half")
print("locked", flush=True)
time.sleep(60)
"""


@pytest.fixture
def taken(toy):
    """A stopped run, and a process that holds its folder."""
    folder = RunFolder.create(Config(config_dict=toy_options(toy, "BPR", run_dir="run")))
    folder.release()
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, "run", "123"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_told_in_one_line(toy, taken):
    for start in (
        lambda: resume_run("run"),
        lambda: RunFolder(Path("run"), fresh=False).lock("resume"),
    ):
        with pytest.raises(ValueError, match="resume=run: another process is running in this fol"):
            start()
    with pytest.raises(ValueError, match="run_dir=run: not empty"):
        run_toy(toy, "BPR", run_dir="run")
    assert Path("run", CONFIG).is_file()
    assert Path("run", ".model.pt.123.tmp").is_file()  # the other process may be writing it


def test_the_kernel_frees_the_lock_of_a_killed_process(taken):
    taken.send_signal(signal.SIGKILL)
    taken.wait()
    assert Path("run", LOCK).exists()
    result = resume_run("run", quiet=True)
    assert result["run_dir"] == "run"
    assert not [path.name for path in Path("run").iterdir() if path.name.startswith(".")]


def test_an_empty_folder_that_is_locked_is_not_taken(toy):
    Path("run").mkdir()
    other = RunFolder(Path("run"), fresh=True)
    other.lock("run_dir")
    with pytest.raises(ValueError, match="run_dir=run: another process is running"):
        run_toy(toy, "BPR", run_dir="run")
    other.release()
    assert list(Path("run").iterdir()) == []
    run_toy(toy, "BPR", run_dir="run", epochs=1)


def test_a_run_that_was_over_before_the_lock_is_kept(toy, monkeypatch):
    lock = RunFolder.lock

    def late(self, option):
        lock(self, option)
        (self.path / CONFIG).write_text("of the other run")

    monkeypatch.setattr(RunFolder, "lock", late)
    with pytest.raises(ValueError, match="run_dir=run: not empty"):
        run_toy(toy, "BPR", run_dir="run")
    assert [path.name for path in Path("run").iterdir()] == [CONFIG]


def test_a_lock_file_that_went_away_is_locked_anew(monkeypatch):
    Path("run").mkdir()
    flock, calls = file_lock.fcntl.flock, []

    def slow(file, how):
        flock(file, how)
        calls.append(how)
        if len(calls) == 1:
            Path("run", LOCK).unlink()  # the process before is done

    monkeypatch.setattr(file_lock.fcntl, "flock", slow)
    RunFolder(Path("run"), fresh=False).lock("run_dir")
    assert len(calls) == 2


def test_without_locks_a_run_goes_on_and_says_so(toy, monkeypatch, caplog):
    def no_locks(file, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(file_lock.fcntl, "flock", no_locks)
    run_toy(toy, "BPR", run_dir="run", epochs=1)
    assert "run_dir=run: cannot be locked (" in caplog.text
    assert not Path("run", LOCK).exists()


def test_a_failed_resume_lets_go(toy):
    RunFolder.create(Config(config_dict=toy_options(toy, "BPR", run_dir="run"))).release()
    Path("run", CONFIG).write_text("model: BPR\nbackbone: BPR\ndataset: nope\n")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"nope\.inter"):
            resume_run("run")
    assert [path.name for path in Path("run").iterdir()] == [CONFIG]


def test_loading_a_run_waits_for_nobody(toy):
    run_toy(toy, "BPR", run_dir="run", epochs=1)
    other = RunFolder.open("run")
    other.lock("resume")
    assert load_run("run").config["model"] == "BPR"
    assert resume_run("run")["run_dir"] == "run"
    other.release()


def test_a_disk_full_at_the_first_file_leaves_nothing(toy, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"run_dir=.*cannot be written \(No space left"):
        run_toy(toy, "BPR")
    assert list(Path(".").iterdir()) == []


def test_a_folder_whose_settings_name_no_model_is_told(toy):
    RunFolder.create(Config(config_dict=toy_options(toy, "BPR", run_dir="run"))).release()
    Path("run", CONFIG).write_text("dataset: toy\n")
    with pytest.raises(ValueError, match=r"run/config.yaml: model and backbone are expected"):
        resume_run("run")


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: folder.save_tensors("full", {"weight": torch.zeros(10_000)}),
        lambda folder: folder.write_text("full", "0" * 40_000),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_not_left(tmp_path, write):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=rf"File too large: '{tmp_path}/full'"):
            write(RunFolder(tmp_path, fresh=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_number_is_null_in_json(tmp_path):
    folder = RunFolder(tmp_path, fresh=True)
    folder.write_json("numbers", {"a": [float("nan"), -float("inf"), 0.5], "b": torch.tensor(3)})
    refuse = {"parse_constant": pytest.fail}  # NaN and Infinity, which are not JSON
    found = json.loads((tmp_path / "numbers").read_text(), **refuse)
    assert found == {"a": [None, None, 0.5], "b": 3}


def test_a_table_written_later_has_the_same_bytes(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path, fresh=True)
    for name, now in (("one", 1e9), ("other", 2e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        folder.write_csv_gz(name, ["user", "hit"], [["u1", "u2"], [0.0, 1.0]])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.serial
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_amid_a_save_stays_what_it_is(tmp_path):
    """Torch made a RuntimeError of it, the run's failure, and now and then ended the process."""
    folder, raised = RunFolder(tmp_path, fresh=True), []
    content = {str(number): torch.zeros(9, 9) for number in range(30)}

    def stop(*_):
        raised.append(None)
        raise KeyboardInterrupt

    spans = []
    for _ in range(9):
        start = time.perf_counter()
        folder.save_tensors("model.pt", content)
        spans.append(time.perf_counter() - start)
    span = statistics.median(spans)
    before, moments, caught = signal.signal(signal.SIGALRM, stop), random.Random(7), 0
    try:
        for _ in range(1000):
            try:
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, span))
                folder.save_tensors("model.pt", content)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                caught += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert caught > 100
    assert caught >= 0.95 * len(raised)  # Python itself loses a few
    assert set(torch.load(tmp_path / "model.pt", weights_only=True)) == {"format", *content}
