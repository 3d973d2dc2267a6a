"""Runs that are run again: equal, and told where they are not."""

import functools
import gzip
import json
import re
import shutil
from pathlib import Path

import calling
import pytest
import torch
import yaml

from recbole_enhance.experiment import reproduce
from recbole_enhance.storage.run_folder import RunFolder
from recbole_enhance.testing.worlds import run_toy

call = functools.partial(calling.call, "reproduce")


def edit(name, **changes):
    path = Path("run", name)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def run(toy):
    run_toy(toy, "BPR", run_dir="run", epochs=2)


@pytest.mark.parametrize("model", ["BPR", "DVR"])
def test_the_same_machine_gives_the_same_numbers(toy, model):
    run_toy(toy, model, run_dir="run", epochs=2)
    before = {p: p.read_bytes() for p in Path("run").iterdir()}
    status, out, err = call("run", "--tolerance=0")
    assert status == 0
    assert "epoch 1: train loss" in err
    assert "reproduced (tolerance 0)" in out
    report = json.loads(Path("run/reproduced/reproduce.json").read_text())
    assert report["within"]
    assert report["changed"] == {}
    parts = {(line["part"], line["metric"]) for line in report["lines"]}
    assert {("valid", "ndcg@5"), ("test", "recall@10"), ("per user", "ndcg@10")} <= parts
    assert {line["difference"] for line in report["lines"]} == {0.0}
    assert before == {p: p.read_bytes() for p in Path("run").iterdir() if p.is_file()}


def test_numbers_that_are_not_those_of_the_run_are_told(run):
    report = json.loads(Path("run/metrics.json").read_text())
    report["test_result"]["ndcg@5"] += 0.002
    edit("metrics.json", test_result=report["test_result"])
    table = gzip.decompress(Path("run/per_user.csv.gz").read_bytes()).decode().splitlines()
    first = table[1].split(",")
    table[1] = ",".join([first[0], str(float(first[1]) + 0.6), *first[2:]])
    Path("run/per_user.csv.gz").write_bytes(gzip.compress("\n".join(table).encode()))
    status, out, _ = call("run", "--run_dir=again")
    assert status == 1
    assert [line.split()[:2] for line in out.splitlines() if "beyond" in line] == [
        ["test", "ndcg@5"],
        ["per", "user"],
    ]
    assert "not reproduced: 2 numbers differ" in out
    lines = json.loads(Path("again/reproduce.json").read_text())["lines"]
    (users,) = [line for line in lines if line["differing"]]
    assert users["differing"] == 1
    assert users["difference"] == pytest.approx(0.6 / (len(table) - 1))
    assert call("run", "--run_dir=wide", "--tolerance=0.02", "--quiet") == (0, "", "")


def test_surroundings_that_differ_are_told_and_widen_the_default(run):
    environment = json.loads(Path("run/env.json").read_text())
    versions = {**environment["versions"], "torch": "1.0"}
    edit("env.json", versions=versions, git_commit="abc")
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    del config["calibration_alpha"]  # an older version did not have it
    Path("run/config.yaml").write_text(yaml.safe_dump(config))
    status, out, _ = call("run")
    assert status == 0
    assert "reproduced (tolerance 0.01)" in out
    told = [line.split(":")[1].strip() for line in out.splitlines() if line.startswith("changed")]
    assert told[:2] == ["versions.torch", "git_commit"]
    assert told[-1] == "option calibration_alpha"


def test_other_data_are_refused_before_anything_is_trained(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "data")
    run_toy(tmp_path / "data", "Pop", run_dir="run", epochs=1)
    file = tmp_path / "data" / "toy" / "toy.inter"
    rows = file.read_text().splitlines(keepends=True)
    file.write_text("".join([rows[0], *reversed(rows[1:])]))  # the same rows, other ids
    status, out, err = call("run", "--quiet")
    assert (status, out) == (2, "")
    problem = "toy.inter changed since the run: restore the data, or train again"
    assert err == f"recbole-enhance: error: run: {problem}\n"
    assert not Path("run/reproduced").exists()


