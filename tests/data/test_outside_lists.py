"""Lists of any tool as they are read: names, separators, no header, and what is refused."""

import gzip

import pandas as pd
import pytest

from recbole_enhance.data.outside_lists import checked, read_lists
from recbole_enhance.options.errors import InputError

ROWS = [("u1", "i3", 0.9, 1), ("u1", "i1", 0.5, 2), ("u2", "i1", 0.7, 1)]


def text(header, separator, columns=(0, 1, 2, 3)):
    lines = [header] if header else []
    lines += [separator.join(str(row[c]) for c in columns) for row in ROWS]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lenskit.csv", text("user_id,item_id,score,rank", ",")),
        ("old_lenskit.csv", text("item,score,user,rank", ",", (1, 2, 0, 3))),
        ("rectools.csv", text("user_id,item_id,score,rank", ",")),
        ("warprec.tsv", text("user_id\titem_id\tscore\trank", "\t")),
        ("semicolons.csv", text("User;Item;Prediction;Rank", ";")),
        ("typed.inter", text("user_id:token\titem_id:token\tscore:float\trank:float", "\t")),
        ("windows.csv", "\ufeff" + text("user,item,score,rank", ",").replace("\n", "\r\n")),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_the_names_and_separators_of_other_tools(tmp_path, name, content, zipped):
    path = tmp_path / (f"{name}.gz" if zipped else name)
    data = content.encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    table = read_lists(path)
    found = list(zip(*(table[key] for key in ("user", "item", "score", "rank"))))
    assert found == ROWS
    assert table["line"].tolist() == [2, 3, 4]


def test_parquet_with_whole_numbers_for_ids(tmp_path):
    frame = pd.DataFrame({"user": [7, 7], "item": [1.0, 2.0], "score": [0.2, 0.1]})
    frame.to_parquet(tmp_path / "lists.parquet")
    table = read_lists(tmp_path / "lists.parquet")
    assert table["user"].tolist() == ["7", "7"]
    assert table["item"].tolist() == ["1", "2"]


@pytest.mark.parametrize(("column", "key"), [(2, "score"), (3, "rank")])
def test_without_a_header_the_third_column_is_a_score_unless_it_counts(tmp_path, column, key):
    path = tmp_path / "elliot.tsv"
    path.write_text(text("", "\t", (0, 1, column)))
    table = read_lists(path)
    assert table[key].tolist() == [row[column] for row in ROWS]
    assert list(table.columns) == ["user", "item", key, "line"]
    assert table["line"].tolist() == [1, 2, 3]


def test_ids_stay_text(tmp_path):
    path = tmp_path / "lists.csv"
    path.write_text("user,item\n007,NA\n1e3,null\n")
    assert read_lists(path)[["user", "item"]].values.tolist() == [["007", "NA"], ["1e3", "null"]]


def test_columns_by_other_names(tmp_path):
    path = tmp_path / "lists.csv"
    path.write_text("client,sku,user\nu1,i1,x\n")
    table = read_lists(path, {"user": "client", "item": "sku"})
    assert table[["user", "item"]].values.tolist() == [["u1", "i1"]]


@pytest.mark.parametrize(
    ("content", "said", "message"),
    [
        ("client,sku\nu1,i1\n", {}, "lists.csv:1: no column of users: --user=COLUMN names one of"),
        ("user,item,user\nu1,i1,u1\n", {}, "lists.csv:1: column user: is in the header twice"),
        ("user,item\nu1,i1\n,i2\n", {}, "lists.csv:3: column user: is missing"),
        ("user,item,score\nu1,i1,good\n", {}, "lists.csv:2: score='good': a number is expected"),
        ("user,item,score\nu1,i1,inf\n", {}, "lists.csv:2: score='inf': a number is expected"),
        ("user,item,rank\nu1,i1,1.5\n", {}, "lists.csv:2: rank='1.5': a whole number is expected"),
        ("user,item\nu1,i1\n\nu2,i1,5\n", {}, "lists.csv:4: 3 cells, and the first line has 2"),
        ("user,item\n", {}, "lists.csv: it contains no list"),
        ("", {}, "lists.csv:1: the first line is empty"),
        ("user,item\nu1,i1\n", {"score": "x"}, "score=x: "),
        ("user,item\nu1,\xff\n", {}, "lists.csv:2: is not text in UTF-8"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line(tmp_path, content, said, message):
    path = tmp_path / "lists.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError) as error:
        read_lists(path, said)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_blank_line_counts_as_a_line_and_no_more(tmp_path):
    path = tmp_path / "lists.csv"
    path.write_text("user,item\nu1,i1\n\nu2,i1\n")
    assert read_lists(path)["line"].tolist() == [2, 4]


@pytest.mark.parametrize("name", ["none.csv", "broken.parquet", "broken.csv.gz"])
def test_a_file_that_is_no_table(tmp_path, name):
    if name != "none.csv":
        (tmp_path / name).write_bytes(b"\x1f\x8bno table")
    with pytest.raises(InputError, match=name):
        read_lists(tmp_path / name)


def test_a_table_of_pandas():
    frame = pd.DataFrame(ROWS, columns=["user_id", "item_id", "score", "rank"], index=[5, 5, 5])
    assert checked(frame)["line"].tolist() == [1, 2, 3]
