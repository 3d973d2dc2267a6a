"""Datasets made from people's tables: what stands there is what runs read, or a line says why."""

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.data import tables
from recbole_enhance.data.dataset_folder import DatasetFolder, read_settings
from recbole_enhance.data.importing import import_data
from recbole_enhance.data.reading import read_atomic, read_header
from recbole_enhance.options.errors import InputError

LOG = '''\
customer,sku,when,stars
007,NA,2021-03-04T05:06:07Z,5
007,"a ""b""",2021-03-04 05:06:08,3.5
u2,null,2021-03-04T07:06:07+02:00,4
'''
NAMED = {"user": "customer", "item": "sku", "name": "shop"}


def put(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def made(tmp_path, log, **options):
    return import_data(log, out=tmp_path / "dataset", **{**NAMED, **options})


def interactions(result):
    return read_atomic(result.path / f"{result.path.name}.inter")


def refused(tmp_path, log, **options):
    """The one line that says no; nothing is left."""
    with pytest.raises(InputError) as caught:
        made(tmp_path, log, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "dataset").exists()
    return str(caught.value).replace(f"{tmp_path}{os.sep}", "")


# ---- what stands there -----------------------------------------------------------------------


def test_ids_stay_text_and_times_become_seconds(tmp_path):
    result = made(tmp_path, put(tmp_path, "log.csv", LOG), time="when", rating="stars")
    table = interactions(result)
    assert table["user_id"].tolist() == ["007", "007", "u2"]
    assert table["item_id"].tolist() == ["NA", 'a "b"', "null"]
    assert table["rating"].tolist() == [5, 3.5, 4]
    assert table["timestamp"].tolist() == [1614834367, 1614834368, 1614834367]
    assert (result.interactions, result.users, result.items, result.repeated) == (3, 2, 3, 0)


ROWS = [("007", "NA", 1614834367, 5.0), ("u2", "x y", 1614834368, 3.5), ("7", "é", 1614834369, 1.0)]


def as_jsonl(path):
    rows = [dict(zip(("customer", "sku", "when", "stars"), row)) for row in ROWS]
    path.write_text("\n".join(json.dumps(row) for row in rows))


def as_parquet(path):
    pd.DataFrame(ROWS, columns=["customer", "sku", "when", "stars"]).to_parquet(path)


def as_text(separator, opened=open):
    def write(path):
        lines = [("customer", "sku", "when", "stars"), *ROWS]
        with opened(path, "wt", encoding="utf-8") as file:
            file.writelines(separator.join(map(str, line)) + "\n" for line in lines)

    return write


@pytest.mark.parametrize(
    ("name", "write"),
    {
        "log.csv": as_text(","),
        "semicolons.csv": as_text(";"),
        "log.tsv": as_text("\t"),
        "log.csv.gz": as_text(",", gzip.open),
        "log.tsv.gz": as_text("\t", gzip.open),
        "log.jsonl": as_jsonl,
        "log.parquet": as_parquet,
    }.items(),
)
def test_every_format_gives_the_same_dataset(tmp_path, name, write):
    write(tmp_path / name)
    table = interactions(made(tmp_path, tmp_path / name, time="when", rating="stars"))
    table = table[["user_id", "item_id", "timestamp", "rating"]]
    assert list(table.itertuples(index=False, name=None)) == ROWS


@pytest.mark.parametrize(
    "frame_of", [pd.DataFrame, lambda c: pl.DataFrame(c), lambda c: pl.LazyFrame(c), pa.table]
)
def test_frames_give_the_same_dataset(tmp_path, frame_of):
    columns = dict(zip(("customer", "sku", "when", "stars"), map(list, zip(*ROWS))))
    table = interactions(made(tmp_path, frame_of(columns), time="when", rating="stars"))
    table = table[["user_id", "item_id", "timestamp", "rating"]]
    assert list(table.itertuples(index=False, name=None)) == ROWS


def test_a_frame_of_numbers_and_dates_is_read_as_people_read_it(tmp_path):
    frame = pd.DataFrame(
        {
            "customer": [1.0, 2.0, 10.0],  # whole numbers that pandas made floats
            "sku": pd.Categorical(["b", "a", "b"]),
            "when": pd.to_datetime(
                ["2021-03-04", "2021-03-05 00:00:00.25", "2021-03-06"], format="ISO8601"
            ),
        }
    )
    table = interactions(made(tmp_path, frame, time="when"))
    assert table["user_id"].tolist() == ["1", "2", "10"]
    assert table["item_id"].tolist() == ["b", "a", "b"]
    assert table["timestamp"].tolist() == [1614816000, 1614902400.25, 1614988800]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_epochs_of_every_unit_stay_digit_by_digit(tmp_path, unit):
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    times = [1_614_834_367 * scale + n for n in range(3)]
    log = put(
        tmp_path,
        "log.csv",
        "customer,sku,t\n" + "".join(f"a,i{n},{t}\n" for n, t in enumerate(times)),
    )
    result = made(tmp_path, log, time="t")
    assert interactions(result)["timestamp"].tolist() == times
    assert f"t: epochs in {unit}, kept as they are" in result.notes


def test_numbers_that_only_order_rows_stay(tmp_path):
    log = put(tmp_path, "log.csv", "customer,sku,week\na,x,1\nb,y,12\n")
    result = made(tmp_path, log, time="week")
    assert interactions(result)["timestamp"].tolist() == [1, 12]
    assert any("numbers that are not dates" in note for note in result.notes)


def test_times_of_another_form_are_read_by_it(tmp_path):
    log = put(tmp_path, "log.csv", "customer,sku,t\na,x,04.03.2021\n")
    assert "time_format" in refused(tmp_path, log, time="t")
    table = interactions(made(tmp_path, log, time="t", time_format="%d.%m.%Y"))
    assert table["timestamp"].tolist() == [1614816000]


cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=30, unique_by=lambda r: r[1]))
def test_any_text_survives_csv_or_is_counted(rows):
    """Against Python's csv: good rows as they are; titles lose tabs, ids with one go."""
    import csv
    import tempfile

    marks = "\t\n\r"
    good = [r for r in rows if r[0] and r[1] and not set(r[0] + r[1]) & set(marks)]
    if not good:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for name, header, body in (
            ("log.csv", ["customer", "sku"], [(user, item) for user, item, _ in rows]),
            ("items.csv", ["sku", "name"], [(item, title) for _, item, title in rows]),
        ):
            with (path / name).open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, quoting=csv.QUOTE_ALL)
                writer.writerows([header, *body])
        result = made(path, path / "log.csv", items=path / "items.csv", title="name", skip_bad=True)
        table = interactions(result)
        assert list(table.itertuples(index=False, name=None)) == [r[:2] for r in good]
        titles = read_atomic(result.path / "shop.item", whole=True).set_index("item_id")["title"]
        for _, item, title in good:
            shown = titles[item]
            assert ("" if shown != shown else shown) == pd.Series(title).str.replace(
                "[\t\n\r]+", " ", regex=True
            )[0]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60),
    st.integers(1, 7),
)
def test_counts_are_those_of_pandas_whatever_the_pieces(pairs, rows):
    import tempfile

    frame = pd.DataFrame(pairs, columns=["customer", "sku"])
    before, tables._ROWS = tables._ROWS, rows
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = made(Path(folder), frame)
    finally:
        tables._ROWS = before
    assert result.interactions == len(frame)
    assert result.users == frame["customer"].nunique()
    assert result.items == frame["sku"].nunique()
    assert result.repeated == frame.duplicated().sum()


