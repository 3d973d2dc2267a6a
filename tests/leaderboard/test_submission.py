"""``leaderboard submit``: a run of somebody else's is judged again before a board has it."""

import datetime
import gzip
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from recbole_enhance.cli.program import main
from recbole_enhance.leaderboard import submission
from recbole_enhance.leaderboard.board import build_board
from recbole_enhance.leaderboard.submission import submit_run
from recbole_enhance.testing.worlds import run_toy

DAY = datetime.date(2026, 11, 28)


@pytest.fixture(scope="module")
def made(toy, tmp_path_factory):
    """A board with BPR and a run of an outsider's, elsewhere."""
    folder = tmp_path_factory.mktemp("submission")
    for model, place in (("BPR", "board/BPR"), ("Pop", "board/Pop"), ("ItemKNN", "theirs")):
        run_toy(toy, model, run_dir=str(folder / place), save_recs=True)
    return folder


@pytest.fixture
def board(made, tmp_path):
    shutil.copytree(made, tmp_path / "all")
    return tmp_path / "all" / "board"


@pytest.fixture
def theirs(board):
    return board.parent / "theirs"


def edited(folder, name, change):
    path = folder / name
    is_yaml = name.endswith(".yaml")
    content = yaml.safe_load(path.read_text()) if is_yaml else json.loads(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content) if is_yaml else json.dumps(content))


def refused(board, theirs, message, **options):
    with pytest.raises(ValueError, match=message) as caught:
        submit_run(theirs, board, **{"contributor": "A. Name", **options})
    assert "\n" not in str(caught.value)
    assert not (board / "submitted").exists()


def test_a_board_shows_what_was_submitted_by_whom_and_when(board, theirs):
    place = submit_run(theirs, board, "A. <b>Name</b>", against="BPR", date=DAY)
    assert place == board / "submitted" / "toy" / "ItemKNN" / "2020"
    report = json.loads((place / "metrics.json").read_text())
    assert (report["contributor"], report["submitted"]) == ("A. <b>Name</b>", "2026-11-28")
    theirs_report = json.loads((theirs / "metrics.json").read_text())
    common = set(report["test_result"])
    assert common
    assert report["test_result"] == {k: theirs_report["test_result"][k] for k in common}
    build_board(board, quiet=True)
    page = (board / "index.html").read_text()
    assert "submitted by A. &lt;b&gt;Name&lt;/b&gt; on 2026-11-28" in page
    assert "<b>Name" not in page
    tests = pd.read_csv(board / "significance.csv")
    assert set(tests[tests["row"] == "ItemKNN (external)"]["backbone"]) == {"BPR"}


def test_seconds_and_memory_are_not_taken_over(board, theirs):
    place = submit_run(theirs, board, "A. Name")
    report = json.loads((place / "metrics.json").read_text())
    assert not {"seconds", "peak_memory_mb", "train_seconds_per_epoch"} & set(report)
    assert report["against"] is None


def test_a_run_is_compared_with_its_own_backbone(board, theirs):
    def change(report):
        report.update(enhancer="Mine", backbone="BPR", label="Mine-BPR")

    edited(theirs, "metrics.json", change)
    place = submit_run(theirs, board, "A. Name")
    assert json.loads((place / "metrics.json").read_text())["against"] == "BPR"


def test_a_report_that_its_lists_do_not_give_is_refused(board, theirs):
    edited(theirs, "metrics.json", lambda r: r["test_result"].update({"recall@10": 0.9}))
    refused(board, theirs, r"theirs: reports recall@10=0\.9, but its lists give 0\.\d+$")


def test_a_report_may_differ_by_rounding_alone(board, theirs):
    unit = 10.0 ** -yaml.safe_load((theirs / "config.yaml").read_text())["metric_decimal_place"]

    def plus(units):
        def change(report):
            report["test_result"]["recall@10"] += units * unit

        return change

    edited(theirs, "metrics.json", plus(2))
    refused(board, theirs, r"reports recall@10")
    edited(theirs, "metrics.json", plus(-1))
    assert submit_run(theirs, board, "A. Name").is_dir()


