"""Names and cells that would be more than text where they are shown."""

import csv
import gzip
import io
import json
import logging
import string
from pathlib import Path

import pandas as pd
import pytest
from calling import call
from hypothesis import example, given
from hypothesis import strategies as st

from recbole_enhance.cli.program import main
from recbole_enhance.evaluation.files import read_per_user
from recbole_enhance.experiment.judge import evaluate_lists
from recbole_enhance.explanation.values import rank_values, write_table
from recbole_enhance.leaderboard.board import build_board
from recbole_enhance.options.errors import InputError
from recbole_enhance.options.read import one_line, printable
from recbole_enhance.recommendation.recommend import recommend
from recbole_enhance.storage.run_folder import RunFolder, history_rows
from recbole_enhance.storage.tables import as_written, csv_text_of_columns, neutral, read_rows
from recbole_enhance.testing.made_runs import make_run

CONTROL = ["two\nlines", "bell\a", "escape\x1b[2J", "turned\u202e", "feed\u2028"]


@pytest.mark.parametrize("name", CONTROL)
def test_a_name_of_control_characters_is_refused_everywhere(toy, refused, name):
    """A dataset's, a run's, a board's; the message itself stays on its line."""
    base = (f"--data_path={toy}", "--epochs=1")
    for words in (
        ("--model=BPR", f"--dataset={name}", *base, "--run_dir=r"),
        ("--model=BPR", "--dataset=toy", *base, f"--run_dir=r{name}"),
        (f"--model={name}", "--dataset=toy", *base),
        ("tune", "--model=BPR", f"--dataset={name}", *base, "--trials=1"),
        ("leaderboard", "run", "--models=BPR", "--dataset=toy", *base, f"--out=b{name}"),
        ("leaderboard", "run", "--models=BPR", "--dataset=toy", *base, "--out=b", f"--name={name}"),
        ("leaderboard", "run", "--models=BPR", f"--datasets={name}", *base, "--out=b"),
        (f"--resume={name}",),
        (name,),
    ):
        assert printable(refused(*words)) == refused(*words)
    assert not list(Path().iterdir())


def test_a_stranger_s_dataset_writes_one_line_and_no_second(finished, refused):
    path = finished / "config.yaml"
    path.write_text(path.read_text().replace("dataset: toy", 'dataset: "x\\ntouch PWNED\\n#"'))
    (finished / "metrics.json").unlink()
    before = (finished / "run.log").read_text()
    assert "dataset='x\\\\ntouch PWNED" in refused(f"--resume={finished}").replace("\\n", "\\\\n")
    assert (finished / "run.log").read_text() == before


def test_ids_of_others_do_not_reach_a_terminal_as_its_commands(tmp_path):
    """Lists, coalitions and values, with the ids that a stranger's file has."""
    (tmp_path / "d").mkdir()
    rows = "".join(
        f"\x1b]0;owned\x07u{u}\t\x1b[2Ji{(u + n) % 12}\t{n}\n" for u in range(9) for n in range(9)
    )
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    (tmp_path / "d/d.inter").write_text(header + rows)
    data = ("--dataset=d", f"--data_path={tmp_path}", "--epochs=1", "--topk=2", "--quiet")
    for model, valid in (("RVRec", ()), ("DVR", ("--dvr_reward=ndcg@2",))):
        given = (f"--model={model}", *data, *valid, "--valid_metric=NDCG@2", f"--run_dir=r{model}")
        assert call(*given)[0] == 0
    for words in (
        ("recommend", "rRVRec", "--users=\x1b]0;owned\x07u1", "--k=2"),
        ("explain", "rRVRec", "--rows=2"),
        ("values", "rDVR"),
    ):
        status, out, err = call(*words)
        assert (status, err) == (0, "")
        assert "\\x1b[2Ji" in out
        assert "\x1b" not in out


@pytest.mark.parametrize(
    "header", ["user_id:token\tit\x1bem_id:token", "user\x00_id:token\titem:token"]
)
def test_a_column_of_control_characters_is_refused(refused, header):
    Path("data/d").mkdir(parents=True)
    Path("data/d/d.inter").write_text(f"{header}\nu\ti\n")
    line = refused("--model=BPR", "--dataset=d", "--data_path=data")
    assert "d.inter" in line
    assert line.isprintable()


def test_a_message_is_one_line_of_the_log(tmp_path):
    folder = RunFolder(tmp_path, fresh=False)
    with folder.logging():
        logging.getLogger("recbole").warning("one\ntwo\x1b[31m\rthree %s", "four\u2028five")
    (line,) = (tmp_path / "run.log").read_text().split("\n")[:-1]
    assert line.endswith(r"WARNING one\ntwo\rthree four\u2028five")


@given(st.text())
def test_text_of_a_line_is_one_line_and_printable(text):
    for line in (printable(text), one_line(text)):
        assert len(line.splitlines()) <= 1
        assert "\x1b" not in line
    assert printable(text) == text or not text.isprintable()


