"""One study on a real PostgreSQL server, which the tests start themselves."""

import getpass
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from tuning_workers import (
    SPACE,
    check_each_once,
    finish,
    kill_one_that_claims,
    options,
    rows,
    start,
    wait_for,
)

from recbole_enhance.tuning import study, tune, workers

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
pytestmark = [
    pytest.mark.serial,
    pytest.mark.slow,
    pytest.mark.skipif(not BINARIES, reason="no PostgreSQL server in /usr/lib/postgresql"),
    pytest.mark.skipif(
        os.geteuid() == 0 and not shutil.which("runuser"),
        reason="PostgreSQL refuses to run as root, and there is no runuser",
    ),
]


class Server:
    """A server on a socket in a folder of its own; it may not run as root."""

    def __init__(self, folder):
        self.folder = folder
        self.binaries = BINARIES[-1].parent
        self.user = "postgres" if os.geteuid() == 0 else getpass.getuser()
        if os.geteuid() == 0:
            shutil.chown(folder, self.user)
        self.run("initdb", "-D", "data", "-A", "trust", "-U", "postgres", "--no-sync")
        settings = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        self.run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", settings, "start")
        self.run("createdb", "-h", str(folder), "-U", "postgres", "tuning")
        self.url = f"postgresql+psycopg://postgres@/tuning?host={folder}"

    def run(self, program, *words):
        become = ["runuser", "-u", self.user, "--"] if os.geteuid() == 0 else []
        command = [*become, str(self.binaries / program), *words]
        # Not captured: the server would inherit the pipe, and its end would never come.
        with open(os.devnull, "w") as nowhere:
            subprocess.run(command, check=True, cwd=self.folder, stdout=nowhere, timeout=120)

    def stop(self):
        self.run("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")


@pytest.fixture
def server():
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    # Not tmp_path: pytest's folders are closed to the server's user.
    with tempfile.TemporaryDirectory(prefix="tuning-pg-") as folder:
        running = Server(Path(folder))
        yield running
        if (Path(folder) / "data" / "postmaster.pid").is_file():
            running.stop()


def test_two_processes_run_each_trial_once_and_no_more(toy, server):
    finish(*[start(toy, 40, server.url, out=out) for out in ("out", "other")])
    check_each_once(40)
    check_each_once(40, "other")


def test_a_killed_one_loses_its_trial_to_the_others(toy, server):
    killed, other = (start(toy, 40, server.url, out=out) for out in ("killed", "out"))
    wait_for(9)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    finish(other)
    states = [row["state"] for row in rows()]
    assert states.count("complete") == 40
    assert len(states) - 40 == states.count("lost") <= 1


def test_one_killed_while_it_claims_is_noticed_at_once(toy, server, monkeypatch):
    monkeypatch.setattr(study, "GRACE", 10**6)  # its heartbeat would not tell
    kill_one_that_claims(toy, monkeypatch, server.url, "killed")
    finish(start(toy, 5, server.url))
    assert sorted(row["state"] for row in rows()) == ["complete"] * 5 + ["lost"]


def test_a_server_that_goes_away_is_one_line_and_nothing_is_lost(toy, server, monkeypatch):
    def validate(config, callback_fn=None):
        if len(done) == 2:
            server.stop()
        done.append(config["learning_rate"])
        callback_fn(0, config["learning_rate"])
        return {"best_valid_score": config["learning_rate"]}

    done = []
    monkeypatch.setattr(workers, "validate", validate)
    with pytest.raises(ValueError, match=r"storage=postgresql.*: does not answer: ") as error:
        tune.tune(options(toy), "out", 5, SPACE, storage=server.url, quiet=True)
    assert "\n" not in str(error.value)
    assert len(done) == 3
    settings = f"-c listen_addresses='' -c unix_socket_directories={server.folder}"
    server.run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", settings, "start")
    done.append(None)
    tune.tune(options(toy), "out", 5, SPACE, storage=server.url, quiet=True)
    assert len(done) == 4 + 3
    assert done[2] == done[4]  # what was lost is run again, first of all
    assert sorted(row["state"] for row in rows()) == ["complete"] * 5 + ["lost"]
