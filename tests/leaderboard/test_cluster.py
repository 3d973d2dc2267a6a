"""Boards on a Dask cluster: scheduler and workers as processes of their own, on loopback."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import calling
import pytest

from recbole_enhance.leaderboard import run
from recbole_enhance.leaderboard.cluster import connected
from recbole_enhance.testing.worlds import TOY

pytest.importorskip("distributed", reason="needs the extra distributed")
pytestmark = pytest.mark.serial
ROOT = Path(__file__).parents[2]
START_SECONDS = 120
call = functools.partial(calling.call, "leaderboard", "run")


@pytest.fixture(autouse=True)
def _no_pages(monkeypatch):
    """Pages have tests of their own."""
    monkeypatch.setattr(run, "_build_pages", lambda out, quiet: True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """A scheduler, and workers on request."""

    def __init__(self):
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.processes = []
        port = self.address.rpartition(":")[2]
        self.start("scheduler", "--host=127.0.0.1", f"--port={port}", "--no-dashboard")

    def start(self, *words):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        log = open(f"{words[0]}-{len(self.processes)}.log", "w")  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "dask", *words],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def worker(self, threads=1):
        return self.start(
            "worker",
            self.address,
            f"--nthreads={threads}",
            "--nworkers=1",
            "--no-nanny",
            "--no-dashboard",
            "--host=127.0.0.1",
        )

    def wait(self, workers=0):
        from distributed import Client

        with Client(self.address, timeout=START_SECONDS, set_as_default=False) as client:
            if workers:
                client.wait_for_workers(workers, timeout=START_SECONDS)

    def close(self):
        for process in self.processes[::-1]:
            process.kill()
            process.wait()


@pytest.fixture
def cluster():
    there = Cluster()
    yield there
    there.close()


def words(toy, **options):
    given = {**{k: v for k, v in TOY.items() if k != "dataset"}, "data_path": str(toy), **options}
    flags = [f"--{key}={value}".replace("'", "") for key, value in given.items()]
    return [*flags, "--dataset=toy", "--out=board", "--quiet"]


def cell_of(process):
    """The cell whose lock a process holds."""
    with contextlib.suppress(OSError):  # the process or the file has just gone
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            target = Path(os.readlink(link))
            if target.name == ".lock":
                return [target.parent]
    return []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
def test_a_killed_worker_loses_no_cell_and_none_is_finished_twice(toy, cluster):
    victim, _ = cluster.worker(), cluster.worker()
    cluster.wait(2)
    seen, hit, end = {}, [], threading.Event()

    def watch():
        """Kill one worker in the middle of a cell, and see that no result is written twice."""
        while not end.is_set():
            for path in Path("board").rglob("metrics.json"):
                stamp = path.stat()
                seen.setdefault(path, set()).add((stamp.st_ino, stamp.st_mtime_ns))
            for cell in cell_of(victim) if len(seen) >= 2 and not hit else ():
                if (cell / "checkpoint.pt").is_file() and not (cell / "metrics.json").is_file():
                    victim.kill()
                    hit.append(cell)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        given = words(toy, models="BPR,LightGCN", seeds=3, epochs=30, stopping_step=100)
        status, _, err = call(*given, f"--cluster={cluster.address}")
    finally:
        end.set()
        watcher.join()
    assert status == 0, err
    assert victim.poll() == -signal.SIGKILL
    finished = list(Path("board").rglob("metrics.json"))
    assert len(finished) == 6
    assert not list(Path("board").rglob("failure.json"))
    assert {len(stamps) for stamps in seen.values()} == {1}
    assert "resumed after epoch" in (hit[0] / "run.log").read_text()  # by the other worker
    # The board alone on this machine is the same board.
    alone = [word.replace("--out=board", "--out=alone") for word in given]
    assert call(*alone, "--threads=1")[0] == 0
    for path in finished:
        one, other = (
            (p / "per_user.csv.gz").read_bytes()
            for p in (path.parent, Path("alone", *path.parent.parts[1:]))
        )
        assert one == other


def test_a_cluster_that_does_not_answer_is_one_line(toy):
    start = time.monotonic()
    address = f"tcp://127.0.0.1:{free_port()}"
    status, out, err = call(*words(toy, models="BPR"), f"--cluster={address}")
    assert (status, out) == (2, "")
    assert err == (
        f"recbole-enhance: error: cluster={address}: no Dask scheduler answers within 10 s\n"
    )
    assert time.monotonic() - start < 20
    assert not Path("board").exists()


def test_a_port_of_somebody_else_is_no_cluster(toy, monkeypatch):
    from recbole_enhance.leaderboard import cluster as module

    monkeypatch.setattr(module, "ANSWER_SECONDS", 2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        status, _, err = call(*words(toy, models="BPR"), f"--cluster={address}")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "no Dask scheduler answers" in err


@pytest.mark.slow
def test_workers_that_cannot_run_cells_are_one_line(toy, cluster, monkeypatch):
    from recbole_enhance.leaderboard import cluster as module

    cluster.wait()
    monkeypatch.setattr(module, "ANSWER_SECONDS", 3)
    status, _, err = call(*words(toy, models="BPR"), f"--cluster={cluster.address}")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "no worker within 3 s; start some: dask worker tcp://" in err
    cluster.worker(threads=2)
    cluster.wait(1)
    status, _, err = call(*words(toy, models="BPR"), f"--cluster={cluster.address}")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "runs 2 cells in one process" in err
    assert not Path("board").exists()


@pytest.mark.slow
def test_what_a_worker_fails_with_is_said_in_one_line(cluster):
    cluster.wait()
    cluster.worker()
    cluster.wait(1)
    with connected(cluster.address) as run_there:
        assert list(run_there(len, [("abc",)])) == [(0, 3)]
        with pytest.raises(ValueError, match=r"a worker fails with FileNotFoundError: .*nowhere"):
            list(run_there(os.stat, [("/nowhere",)]))