def test_rows_that_are_not_those_of_the_run_are_refused(run):
    """The files are the same; what is read of them is not, as in another version."""
    account = json.loads(Path("run/data.json").read_text())
    edit("data.json", kept={**account["kept"], "users": 59})
    status, _, err = call("run", "--quiet")
    assert (status, err.count("\n")) == (2, 1)
    assert "run: kept in data.json changed since the run" in err
    assert not Path("run/reproduced").exists()


def test_the_threads_are_those_of_the_run(run, monkeypatch):
    edit("env.json", cpu_threads=3)
    seen = []
    monkeypatch.setattr(reproduce, "_run_again", lambda *_: seen.append(torch.get_num_threads()))
    for words in (["run"], ["run", "--threads=2"]):
        call(*words)
    assert seen == [3, 2]
    assert torch.get_num_threads() == 1


def test_a_stopped_reproduction_goes_on(run, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reproduce, "run_again", stop)
        assert call("run")[0] == 130
    Path("run/reproduced").mkdir()
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    Path("run/reproduced/config.yaml").write_text(yaml.safe_dump(config))
    assert call("run", "--quiet")[0] == 0
    status, _, err = call("run")
    assert status == 2
    assert "run_dir=run/reproduced: there is a finished run; remove it, or name another" in err


def test_users_that_only_one_run_has_are_no_match(run):
    rows = gzip.decompress(Path("run/per_user.csv.gz").read_bytes()).decode().splitlines()
    Path("other").mkdir()
    Path("other/metrics.json").write_text(Path("run/metrics.json").read_text())
    Path("other/per_user.csv.gz").write_bytes(gzip.compress("\n".join(rows[:-1]).encode()))
    lines = reproduce.compare(*(RunFolder(Path(p), fresh=False) for p in ("run", "other")))
    assert not any(line.within(1) for line in lines if line.part == "per user")
    Path("other/per_user.csv.gz").unlink()
    lines = reproduce.compare(*(RunFolder(Path(p), fresh=False) for p in ("run", "other")))
    assert not any(line.within(1) for line in lines if line.part == "per user")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "reproduce RUN_DIR: the folder of a finished run is expected"),
        (["nowhere"], "reproduce nowhere: not a run folder .config.yaml is missing"),
        (["run", "--tolerence=1"], "tolerence: unknown option; did you mean tolerance"),
        (["run", "--tolerance=-1"], "tolerance=-1: a number not below 0"),
        (["run", "--tolerance=x"], "tolerance=x: a number not below 0"),
        (["run", f"--tolerance={'9' * 400}"], "tolerance=9+: a number not below 0"),
        (["run", "--threads=0"], "threads=0: a whole number above 0"),
        (["run", "--model=LightGCN"], "model=LightGCN: run is a run of BPR"),
        (["run", "--run_dir=run"], "run_dir=run: there is a finished run"),
        (["run", "--run_dir=full"], "run_dir=full: not empty"),
        (["run", "--data_path=elsewhere"], "toy"),
    ],
)
def test_bad_input_is_one_line(run, words, message):
    Path("full").mkdir()
    Path("full/mine.txt").touch()
    status, out, err = call(*words)
    assert (status, out) == (2, "")
    lines = [line for line in err.splitlines() if "again, in" not in line]
    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert not Path("run/reproduced").exists()


def test_what_is_not_finished_is_told(run):
    edit("metrics.json", test_result=None)
    assert "metrics.json is not the report of a run" in call("run")[2]
    Path("run/metrics.json").unlink()
    assert "reproduce run: not finished; continue it first: --resume=run" in call("run")[2]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"user_id,recall@5\nu1,x\n", None])
def test_what_cannot_be_compared_is_refused_before_the_run(run, content):
    """A run may take hours, and would be in vain."""
    if content is None:
        report = json.loads(Path("run/metrics.json").read_text())
        edit("metrics.json", test_result={**report["test_result"], "recall@5": ["1"]})
    else:
        packed = gzip.compress(content) if content else b""
        Path("run/per_user.csv.gz").write_bytes(packed)
    status, out, err = call("run", "--quiet")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert ("metrics.json" if content is None else "per_user.csv.gz") in err
    assert not Path("run/reproduced").exists()
