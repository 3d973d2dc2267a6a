"""Candidates as a file: what one run writes another reads, and what does not fit is refused."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch

from recbole_enhance.cli.program import main
from recbole_enhance.data.loaders import CandidateLoader
from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options

ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni6"}


@pytest.fixture(scope="module")
def written(tmp_path_factory, toy):
    """A file of candidates, and the result of the run that wrote it."""
    folder = tmp_path_factory.mktemp("written")
    result = run_toy(
        toy, "BPR", eval_args=ONE_OUT, save_candidates=True, run_dir=str(folder / "run")
    )
    return folder / "run" / "candidates.csv.gz", result


def lines_of(path):
    return gzip.decompress(Path(path).read_bytes()).decode().splitlines()


def loaders_of(toy, file, model="BPR", **options):
    options = {"eval_args": ONE_OUT, **options}
    given = toy_options(toy, model, eval_candidates_file=str(file), **options)
    return assemble(given)[1]


def changed(tmp_path, written, line, cells):
    """The file with some cells of a line replaced, by their numbers."""
    rows = [row.split(",") for row in lines_of(written[0])]
    for place, text in cells.items():
        rows[line - 1][place : place + 1] = [text] if text is not None else []
    path = tmp_path / "candidates.csv"
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    return path


def test_what_one_run_draws_another_reads(toy, written, tmp_path):
    file, first = written
    rows = [line.split(",") for line in lines_of(file)]
    assert rows[0] == ["part", "user_id", "item_id", *"123456"]
    assert [row[0] for row in rows[1:]] == ["valid"] * 60 + ["test"] * 60
    # Another seed would draw others; training has to be the same for the same numbers.
    moved = tmp_path / "mine.csv.gz"
    shutil.copy(file, moved)
    folder = str(tmp_path / "again")
    again = run_toy(toy, "BPR", eval_args=ONE_OUT, eval_candidates_file=str(moved), run_dir=folder)
    assert again["test_result"] == first["test_result"]
    assert again["best_valid_result"] == first["best_valid_result"]
    run = load_run(folder)
    assert dict(run.trainer.evaluate(run.test_data)) == first["test_result"]


@pytest.mark.parametrize("model", ["Pop", "SASRec"])
def test_the_candidates_are_the_same_for_every_model_and_seed(toy, written, model):
    for loader, part in zip(loaders_of(toy, written[0], model, seed=5)[1:], ("valid", "test")):
        assert isinstance(loader, CandidateLoader)
        data = loader._dataset
        users = data.id2token("user_id", loader.rows["user_id"].numpy())
        items = data.id2token("item_id", loader.rows["item_id"].numpy())
        lists = data.id2token("item_id", loader.candidates.T.numpy())
        found = {(u, i): list(own) for u, i, own in zip(users, items, lists)}
        told = [row.split(",") for row in lines_of(written[0])[1:]]
        assert found == {(u, i): own for p, u, i, *own in told if p == part}


def test_parts_may_have_different_numbers_of_candidates(toy, tmp_path):
    protocol = {**ONE_OUT, "mode": {"valid": "uni2", "test": "uni5"}}
    first = run_toy(
        toy, "Pop", eval_args=protocol, save_candidates=True, run_dir=str(tmp_path / "a")
    )
    file = tmp_path / "a" / "candidates.csv.gz"
    _, valid, test = loaders_of(toy, file, "Pop", eval_args=protocol, seed=3)
    assert (len(valid.candidates), len(test.candidates)) == (2, 5)
    second = run_toy(
        toy, "Pop", eval_args=protocol, eval_candidates_file=str(file), run_dir=str(tmp_path / "b")
    )
    assert second["test_result"] == first["test_result"]
    only_test = {**ONE_OUT, "mode": {"valid": "full", "test": "uni5"}}
    assert len(loaders_of(toy, file, "Pop", eval_args=only_test)[2].candidates) == 5


REFUSED = {
    "unknown user": (3, {1: "nobody"}, r":3: user_id='nobody': this id is not in the data"),
    "unknown item": (4, {2: "i99"}, r":4: item_id='i99': this id is not in the data"),
    "unknown candidate": (5, {7: "i99"}, r":5: 5='i99': this id is not in the data"),
    "padding": (5, {4: "[PAD]"}, r":5: 2='\[PAD\]': this id is not in the data"),
    "unknown part": (2, {0: "train"}, r":2: part='train': valid or test is expected"),
    "too few": (6, {8: None}, r":6: 6 candidates are expected \(eval_args.mode\)"),
    "an empty one": (6, {4: ""}, r":6: 6 candidates are expected \(eval_args.mode\)"),
    "too many": (6, {8: "i1,i2"}, r":6: not a table of candidates"),
    "another header": (1, {2: "song"}, r":1: columns part, user_id, item_id and candidates"),
    "not held out": (2, {2: "i0"}, r":2: is not a held-out interaction of part valid"),
}


@pytest.mark.parametrize(("line", "cells", "told"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(toy, written, tmp_path, line, cells, told):
    file = changed(tmp_path, written, line, cells)
    with pytest.raises(ValueError, match=r"candidates\.csv" + told) as refusal:
        loaders_of(toy, file)
    assert "\n" not in str(refusal.value)


def test_a_held_out_item_without_a_row_is_refused(toy, written, tmp_path):
    rows = lines_of(written[0])
    path = tmp_path / "candidates.csv"
    path.write_text("\n".join(rows[:-1]) + "\n")
    _, user, item, *_ = rows[-1].split(",")
    told = f"has no row for user '{user}' and item '{item}', held out in part test"
    with pytest.raises(ValueError, match=told):
        loaders_of(toy, path)
    path.write_text("\n".join(rows[:61]) + "\n")
    with pytest.raises(ValueError, match="has no rows of part test"):
        loaders_of(toy, path)
    path.write_text("\n".join([*rows, rows[-1]]) + "\n")
    with pytest.raises(ValueError, match=r":122: is not a held-out interaction of part test"):
        loaders_of(toy, path)


@pytest.mark.parametrize("model", ["BPR", "SASRec"])
def test_an_item_of_the_users_own_is_no_candidate(toy, written, tmp_path, model):
    """A general model is never asked to rank it; a sequential one may be, but for the answer."""
    last = lines_of(written[0])[-1].split(",")
    train = loaders_of(toy, written[0])[0]._dataset
    user = train.token2id("user_id", last[1])
    mine = train.inter_feat["item_id"][train.inter_feat["user_id"] == user]
    had = train.id2token("item_id", int(mine[0]))
    file = changed(tmp_path, written, 121, {5: last[2]})
    with pytest.raises(ValueError, match=rf":121: 3='{last[2]}': the user already has this item"):
        loaders_of(toy, file, model)
    file = changed(tmp_path, written, 121, {5: had})
    if model == "BPR":
        with pytest.raises(ValueError, match=rf":121: 3='{had}': the user already has this item"):
            loaders_of(toy, file, model)
    else:
        assert torch.any(loaders_of(toy, file, model)[2].candidates[2] == int(mine[0]))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--eval_candidates_file=no.csv", "--eval_args.mode=uni5"],
            "eval_candidates_file=no.csv: there is no such file",
        ),
        (
            ["--eval_candidates_file=setup.cfg", "--eval_args.mode=full"],
            "eval_candidates_file=setup.cfg: eval_args.mode=full has no candidates; uniN and popN",
        ),
        (["--save_candidates", "--eval_args.mode=full"], "save_candidates=True: eval_args.mode="),
    ],
)
def test_a_file_that_nobody_would_read_is_refused(toy, tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    Path("setup.cfg").write_text("")
    given = [f"--data_path={toy}", "--dataset=toy", "--model=Pop", "--run_dir=run"]
    assert main([*given, *words]) == 2
    assert told in capsys.readouterr().err
    assert not Path("run").exists()


def test_bytes_that_are_no_table_are_refused(toy, tmp_path):
    broken = bytearray(gzip.compress(b"part,user_id,item_id,1\n" * 9, mtime=0))
    broken[12:16] = b"\xff\xff\xff\xff"
    several = {
        "a.csv": b"",
        "b.csv.gz": b"no gzip",
        "c.csv": b"\xff\xfe,1\n",
        "d.csv.gz": bytes(broken),
    }
    for name, content in several.items():
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: not a table of candidates"):
            loaders_of(toy, file)


def test_a_file_that_changed_is_not_the_runs(toy, written, tmp_path):
    file = tmp_path / "mine.csv.gz"
    shutil.copy(written[0], file)
    run_toy(
        toy, "Pop", eval_args=ONE_OUT, eval_candidates_file=str(file), run_dir=str(tmp_path / "a")
    )
    known = json.loads((tmp_path / "a" / "env.json").read_text())["data_sha256"]
    assert "eval_candidates_file" in known
    rows = gzip.decompress(file.read_bytes()).replace(b"\n", b"\r\n")
    file.write_bytes(gzip.compress(rows))
    with pytest.raises(ValueError, match="eval_candidates_file changed since the run"):
        load_run(tmp_path / "a")
