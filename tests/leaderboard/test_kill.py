"""Boards killed at random moments and run again: nothing corrupt, nothing twice, same table."""

import contextlib
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from recbole_enhance.testing.worlds import SMALL_DVR, TOY

pytestmark = pytest.mark.serial
ROOT = Path(__file__).parents[2]
KILLS = 20


class Server:
    """Processes that have imported torch already."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("fork_server.py"))],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # What a shell starts in the background ignores it, and so would this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout.readline() == "ready\n"

    def start(self, *words):
        """Start a process; its id."""
        self.process.stdin.write(json.dumps([words, "table.txt"]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def status(self):
        """Wait for it; its status, negative for a signal."""
        return int(self.process.stdout.readline())


@pytest.fixture
def server():
    there = Server()
    yield there
    there.process.kill()
    there.process.wait()


@pytest.fixture
def spec(toy):
    options = {key: value for key, value in TOY.items() if key != "dataset"}
    content = {
        "models": ["BPR", "LightGCN", "DVR:BPR"],
        "datasets": ["toy"],
        "seeds": 2,
        "threads": 1,
        "options": {**options, **SMALL_DVR, "epochs": 12, "data_path": str(toy)},
    }
    Path("spec.yaml").write_text(yaml.safe_dump(content))
    return ["leaderboard", "run", "spec.yaml"]


def results(folder):
    """Where cells are, and what must not depend on kills."""
    found = {}
    for path in Path(folder, "cells").rglob("metrics.json"):
        report = json.loads(path.read_text())
        for cost in ("seconds", "train_seconds_per_epoch", "peak_memory_mb"):
            report.pop(cost)
        report["per_user"] = (path.parent / "per_user.csv.gz").read_bytes()
        found[path.parent.relative_to(folder)] = report
    return found


def check_whole(folder):
    """Read every file below a folder that has its own name."""
    readers = {
        ".json": lambda p: json.loads(p.read_text()),
        ".yaml": lambda p: yaml.safe_load(p.read_text()).items(),
        ".pt": lambda p: torch.load(p, weights_only=True),
        ".gz": lambda p: gzip.decompress(p.read_bytes()),
        # A search may have no trial yet.
        ".csv": lambda p: p.name == "trials.csv" or p.read_text().splitlines()[0],
        ".inter": lambda p: p.read_text().splitlines()[1],
    }
    for path in Path(folder).rglob("*"):
        mended = path.suffix in (".log", ".lock", ".db", ".db-journal")  # SQLite rolls back
        own = not any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and own and not mended:
            readers[path.suffix](path)


def stamps(folder):
    finished = Path(folder).rglob("metrics.json")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in finished}


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(server, spec):
    words = [*spec, "--epochs=60", "--stopping_step=100"]
    start = time.monotonic()
    server.start(*words, "--out=whole")
    assert server.status() == 0
    span = time.monotonic() - start
    table, whole = Path("table.txt").read_text(), results("whole")
    assert len(whole) == 6
    moments, kills, board, resumed, board_open = random.Random(7), 0, 0, 0, False
    while kills < KILLS or board_open:
        folder, finished = f"board{board}", stamps(f"board{board}")
        process = server.start(*words, f"--out={folder}")
        if kills < KILLS:
            if kills % 4 == 3:  # into a training, which chance alone may miss
                wait_until(lambda at=folder: in_training(at) or len(stamps(at)) == len(whole))
            else:
                time.sleep(moments.uniform(0, span / 2))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        board_open = server.status() == -signal.SIGKILL
        kills += board_open
        check_whole(folder)
        assert finished.items() <= stamps(folder).items()  # no finished cell is run again
        if not board_open:
            assert Path("table.txt").read_text() == table
            assert results(folder) == whole
            assert not list(Path(folder).rglob(".*"))
            logs = [path.read_text() for path in Path(folder).rglob("run.log")]
            resumed += sum("resumed after epoch" in log for log in logs)
            board += 1
    assert kills == KILLS
    assert resumed > 0


def in_training(folder):
    """Whether a cell has a checkpoint and no result."""
    begun = Path(folder).rglob("checkpoint.pt")
    return any(not (path.parent / "metrics.json").is_file() for path in begun)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_workers_do_not_outlive_their_board(server, spec):
    words = [*spec, "--epochs=60", "--stopping_step=100"]
    for sign, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        before = stamps("board")
        process = server.start(*words, "--jobs=2", "--out=board")
        wait_until(lambda known=before: len(stamps("board")) > len(known))
        workers = children(process)
        assert len(workers) >= 2
        os.kill(process, sign)
        assert server.status() == status
        wait_until(lambda pids=workers: not any(Path(f"/proc/{pid}/cwd").exists() for pid in pids))
        check_whole("board")
        assert before.items() <= stamps("board").items()
    tables = []
    for folder in ("board", "alone"):
        server.start(*words, f"--out={folder}")
        assert server.status() == 0
        tables.append(Path("table.txt").read_text())
    assert tables[0] == tables[1]
    assert results("board") == results("alone")


def test_a_terminated_board_says_so_and_goes_on(server, spec):
    words = [*spec, "--models=DVR:BPR", "--epochs=100000", "--stopping_step=100000", "--out=board"]
    process = server.start(*words)
    wait_until(lambda: list(Path("board").rglob("checkpoint.pt")))
    os.kill(process, signal.SIGTERM)
    assert server.status() == 143
    assert not list(Path("board").rglob(".*"))
    assert not list(Path("board").rglob("failure.json"))
    check_whole("board")


def children(process):
    """Processes below a process."""
    below = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(pid) for pid in below]


def wait_until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
