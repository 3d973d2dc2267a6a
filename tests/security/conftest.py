"""Hostile run folders: made once, copied for each test, and handed to the verbs that read them."""

import shutil
import signal
from pathlib import Path

import pytest

from recbole_enhance.cli.program import main
from recbole_enhance.testing.worlds import run_toy

HANGS_AFTER = 60  # seconds; what waits for ever is then a failure and no hanging test


@pytest.fixture(scope="session")
def _made(toy, tmp_path_factory):
    """A finished run of DVR, which leaves every kind of file."""
    path = tmp_path_factory.mktemp("made") / "run"
    run_toy(toy, "DVR", run_dir=str(path), epochs=1, save_recs=True, group_fields=["gender"],
            load_col={"inter": ["user_id", "item_id"], "user": ["user_id", "gender"]},
            item_category_field=None)  # fmt: skip
    return path


@pytest.fixture
def finished(_made):
    """A finished run in the folder ``board/run``, beside nothing else."""
    shutil.copytree(_made, "board/run")
    return Path("board/run")


@pytest.fixture
def stopped(finished):
    """The same before its test: a checkpoint and no result."""
    (finished / "metrics.json").unlink()
    return finished


@pytest.fixture(autouse=True)
def _no_hang():
    def hangs(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANGS_AFTER)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def refused(capfd):
    """Run a command line that must be refused: one line, status 2; gives the line."""

    def call(*words):
        capfd.readouterr()
        status = main([str(word) for word in words])
        *before, line = capfd.readouterr().err.splitlines()
        assert status == 2, line
        assert line.startswith("recbole-enhance: error: "), line
        assert not any("error" in other or "Traceback" in other for other in before)
        return line

    return call