# ---- items, users, graphs, mentions ----------------------------------------------------------


ITEMS = """\
sku,name,genres,price,shelf
NA,"Ugly, ""quoted""	title
in two lines",Home & Garden|Toys,1.5,007
null,Plain,Toys,2,012
other,Third,Games|Home & Garden,,001
"""


def test_columns_of_items_and_users_are_kept_with_guessed_kinds(tmp_path):
    users = put(tmp_path, "users.csv", "customer,country,age\n007,NL,30\nu2,NA,41\n")
    result = made(
        tmp_path,
        put(tmp_path, "log.csv", LOG),
        items=put(tmp_path, "items.csv", ITEMS),
        title="name",
        category="genres",
        users=users,
        groups=["country"],
    )
    kinds = read_header(result.path / "shop.item")
    assert kinds == {
        "item_id": "token",
        "title": "token",
        "genres": "token_seq",
        "price": "float",
        "shelf": "token",
    }
    items = read_atomic(result.path / "shop.item", seq_separator="|").set_index("item_id")
    assert items["title"]["NA"] == 'Ugly, "quoted" title in two lines'
    assert items["genres"]["NA"].tolist() == ["Home & Garden", "Toys"]
    assert items["shelf"]["null"] == "012"
    assert np.isnan(items["price"]["other"])
    people = read_atomic(result.path / "shop.user")
    assert people["country"].tolist() == ["NL", "NA"]
    assert read_header(result.path / "shop.user")["age"] == "float"
    settings = yaml.safe_load((result.path / "shop.yaml").read_text())
    assert settings["load_col"]["item"] == ["item_id", "genres"]
    assert settings["item_category_field"] == "genres"
    assert settings["group_fields"] == ["country"]
    assert settings["seq_separator"] == "|"
    assert any("1 of 3 items of the log have no row" in note for note in result.notes)


