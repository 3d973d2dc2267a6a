"""Files of a run folder that are no files: links, FIFOs, sockets, folders."""

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from recbole_enhance.cli.program import main
from recbole_enhance.options.errors import RunFolderError
from recbole_enhance.storage import files
from recbole_enhance.storage.run_folder import RunFolder

# A verb with a run folder, and a file that it reads or writes there.
READ = [
    (verb, name)
    for verb, names in {
        ("reproduce", "board/run"): ("config.yaml", "metrics.json", "env.json"),
        ("values", "board/run"): ("config.yaml", "values.csv.gz"),
        ("explain", "board/run"): ("config.yaml", "model.pt"),
        ("attack", "board/run"): ("config.yaml", "model.pt"),
    }.items()
    for name in names
]
RESUMED = ("config.yaml", ".lock", "run.log", "env.json", "checkpoint.pt", "model.pt", "data.json")


def link(path):
    """Let the file lie elsewhere, with a link in its place: what it holds is sound."""
    outside = Path("outside")
    if path.exists():
        path.rename(outside)
    else:
        outside.write_text("mine")
    path.symlink_to(outside.absolute())


def fifo(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [link, fifo])
@pytest.mark.parametrize(("verb", "name"), READ)
def test_a_verb_follows_no_link_and_waits_for_no_fifo(finished, refused, verb, name, spoil):
    spoil(finished / name)
    line = refused(*verb)
    assert name in line
    assert "is a link" in line if spoil is link else "is not a regular file" in line


@pytest.mark.parametrize("spoil", [link, fifo])
@pytest.mark.parametrize("name", RESUMED)
def test_a_run_is_not_continued_through_what_is_no_file(stopped, refused, name, spoil):
    spoil(stopped / name)
    before = Path("outside").read_bytes() if spoil is link else b""
    line = refused(f"--resume={stopped}")
    assert name in line
    assert "is a link" in line if spoil is link else "is not a regular file" in line
    assert spoil is fifo or Path("outside").read_bytes() == before


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml",
        "metrics.json",
        "env.json",
        "explanations.json",
        "groups.csv",
        "per_user.csv.gz",
    ],
)
def test_a_board_is_built_from_regular_files_only(finished, refused, name):
    fifo(finished / name)
    assert f"{name}: is not a regular file" in refused("leaderboard", "build", "board")


def test_a_run_that_is_repeated_stays_in_its_folder(finished, refused):
    Path("elsewhere").mkdir()
    (finished / "reproduced").symlink_to(Path("elsewhere").absolute())
    assert "reproduced: is a link" in refused("reproduce", finished)
    assert not list(Path("elsewhere").iterdir())


@pytest.mark.parametrize("place", ["cells", "cells/toy", "cells/toy/BPR", "cells/toy/BPR/2020"])
def test_a_board_stays_in_its_folder(toy, refused, place):
    Path("elsewhere").mkdir()
    Path("b", place).parent.mkdir(parents=True)
    Path("b", place).symlink_to(Path("elsewhere").absolute())
    words = ("--models=BPR", "--dataset=toy", f"--data_path={toy}", "--epochs=1", "--out=b")
    assert f"{place}: is a link" in refused("leaderboard", "run", *words)
    assert not list(Path("elsewhere").iterdir())


@pytest.mark.parametrize("name", ["study.db", "study.db.lock", "trials.csv"])
def test_a_study_stays_in_its_folder(toy, capfd, name):
    Path("t").mkdir()
    Path("t", name).symlink_to(Path("elsewhere").absolute())
    words = ("--model=Pop", "--dataset=toy", f"--data_path={toy}", "--trials=1", "--out=t")
    status = main(["tune", *words, "--quiet"])
    assert not Path("elsewhere").exists()
    if name == "trials.csv":  # what is written whole takes the link's place
        assert status == 0
        assert not Path("t", name).is_symlink()
    else:
        assert status == 2
        assert f"{name}: is a link" in capfd.readouterr().err


def test_tensorboard_files_stay_in_the_run(toy, refused):
    Path("elsewhere").mkdir()
    words = ("--model=BPR", "--dataset=toy", f"--data_path={toy}", "--epochs=1", "--run_dir=r")
    assert main([*words, "--log_tensorboard=true", "--quiet"]) == 0
    Path("r", "metrics.json").unlink()
    shutil.rmtree("r/tensorboard")
    Path("r", "tensorboard").symlink_to(Path("elsewhere").absolute())
    assert "tensorboard: is a link" in refused("--resume=r")
    assert not list(Path("elsewhere").iterdir())


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_APPEND | os.O_CREAT])
def test_only_regular_files_are_opened(flags):
    Path("file").write_text("x")
    Path("folder").mkdir()
    os.mkfifo("fifo")
    Path("link").symlink_to("file")
    Path("dangling").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        for name in ("folder", "fifo", "link", "dangling", "socket", "/dev/null"):
            with pytest.raises(RunFolderError, match=f"{name}: is (a link|not a regular file)"):
                files.open_file(name, flags)
    descriptor = files.open_file("file", flags)
    assert stat.S_ISREG(os.fstat(descriptor).st_mode)
    os.close(descriptor)
    assert not Path("nowhere").exists()


def test_a_written_file_takes_the_place_of_a_link_and_reaches_the_disk_first(monkeypatch):
    Path("outside").write_text("mine")
    Path("run").mkdir()
    Path("run/metrics.json").symlink_to("../outside")
    Path("run", files.temporary_name("metrics.json")).symlink_to("../outside")
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda f: (done.append(stat.S_IFMT(os.fstat(f).st_mode)), sync(f))
    )
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("named"), replace(*names)))
    RunFolder(Path("run"), fresh=False).write_json("metrics.json", {"a": 1})
    assert done == [stat.S_IFREG, "named", stat.S_IFDIR]
    assert Path("outside").read_text() == "mine"
    assert [path.name for path in Path("run").iterdir()] == ["metrics.json"]
    assert files.read_json("run/metrics.json") == {"a": 1}


def test_a_run_killed_at_its_first_file_starts_again(toy, capfd):
    Path("r").mkdir()
    Path("r/.config.yaml.4242.tmp").write_text("half")
    Path("r/.lock").touch()
    words = ("--model=Pop", "--dataset=toy", f"--data_path={toy}", "--epochs=1", "--quiet")
    assert main([*words, "--run_dir=r"]) == 0
    assert not list(Path("r").glob(".*"))
    Path("s").mkdir()
    Path("s/notes.tmp").write_text("mine")
    assert main([*words, "--run_dir=s"]) == 2
    assert Path("s/notes.tmp").read_text() == "mine"


def test_a_folder_that_is_thrown_away_takes_nothing_else_along(toy):
    Path("outside").mkdir()
    Path("outside/mine").write_text("mine")
    Path("r").mkdir()
    Path("r/tensorboard").symlink_to(Path("outside").absolute())
    RunFolder(Path("r"), fresh=True).discard()
    assert Path("outside/mine").read_text() == "mine"
    assert not list(Path("r").iterdir())
