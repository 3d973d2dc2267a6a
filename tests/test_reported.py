"""Situations that users of this field report in public, from the command line to the page."""

import csv
import json
import sys
from pathlib import Path

import pytest

from recbole_enhance.cli.program import main
from recbole_enhance.testing.made_runs import make_run
from recbole_enhance.testing.worlds import write_toy

COLUMNS = "--load_col.inter=[user_id,item_id,timestamp]"
SHORT = ["--dataset=toy", "--epochs=1", "--topk=5", "--metrics=[NDCG]", "--valid_metric=NDCG@5"]
SHORT += ["--embedding_size=8", "--quiet"]


@pytest.fixture
def data(tmp_path):
    """Folder of the dataset ``toy`` of this test alone, which may be changed."""
    write_toy(tmp_path / "data")
    return tmp_path / "data" / "toy"


@pytest.fixture
def run(data, capsys):
    """Run from the command line into a folder."""

    def made(folder, *words, columns=COLUMNS):
        capsys.readouterr()
        status = main([*SHORT, "--data_path=data", columns, f"--run_dir={folder}", *words])
        assert (status, capsys.readouterr().err) == (0, "")

    return made


@pytest.fixture
def refused(capsys):
    """The one line of a command that is refused."""

    def line(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert (status, out) == (2, "")
        assert err.count("\n") == 1
        return err

    return line


def contents(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


# ---- a board compares like with like -----------------------------------------------------------


def test_runs_of_other_columns_stand_in_no_table(data, run, refused):
    """Where a file of items is loaded, interactions of items that it lacks are dropped."""
    header, *items = (data / "toy.item").read_text().splitlines(keepends=True)
    (data / "toy.item").write_text(header + "".join(items[:30]))
    run("board/a", "--model=ItemKNN")
    run("board/b", "--model=EASE", "--load_col.item=[item_id,genres]")
    err = refused("leaderboard", "build", "board")
    assert "dataset=toy: two protocols in one table" in err
    assert '"item": ["item_id", "genres"]' in err
    assert '"items": 48} in board/a' in err
    assert '"items": 30} in board/b' in err
    assert not Path("board/board.md").exists()


def test_a_class_of_ones_own_is_no_model_of_recboles(run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    Path("one_more.py").write_text(
        "from recbole.model.general_recommender.bpr import BPR as RecBoles\n"
        "class BPR(RecBoles):\n    pass\n"
    )
    run("board/a", "--model=BPR", "--seed=1")
    run("board/b", "--model=one_more:BPR", "--seed=2")
    sys.modules.pop("one_more")
    assert main(["leaderboard", "build", "board", "--quiet"]) == 0
    with open("board/board.csv") as file:
        rows = {row["row"]: row["seeds"] for row in csv.DictReader(file)}
    assert rows == {"BPR (backbone=BPR)": "1", "BPR (backbone=one_more:BPR)": "1"}


def test_pages_have_the_decimals_that_were_asked(tmp_path):
    for label, value in (("BPR", 0.000262), ("LightGCN", 0.000333)):
        options = {"metric_decimal_place": 6}
        make_run(tmp_path / "board", label, results={"recall@10": value}, options=options)
    assert main(["leaderboard", "build", "board", "--quiet"]) == 0
    page = Path("board/board.md").read_text()
    assert "| **0.000333** |" in page
    assert "| <u>0.000262</u> |" in page
    assert "0.0003 " not in page
    assert "0.000333" in Path("board/index.html").read_text()
    with open("board/board.csv") as file:
        places = {row["row"]: row["place"] for row in csv.DictReader(file)}
    assert places == {"LightGCN": "best", "BPR": "second"}


# ---- what is said is heard ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mine.yaml", "nothing.yaml"])
def test_a_file_of_options_under_another_name_is_not_ignored(data, refused, name):
    Path("mine.yaml").write_text("embedding_size: 16\n")
    words = [*SHORT, "--model=BPR", "--data_path=data", "--run_dir=run", f"--config_file={name}"]
    assert "config_file: unknown option (command line); did you mean config_files?" in refused(
        *words
    )
    assert not Path("run").exists()


@pytest.mark.parametrize("name", ["data%41", "a%20b", "a#b", "a%"])
def test_a_tuning_lies_where_it_was_put(data, name):
    Path("space.yaml").write_text("learning_rate: [0.01]\n")
    words = ["tune", "--model=BPR", *SHORT, "--data_path=data", COLUMNS, "--trials=1"]
    assert main([*words, "--space=space.yaml", f"--out=tunings/{name}"]) == 0
    assert [path.name for path in Path("tunings").iterdir()] == [name]
    assert Path("tunings", name, "study.db").is_file()


# ---- a run is read with its own data -----------------------------------------------------------


def test_no_verb_reads_a_run_with_other_data(data, run, refused):
    run("run", "--model=BPR")
    header, *lines = (data / "toy.inter").read_text().splitlines(keepends=True)
    (data / "toy.inter").write_text(header + "".join(lines[::-1]))  # ids move
    before = contents("run")
    for words in (
        ("explain", "run", "--users=u5"),
        ("attack", "run", "--targets=params"),
        ("recommend", "run", "--users=u5", "--out=new.csv"),
        ("export", "run", "--embeddings=new.npz"),
        ("reproduce", "run", "--quiet"),
    ):
        assert "run: toy.inter changed since the run" in refused(*words), words
        assert contents("run") == before, words
    assert not list(Path().glob("new*"))


# ---- names are what the files say --------------------------------------------------------------


def test_odd_users_and_items_without_titles_are_explained(data, run, capsys, refused):
    text = (data / "toy.inter").read_text()
    (data / "toy.inter").write_text(text.replace("u3\t", "u,3\t"))
    items = (data / "toy.item").read_text().splitlines()
    titles = ["title:token", *("" if n % 2 else f"Title {n}" for n in range(len(items) - 1))]
    lines = [f"{item}\t{title}\n" for item, title in zip(items, titles)]
    (data / "toy.item").write_text("".join(lines))
    run("run", "--model=RVRec")
    assert "users=u: no such user in toy" in refused("explain", "run", "--users=u,3")
    capsys.readouterr()
    assert main(["explain", "run", '--users=["u,3", u1, u1]', "--k=4"]) == 0
    lines = [json.loads(line) for line in Path("run/coalitions.jsonl").read_text().splitlines()]
    assert sorted(line["user"] for line in lines) == ["u,3"] * 4 + ["u1"] * 4
    shown = capsys.readouterr().out
    for line in lines:
        number = int(line["item"][1:])
        title = line["item"] if number % 2 else f"Title {number}"
        assert f"user {line['user']}, {line['rank']}. {title}: " in shown