def test_a_named_kind_wins_over_the_guess(tmp_path):
    items = put(tmp_path, "items.csv", "sku,year\nNA,1999\nnull,2001\n")
    log = put(tmp_path, "log.csv", LOG)
    result = made(tmp_path, log, items=items, kinds=["year:token"])
    assert read_header(result.path / "shop.item")["year"] == "token"
    with pytest.raises(InputError, match=r"kinds=yaer:token: no such column"):
        made(tmp_path, log, items=items, kinds=["yaer:token"], overwrite=True)
    with pytest.raises(InputError, match=r"kinds=year:text: COLUMN:KIND is expected"):
        made(tmp_path, log, items=items, kinds=["year:text"], overwrite=True)


EUROPEAN = "user;item;rating\nu1;i1;4,5\nu2;i2;3\n"


def test_decimal_commas_are_read_where_they_are_asked_for(tmp_path):
    log = put(tmp_path, "log.csv", EUROPEAN)
    items = put(tmp_path, "items.csv", 'item;price;size\ni1;"9,75";1,5 l\ni2;10;2,0 l\n')
    named = {"user": "user", "item": "item", "rating": "rating", "items": items}
    result = made(tmp_path, log, **named, decimal=",")
    assert interactions(result)["rating"].tolist() == [4.5, 3.0]
    stored = read_atomic(result.path / "shop.item")
    assert stored["price"].tolist() == [9.75, 10.0]
    assert stored["size"].tolist() == ["1,5 l", "2,0 l"]
    assert not any("decimal" in note for note in result.notes)


def test_decimal_commas_that_were_not_asked_for_are_named(tmp_path):
    log = put(tmp_path, "log.csv", EUROPEAN)
    items = put(tmp_path, "items.csv", "item;price\ni1;9,75\ni2;10\n")
    named = {"user": "user", "item": "item"}
    said = refused(tmp_path, log, **named, rating="rating")
    assert said.startswith("log.csv:2: rating='4,5': a number is expected (--decimal=, reads")
    assert any(
        note.startswith("price: ") for note in made(tmp_path, log, **named, items=items).notes
    )


@pytest.mark.parametrize("cell", ["1.500", "1.500,5", "4,5,6"])
def test_points_are_refused_where_commas_part_decimals(tmp_path, cell):
    log = put(tmp_path, "log.csv", f"user;item;rating\nu1;i1;4,5\nu2;i2;{cell}\n")
    said = refused(tmp_path, log, user="user", item="item", rating="rating", decimal=",")
    assert said == f"log.csv:3: rating={cell!r}: a number is expected"


def test_a_decimal_separator_is_a_point_or_a_comma(tmp_path):
    log = put(tmp_path, "log.csv", EUROPEAN)
    said = refused(tmp_path, log, user="user", item="item", decimal=";")
    assert said == "decimal=;: a point or a comma is expected"


def test_an_item_stands_once(tmp_path):
    items = put(tmp_path, "items.csv", "sku,name\nNA,a\nnull,b\nNA,c\n")
    log = put(tmp_path, "log.csv", LOG)
    assert refused(tmp_path, log, items=items) == "items.csv:4: sku='NA': has a row already"
    result = made(tmp_path, log, items=items, title="name", skip_bad=True)
    assert read_atomic(result.path / "shop.item")["title"].tolist() == ["a", "b"]