def test_lists_that_were_changed_are_refused(board, theirs):
    path = theirs / "recs.csv.gz"
    table = pd.read_csv(path, dtype=str)
    hits = table.columns[-1]
    table = table[table[hits] != "1"]  # as if fewer hits had been made
    table.to_csv(path, index=False)
    refused(board, theirs, "but its lists give")


def test_another_protocol_is_refused_by_its_option(board, theirs):
    edited(theirs, "config.yaml", lambda o: o.update(rm_dup_inter="first"))
    refused(board, theirs, "another protocol: rm_dup_inter=first, the board has null")


def test_other_data_are_refused(board, theirs):
    edited(theirs, "env.json", lambda e: e["data_sha256"].update({"toy.inter": "0" * 64}))
    refused(board, theirs, "another protocol: data_sha256=")


def test_a_seed_that_the_board_does_not_have_is_refused(board, theirs):
    edited(theirs, "metrics.json", lambda r: r.update(seed=7))
    refused(board, theirs, "seed=7: the board has 2020")


def test_lists_are_needed(board, theirs):
    (theirs / "recs.csv.gz").unlink()
    refused(board, theirs, r"recs\.csv\.gz is missing; run it again with --save_recs=True")


def test_a_link_to_lists_is_not_followed(board, theirs):
    (theirs / "recs.csv.gz").rename(board.parent / "elsewhere.csv.gz")
    (theirs / "recs.csv.gz").symlink_to(board.parent / "elsewhere.csv.gz")
    refused(board, theirs, r"recs\.csv\.gz is missing")


def test_lists_that_unpack_without_end_are_refused(board, theirs):
    with gzip.open(theirs / "recs.csv.gz", "wb") as file:
        for _ in range(400):
            file.write(b"u1,i1,1\n" * 131072)
    refused(board, theirs, "unpacks to more than")


def test_a_row_that_is_there_is_kept(board, theirs):
    place = submit_run(theirs, board, "A. Name")
    before = (place / "metrics.json").read_bytes()
    with pytest.raises(ValueError, match=r"name=ItemKNN: .* exists; remove it"):
        submit_run(theirs, board, "Other")
    assert (place / "metrics.json").read_bytes() == before
    assert submit_run(theirs, board, "Other", name="Second").parent.name == "Second"


@pytest.mark.parametrize("name", ["..", "a/b"])
def test_no_name_leaves_the_board(board, theirs, name):
    refused(board, theirs, "a name that can be a folder", name=name)


@pytest.mark.parametrize("contributor", ["", " ", "a\nb", "x" * 81])
def test_a_contributor_has_a_name(board, theirs, contributor):
    refused(board, theirs, "contributor=", contributor=contributor)


def test_only_a_row_of_the_board_can_be_compared_with(board, theirs):
    refused(board, theirs, "against=BRP: one of .*did you mean BPR", against="BRP")


def test_a_run_of_the_boards_own_code_lends_no_protocol(board, theirs):
    """Its settings could be read only with code that the board does not have at hand."""
    shutil.rmtree(board / "Pop")
    edited(board / "BPR", "config.yaml", lambda o: o.update(model="mine:BPR"))
    refused(board, theirs, "it has no run of toy whose protocol could be taken")


def test_the_command_says_what_is_next(board, theirs, capsys):
    words = ["leaderboard", "submit", str(theirs), f"--board={board}", "--contributor=A. Name"]
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"accepted: {Path(board, 'submitted', 'toy', 'ItemKNN', '2020')}"
    assert said[1] == f"next: recbole-enhance leaderboard build {board}"
    assert main(words[:3]) == 2
    assert "--board is missing" in capsys.readouterr().err
    assert main([*words[:4]]) == 2
    assert "--contributor is missing" in capsys.readouterr().err


def test_the_date_is_that_of_the_day(board, theirs, monkeypatch):
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2027, 1, 2, 23, 59, tzinfo=tz)

    monkeypatch.setattr(submission.datetime, "datetime", Clock)
    place = submit_run(theirs, board, "A. Name")
    assert json.loads((place / "metrics.json").read_text())["submitted"] == "2027-01-02"