# ---- formulas ----------------------------------------------------------------------------------

CELLS = st.text(alphabet="=+-@\t\r'\" ,\nab1.e", max_size=6) | st.floats() | st.integers()


@given(CELLS)
def test_a_cell_that_is_written_is_read_back(cell):
    written = neutral(cell)
    if not isinstance(cell, str):
        assert written is cell
        return
    assert as_written(written) == cell
    if written[:1] in tuple("=@\t\r"):
        raise AssertionError(f"a spreadsheet runs {written!r}")
    if written[:1] in ("+", "-"):
        float(written)


@example([("", ""), (0.0, ""), (0, "")])  # equal, and of different texts
@given(st.lists(st.tuples(CELLS, st.text(string.printable)), min_size=1))
def test_a_table_is_read_back(rows):
    Path("t.csv").write_text(
        csv_text_of_columns(["=a", "b"], list(zip(*rows))), encoding="utf-8", newline=""
    )
    read = read_rows(Path("t.csv"))
    assert [row["b"] for row in read] == [b for _, b in rows]
    assert [row["=a"] for row in read] == [a if isinstance(a, str) else str(a) for a, _ in rows]


FORMULA = '=HYPERLINK("http://x")'


@pytest.fixture
def spreadsheet(tmp_path):
    """Data whose ids are formulas and numbers below 0."""
    folder = tmp_path / "data" / "d"
    folder.mkdir(parents=True)
    users = [FORMULA, "-5", "@cmd", "'=x", *(f"u{n}" for n in range(16))]
    rows = [f"{u}\t{'+' if i % 2 else '-'}i{i}\n" for u in users for i in range(len(u) % 3, 20)]
    (folder / "d.inter").write_text("user_id:token\titem_id:token\n" + "".join(rows))
    words = ["--dataset=d", "--data_path=data", "--epochs=2", "--quiet", "--run_dir=b/r"]
    words += ["--model=DVR", "--backbone=BPR", "--save_recs", "--dvr_reward=ndcg@5", "--topk=5"]
    assert main([*words, "--valid_metric=NDCG@5"]) == 0
    return set(users)


def test_tables_of_a_run_hold_no_formulas_and_are_read_as_they_were(spreadsheet):
    run = Path("b/r")
    for name in ("recs.csv.gz", "values.csv.gz", "per_user.csv.gz"):
        text = gzip.decompress((run / name).read_bytes()).decode()
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert not [c for c in cells if c[:1] in tuple("=@")], name
        assert "'" + FORMULA in cells, name
        assert "-5" in cells, name
    assert set(read_per_user(run / "per_user.csv.gz").index) == spreadsheet
    values = rank_values(run)
    assert set(values["user_id"]) == spreadsheet
    assert all(values["item_id"].str[:1].isin(["+", "-"]))
    write_table(values, Path("out.csv"))
    assert "'" + FORMULA in pd.read_csv("out.csv")["user_id"].tolist()
    assert history_rows(run)[0]["epoch"] == "0"
    recommend(run, k=3, filter_seen=False, out="lists.csv")
    listed = pd.read_csv("lists.csv", dtype=str)
    assert not listed["user_id"].str[:1].isin(["=", "@"]).any()
    assert set(listed["user_id"].map(as_written)) == spreadsheet


def test_lists_of_a_run_are_judged_though_their_ids_look_like_formulas(spreadsheet):
    run = Path("b/r")
    result = evaluate_lists(run / "recs.csv.gz", run, config_dict={"run_dir": "again"})
    assert result["test_result"] == json.loads((run / "metrics.json").read_text())["test_result"]


def test_pages_hold_no_formulas_and_no_foreign_markup(tmp_path):
    name = "=cmd|'/C calc'!A0"
    results = {"recall@10": 0.1, "*evil*<img>@10": 0.2}
    make_run(tmp_path / "b", dataset="d", results=results, label="BPR", place="x",
             report={"dataset": name})  # fmt: skip
    make_run(tmp_path / "b", dataset="d", results=results, label="DVR-BPR", place="y",
             report={"dataset": name})  # fmt: skip
    build_board(tmp_path / "b", quiet=True)
    for file in ("board.csv", "significance.csv"):
        rows = list(csv.reader((tmp_path / "b" / file).open(newline="")))
        assert not [cell for row in rows for cell in row if cell[:1] in tuple("=@\t")]
        assert any("'" + name in row for row in rows)
    markdown = (tmp_path / "b" / "board.md").read_text()
    assert "<img>" not in markdown.replace(r"\<img\>", "")
    assert "*evil*" not in markdown.replace(r"\*evil\*", "")
    assert "=cmd\\|'/C calc'!A0" in markdown
    assert "<img>" not in (tmp_path / "b" / "index.html").read_text()


def test_what_is_no_table_is_named():
    Path("history.csv").write_text('a,b\n"x')
    with pytest.raises(InputError, match=r"history\.csv: not a table"):
        history_rows(Path())