def test_a_knowledge_graph_and_its_links(tmp_path):
    kg = put(tmp_path, "kg.csv", "h,r,t\nm.1,by,m.2\nm.2,of,m.3\n")
    links = put(tmp_path, "links.csv", "item,entity\nNA,m.1\n")
    log = put(tmp_path, "log.csv", LOG)
    result = made(tmp_path, log, kg=kg, links=links)
    assert read_atomic(result.path / "shop.kg").to_numpy().tolist() == [
        ["m.1", "by", "m.2"],
        ["m.2", "of", "m.3"],
    ]
    assert list(read_header(result.path / "shop.link")) == ["item_id", "entity_id"]
    with pytest.raises(InputError, match=r"links=.*: 2 columns are expected"):
        made(tmp_path, log, links=kg, overwrite=True)


def test_mentions_of_features(tmp_path):
    head = "customer,sku,what,tone\n"
    log = put(tmp_path, "log.csv", head + "a,x,battery|big screen,1|-1\nb,y,,\n")
    result = made(tmp_path, log, features="what", sentiments="tone")
    table = interactions(result)
    assert table["feature"].map(len).tolist() == [2, 0]
    assert table["sentiment"][0].tolist() == [1, -1]
    for cells, problem in (
        ("a,x,battery,1|1", "one sentiment is expected for each feature in what"),
        ("a,x,battery,2", "sentiments are 1 or -1"),
        ("a,x,battery,good", "numbers are expected"),
    ):
        bad = put(tmp_path, "bad.csv", head + "a,x,battery,1\n" + cells + "\n")
        (tmp_path / "b").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=problem) as caught:
            import_data(bad, features="what", sentiments="tone", out=tmp_path / "b" / "o", **NAMED)
        assert "bad.csv:3: tone=" in str(caught.value)


# ---- bad input -------------------------------------------------------------------------------


def rows(*more):
    return "customer,sku,t,r\n" + "".join(f"{line}\n" for line in ("a,x,1614834367,5", *more))


IN_2100 = 4_102_444_800


@pytest.mark.parametrize(
    ("line", "problem"),
    {
        ",x,1614834367,5": "log.csv:3: column customer: is missing",
        "a,,1614834367,5": "log.csv:3: column sku: is missing",
        "a,x,1614834367": "log.csv:3: 3 cells, and the header has 4",
        "a,x,1614834367,5,6": "log.csv:3: 5 cells, and the header has 4",
        "a,x,1614834367,good": "log.csv:3: r='good': a number is expected",
        'a,x,1614834367,"1,5"': "log.csv:3: r='1,5': a number is expected",
        "a,x,1614834367,inf": "log.csv:3: r='inf': a number is expected",
        "a,x,1614834367,": "log.csv:3: column r: a number is expected",
        f"a,x,{IN_2100},5": f"log.csv:3: t='{IN_2100}': an ISO time or an epoch is expected",
        "a,x,1614834367000,5": "log.csv:3: t='1614834367000': an ISO time or an epoch",
        "a,x,0,5": "log.csv:3: t='0': an ISO time or an epoch is expected, from 1971",
        "a,x,,5": "log.csv:3: column t: an ISO time or an epoch is expected",
        '"a\tb",x,1614834367,5': "log.csv:3: customer='a\\tb': an id must not contain a tab",
    }.items(),
)
def test_a_bad_row_is_refused_by_its_line_or_left_out(tmp_path, line, problem):
    log = put(tmp_path, "log.csv", rows(line, "b,y,1614834368,1"))
    assert refused(tmp_path, log, time="t", rating="r").startswith(problem)
    result = made(tmp_path, log, time="t", rating="r", skip_bad=True)
    assert interactions(result)["user_id"].tolist() == ["a", "b"]
    (note,) = [note for note in result.notes if "left out" in note]
    assert "1 rows left out" in note
    assert "(lines 3)" in note


@pytest.mark.parametrize("when", ["0001-01-01", "2999-12-31", "1970-01-01T00:00:00Z", "soon"])
def test_a_time_that_cannot_be_is_refused(tmp_path, when):
    log = put(tmp_path, "log.csv", f"customer,sku,t\na,x,2021-03-04\nb,y,2021-03-05\nb,z,{when}\n")
    assert refused(tmp_path, log, time="t").startswith(f"log.csv:4: t='{when}': an ISO time")


