"""Every option that names a file or a folder to write: refused in one line, before any work."""

import os
import re
from pathlib import Path

import pytest
from calling import call, refused

from recbole_enhance.storage.outputs import output_file
from recbole_enhance.testing.worlds import TOY, run_toy

# Verb with the option, and an ending that the option takes. The run is `run`.
FILES = {
    "values run --out": ".csv",
    "values run --html": ".html",
    "recommend run --users=u1 --out": ".csv",
    "recommend run --users=u1 --html": ".html",
    "recommend run --similar_to=i1 --out": ".csv",
    "export run --embeddings": ".npz",
    "data check toy --config_files=toy.yaml --json": ".json",
    "estimate --model=BPR --dataset=toy --config_files=toy.yaml --json": ".json",
    "leaderboard claims claims.yaml --out": ".md",
}
FOLDERS = (
    "values run --write_clean",
    "tune --model=BPR --dataset=toy --config_files=toy.yaml --trials=1 --out",
    "leaderboard run --models=BPR --dataset=toy --config_files=toy.yaml --out",
    "frontier --model=DVR --dataset=toy --config_files=toy.yaml --quick --metric=gini@5 --out",
    "--model=BPR --dataset=toy --config_files=toy.yaml --run_dir",
    "reproduce run --run_dir",
    "data import log.csv --user=user --item=item --name=shop --out",
)


@pytest.fixture(scope="module")
def place(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    small = {"dvr_reward": "ndcg@5", "epochs": 1}
    run_toy(toy, "DVR", run_dir=str(folder / "run"), **small)
    options = {**TOY, "data_path": str(toy), "epochs": 1}
    del options["dataset"]
    (folder / "toy.yaml").write_text("".join(f"{k}: {v}\n" for k, v in options.items()))
    (folder / "log.csv").write_text("user,item\nu1,i1\nu1,i2\nu2,i1\n")
    (folder / "claims.yaml").write_text("no mapping of claims")
    return folder


@pytest.fixture(autouse=True)
def _inside(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.mark.parametrize("words", FILES)
@pytest.mark.parametrize(
    ("stem", "why"),
    [
        ("none/x", "there is no folder none"),
        ("run/config.yaml/x", "there is no folder run/config.yaml"),
        ("/proc/x", "cannot be written (No such file or directory)"),
        ("a_folder", "is a folder, and the name of a file is expected"),
    ],
)
def test_a_file_that_cannot_be_written(words, stem, why):
    path, option = f"{stem}{FILES[words]}", words.rsplit("--", 1)[1]
    if stem == "a_folder":
        Path(path).mkdir(exist_ok=True)
    before = sorted(Path().rglob("*"))
    assert refused(*f"{words}={path}".split()) == f"{option}={path}: {why}"
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("words", FOLDERS)
@pytest.mark.parametrize("path", ["/proc/x", "log.csv/x"])
def test_a_folder_that_cannot_be_made(words, path):
    option = words.rsplit("--", 1)[1]
    status, out, err = call(*f"{words}={path}".split())
    line = err.splitlines()[-1]  # `reproduce` says first what it runs
    assert (status, out) == (2, "")
    assert f"error: {option}={path}" in line
    assert re.search(r": cannot be written \((No such file or|Not a) directory\)", line)


def test_a_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "fifo.csv")
    with pytest.raises(ValueError, match=r"^out=.*fifo.csv: is not a regular file, and the name"):
        output_file("out", tmp_path / "fifo.csv")


def test_what_fails_later_names_the_file_and_the_reason(monkeypatch):
    def full(path, content, durable=False):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("recbole_enhance.storage.run_folder.write_whole", full)
    assert refused("explain", "run", "--users=u1") == ("run/reasons.jsonl: No space left on device")


def test_a_file_that_is_there_is_replaced(place):
    Path("old.csv").write_text("old")
    assert call("values", "run", "--out=old.csv", "--quiet")[0] == 0
    assert Path("old.csv").read_text().startswith("user_id,")