def test_lines_are_counted_over_quoted_line_ends_and_blank_lines(tmp_path):
    log = put(tmp_path, "log.csv", 'customer,note,sku\na,"x\ny",i\n\nb,c,\n')
    assert refused(tmp_path, log) == "log.csv:5: column sku: is missing"
    log.write_text('customer,note,sku\na,"x\ny",i\n\nb,c\n')
    assert refused(tmp_path, log) == "log.csv:5: 2 cells, and the header has 3"


def test_lines_are_counted_over_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_BLOCK", 64)
    lines = [f"u{n},i{n}" for n in range(500)]
    lines[321] = "u321,"
    log = put(tmp_path, "log.csv", "\n".join(["customer,sku", *lines]) + "\n")
    assert refused(tmp_path, log) == "log.csv:323: column sku: is missing"
    jsonl = put(
        tmp_path,
        "log.jsonl",
        "\n".join(json.dumps(dict(zip(("customer", "sku"), line.split(",")))) for line in lines),
    )
    assert refused(tmp_path, jsonl) == "log.jsonl:322: column sku: is missing"


def test_json_lines_of_any_kinds_are_text_and_odd_lines_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_BLOCK", 40)
    log = put(
        tmp_path,
        "log.jsonl",
        '{"customer": 1, "sku": "2021-03-04", "more": {"a": 1}}\n\n{"customer": "b", "sku": 2.0}\n'
        '{"customer": \n[1]\n{"sku": "x"}\n{"sku": true, "customer": 1.5, "more": "text"}\n',
    )
    assert refused(tmp_path, log) == "log.jsonl:4: one JSON object is expected"
    result = made(tmp_path, log, skip_bad=True)
    assert interactions(result).to_numpy().tolist() == [
        ["1", "2021-03-04"],
        ["b", "2"],
        ["1.5", "true"],
    ]
    assert any("2 rows left out: " in note and "(lines 4, 5)" in note for note in result.notes)
    assert any("customer: is missing (lines 6)" in note for note in result.notes)


def test_kept_columns_are_guessed_or_told(tmp_path):
    head = "customer,sku,device,note,price\n"
    log = put(tmp_path, "log.csv", head + 'a,x,phone,"b,c",1\nb,y,web,c,2.5\n')
    keep = ["device", "note", "price"]
    result = made(tmp_path, log, keep=keep, kinds=["note:token_seq"])
    table = interactions(result)
    assert table["device"].tolist() == ["phone", "web"]
    assert table["note"].map(list).tolist() == [["b", "c"], ["c"]]
    assert table["price"].tolist() == [1, 2.5]
    settings = yaml.safe_load((result.path / "shop.yaml").read_text())
    assert settings["context"]["load_col"]["inter"] == ["user_id", "item_id", "device", "note"]


def test_a_name_of_a_column_cannot_break_the_settings(tmp_path):
    strange = "a:b\x07{[#&*"
    frame = pd.DataFrame({"customer": ["a"], "sku": ["x"], strange: ["c"]})
    result = made(tmp_path, frame, keep=[strange])
    assert read_settings(result.path.parent, "shop")[1]["load_col"]["inter"]
    assert list(read_header(result.path / "shop.inter"))[2] == "a_b_{[#&*"


def test_columns_of_pandas_may_be_numbers(tmp_path):
    table = interactions(made(tmp_path, pd.DataFrame([["a", "x"]]), user="0", item="1"))
    assert table.to_numpy().tolist() == [["a", "x"]]


def test_other_columns_of_one_name_are_not_in_the_way(tmp_path):
    log = put(tmp_path, "log.csv", "customer,x,sku,x\na,1,b,2\n")
    assert interactions(made(tmp_path, log)).to_numpy().tolist() == [["a", "b"]]
    items = put(tmp_path, "items.csv", "sku,x,x\nb,1,2\n")
    with pytest.raises(InputError, match=r"items.csv:1: column 'x' is in the header twice"):
        made(tmp_path, log, items=items, overwrite=True)


def test_a_quote_that_does_not_end_is_one_line(tmp_path):
    log = put(tmp_path, "log.csv", 'customer,sku\n"a,b\nc,d\n')
    told = "log.csv:2: 1 cells, and the header has 2; a quote begins here and does not end: "
    assert refused(tmp_path, log).startswith(told)
    table = interactions(made(tmp_path, log, quoting=False))
    assert table.to_numpy().tolist() == [['"a', "b"], ["c", "d"]]


def test_rows_of_a_frame_are_named_by_number(tmp_path):
    frame = pd.DataFrame({"customer": ["a", None], "sku": ["x", "y"]})
    assert refused(tmp_path, frame) == "data, row 2: column customer: is missing"


@pytest.mark.parametrize(
    ("content", "problem"),
    {
        "": "log.csv: is empty",
        "customer,sku\n": "log.csv: has no rows",
        "u1,i1\nu2,i2\n": "user=customer: log.csv has the columns u1, i1",
        "customer,3\nu2,i2\n": "user=customr: the first line of log.csv looks like data",
        "customer,sku,customer\na,b,c\n": "log.csv:1: column 'customer' is in the header twice",
        "costumer,sku\na,b\n": "user=customer: log.csv has the columns costumer, sku; did you mean",
        '[{"customer": 1}]': "user=customer: log.csv has",
    }.items(),
)
def test_a_file_that_is_no_log_is_refused(tmp_path, content, problem):
    log = put(tmp_path, "log.csv", content)
    options = {"user": "customr"} if "customr" in problem else {}
    assert refused(tmp_path, log, **options).startswith(problem)


def test_a_file_without_a_header_gets_one(tmp_path):
    log = put(tmp_path, "u.data", "1\t2\n3\t4\n").rename(tmp_path / "u.tsv")
    assert "--header=" in refused(tmp_path, log)
    table = interactions(made(tmp_path, log, header=["customer", "sku"]))
    assert table.to_numpy().tolist() == [["1", "2"], ["3", "4"]]
    with pytest.raises(InputError, match=r"header=a: .* has 2 columns"):
        made(tmp_path, log, header=["a"], overwrite=True)


def test_a_wrong_encoding_is_told_with_its_line(tmp_path):
    log = tmp_path / "log.csv"
    log.write_bytes("customer,sku\na,x\nb,café\n".encode("latin-1"))
    assert refused(tmp_path, log).startswith("log.csv:3: is not text in utf-8; --encoding=")
    assert interactions(made(tmp_path, log, encoding="latin-1"))["item_id"].tolist() == [
        "x",
        "café",
    ]
    with pytest.raises(InputError, match=r"encoding=klingon: "):
        made(tmp_path, log, encoding="klingon", overwrite=True)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_byte_order_are_no_part_of_a_name(tmp_path, encoding):
    log = tmp_path / "log.csv"
    log.write_bytes("customer,sku\nä,x\n".encode(encoding))
    options = {"encoding": encoding} if encoding == "utf-16" else {}
    assert interactions(made(tmp_path, log, **options))["user_id"].tolist() == ["ä"]


@pytest.mark.parametrize("name", ["a/b", "..", "../x", "", ".", "a\\b", "a\nb"])
def test_a_name_that_is_a_path_is_refused(tmp_path, name):
    assert "must be the name of a folder" in refused(tmp_path, pd.DataFrame(), name=name)


def test_a_file_where_the_folder_of_datasets_should_be_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    frame = pd.DataFrame({"u": ["a"], "i": ["b"]})
    with pytest.raises(ValueError, match=r"^out=.*file: cannot be written \(File exists\)$"):
        import_data(frame, user="u", item="i", name="shop", out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_files_that_cannot_be_read_are_one_line(tmp_path):
    broken = tmp_path / "log.csv.gz"
    broken.write_bytes(gzip.compress(LOG.encode() * 999)[:-99])
    assert refused(tmp_path, broken).startswith("log.csv.gz: ")
    parquet = put(tmp_path, "log.parquet", "no parquet")
    assert refused(tmp_path, parquet).startswith("log.parquet: cannot be read (")
    word = put(tmp_path, "log.docx", "x")
    assert "the file's ending is none of" in refused(tmp_path, word)
    assert refused(tmp_path, tmp_path / "no.csv") == "no.csv: there is no such file"
    lines = put(tmp_path, "log.jsonl", '{"customer": "a", "sku": "b"}\n{"customer": \n')
    assert refused(tmp_path, lines) == "log.jsonl:2: one JSON object is expected"
    listed = put(tmp_path, "all.json", '[{"customer": "a", "sku": "b"}]')
    assert "is one JSON list" in refused(tmp_path, listed)
    mixed = pd.DataFrame({"customer": ["a", 1], "sku": ["x", "y"]})
    assert refused(tmp_path, mixed).startswith("data: cannot be read (")


def test_columns_that_would_have_one_name_are_refused(tmp_path):
    items = put(tmp_path, "items.csv", "sku,item_id\nNA,1\n")
    log = put(tmp_path, "log.csv", LOG)
    assert "would both be item_id" in refused(tmp_path, log, items=items)
    assert "column 'sku' cannot be both user_id and item_id" in refused(tmp_path, log, user="sku")


# ---- all or nothing --------------------------------------------------------------------------


def test_a_dataset_is_replaced_only_if_asked(tmp_path):
    log = put(tmp_path, "log.csv", LOG)
    first = made(tmp_path, log)
    with pytest.raises(
        InputError, match=r"name=shop: .* is there already; --overwrite replaces it"
    ):
        made(tmp_path, log)
    log.write_text("customer,sku\nz,z\n")
    made(tmp_path, log, overwrite=True)
    assert interactions(first)["user_id"].tolist() == ["z"]
    log.write_text("customer,sku\nz,\n")
    with pytest.raises(InputError, match=r"is missing"):
        made(tmp_path, log, overwrite=True)
    assert interactions(first)["user_id"].tolist() == ["z"]  # what was there stays
    assert [path.name for path in (tmp_path / "dataset").iterdir()] == ["shop"]


def test_a_folder_of_other_files_is_never_replaced(tmp_path):
    (tmp_path / "dataset" / "shop").mkdir(parents=True)
    thesis = put(tmp_path / "dataset" / "shop", "thesis.tex", "years of work")
    with pytest.raises(InputError, match=r"holds thesis.tex"):
        made(tmp_path, put(tmp_path, "log.csv", LOG), overwrite=True)
    assert thesis.read_text() == "years of work"


@pytest.mark.serial
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_ends_leaves_no_half_dataset(tmp_path, end):
    """Ended within writing: Ctrl-C leaves nothing, and a kill nothing that is in the way."""
    code = (
        "import sys, time, pandas as pd\n"
        "from recbole_enhance.data import import_columns, importing\n"
        "def slow(self, cells):\n"
        "    self.file.write(b'half'); self.file.flush(); print('writing', flush=True)\n"
        "    time.sleep(60)\n"
        "import_columns.Writer.rows = slow\n"
        "frame = pd.DataFrame({'customer': ['a'], 'sku': ['b']})\n"
        f"importing.import_data(frame, out={str(tmp_path / 'dataset')!r}, **{NAMED!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(end)
    process.wait(60)
    assert not (tmp_path / "dataset" / "shop").exists()
    if end == signal.SIGINT:
        assert not (tmp_path / "dataset").exists()
    made(tmp_path, put(tmp_path, "log.csv", LOG))
    assert [path.name for path in (tmp_path / "dataset").iterdir()] == ["shop"]


def test_one_process_at_a_time_writes_a_dataset(tmp_path):
    folder = DatasetFolder(tmp_path, "shop")
    with (
        folder.writing(),
        pytest.raises(InputError, match=r"another process"),
        DatasetFolder(tmp_path, "shop").writing(),
    ):
        pass


# ---- settings --------------------------------------------------------------------------------


def test_a_dataset_decides_nothing_of_the_machine(tmp_path):
    result = made(tmp_path, put(tmp_path, "log.csv", LOG))
    path = result.path / "shop.yaml"
    for line, problem in (
        ("checkpoint_dir: /", "checkpoint_dir: is not an option that a dataset's own file may set"),
        ("general: {epochs: 3}", "epochs: is not an option"),
        ("variants: {v: {model: x}}", "model: is not an option"),
        ("item_categry_field: x", "did you mean item_category_field?"),
        ("general: 3", "general must be a mapping"),
    ):
        path.write_text(line + "\n")
        with pytest.raises(InputError, match=problem.replace("?", "[?]")):
            read_settings(result.path.parent, "shop")
