from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.data import reading
from recbole_enhance.data.reading import read_atomic
from recbole_enhance.options.errors import DataError, OptionError

HOSTILE = [
    "",
    "NA",
    "nan",
    "null",
    "None",
    "[PAD]",
    '"',
    '""',
    "'",
    "\\",
    "\\N",
    "007",
    "1e5",
    "#",
    " ",
]
TOKENS = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_characters="\t\r\n\0", exclude_categories=("Cs",)), max_size=5
)
NUMBERS = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)


def write(folder, text, name="toy.inter", encoding="utf-8"):
    path = Path(folder, name)
    path.write_bytes(text.encode(encoding))
    return path


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(TOKENS, NUMBERS, TOKENS), min_size=1, max_size=8),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_cells_are_read_as_they_were_written(tmp_path_factory, rows, end, last):
    lines = ["a:token\tb:float\tc:token"]
    lines += ["\t".join([a, "" if b is None else repr(b), c]) for a, b, c in rows]
    path = write(tmp_path_factory.mktemp("x"), end.join(lines) + (end if last else ""))
    table = read_atomic(path)
    assert len(table) == len(rows)
    for row, (a, b, c) in enumerate(rows):
        for name, cell in (("a", a), ("c", c)):
            value = table[name][row]
            assert value == cell if cell else np.isnan(value)
        assert np.isnan(table["b"][row]) if b is None else table["b"][row] == float(b)
    if all(type(b) is int for _, b, _ in rows):
        assert table["b"].tolist() == [b for _, b, _ in rows]  # to the last digit


@settings(max_examples=50, deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=6))
def test_a_file_of_one_column_keeps_its_empty_cells(tmp_path_factory, cells):
    path = write(tmp_path_factory.mktemp("x"), "a:token\n" + "".join(c + "\n" for c in cells))
    assert read_atomic(path)["a"].fillna("").tolist() == cells


def test_sequences(tmp_path):
    path = write(tmp_path, 'a:token_seq\tb:float_seq\nx  NA\t1 2.5\n\t\n"y\t-3\n')
    table = read_atomic(path)
    assert [list(x) for x in table["a"]] == [["x", "NA"], [], ['"y']]
    assert [x.tolist() for x in table["b"]] == [[1, 2.5], [], [-3]]


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=100, deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.lists(TOKENS, max_size=4), st.lists(FLOATS, max_size=4)), max_size=6
    ),
    separator=st.sampled_from([" ", "|", "::", "aa", "é", "\\n"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_sequences_are_what_a_split_of_each_cell_gives(tmp_path_factory, cells, separator, end):
    """All cells are split at once: none may take from its neighbour."""
    rows = [(separator.join(a), separator.join(map(repr, b)), "x") for a, b in cells]
    lines = ["a:token_seq\tb:float_seq\tc:token", *("\t".join(row) for row in rows)]
    path = write(tmp_path_factory.mktemp("x"), end.join(lines) + end)
    table = read_atomic(path, seq_separator=separator)
    expected = [list(filter(None, a.split(separator))) for a, *_ in rows]
    assert [list(x) for x in table["a"]] == expected
    assert [x.tolist() for x in table["b"]] == [b for _, b in cells]
    assert all(x.dtype == object for x in table["a"])
    assert all(x.dtype == np.float64 for x in table["b"])


TABLES = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=6)


def lines_of(rows):
    return ["a:token\tb:token", *("\t".join(row) for row in rows)]


@settings(max_examples=60, deadline=None)
@given(rows=TABLES, at=st.integers(0, 5), bad=st.sampled_from(["\0", "\t", "\rx"]), data=st.data())
def test_a_bad_character_anywhere_is_refused_by_its_line(tmp_path_factory, rows, at, bad, data):
    """A zero byte, one tab more, a carriage return that ends no line."""
    lines = lines_of(rows)
    row = at % len(rows) + 1
    place = data.draw(st.integers(0, len(lines[row])))
    lines[row] = lines[row][:place] + bad + lines[row][place:]
    path = write(tmp_path_factory.mktemp("x"), "\n".join(lines) + "\n")
    with pytest.raises(DataError, match=rf"toy\.inter:{row + 1}: "):
        read_atomic(path)


@settings(max_examples=40, deadline=None)
@given(rows=TABLES)
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("x")
    marked = write(folder, "\n".join(lines_of(rows)) + "\n", encoding="utf-8-sig")
    with pytest.raises(DataError, match=r"toy\.inter:1: starts with a byte order mark"):
        read_atomic(marked)
    table = read_atomic(marked, encoding="utf-8-sig")
    assert list(table) == ["a", "b"]
    assert list(zip(*(table[name].fillna("") for name in "ab"))) == rows


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\t1\tx\nb\t2\n", r"toy\.inter:3: 2 cells, and the header has 3"),
        ("a\t1\tx\t\n", r"toy\.inter:2: 4 cells, and the header has 3"),
        ("\na\t1\tx\n\r\nb\n", r"toy\.inter:5: 1 cells"),
        ("a\t1\tx\n\nb\tbad\ty\n", r"toy\.inter:4: n='bad': a number is expected"),
        ("a\t1\tx\nb\tinf\ty\n", r"toy\.inter:3: n='inf': a number"),
        ("a\tnan\tx\nb\t\ty\n", r"toy\.inter:2: n='nan': a number"),
        ("a\tTrue\tx\n", r"toy\.inter:2: n='True': a number"),
        ("a\t1,5\tx\n", r"toy\.inter:2: n='1,5': a number"),
        ("a\t1e999\tx\n", r"toy\.inter:2: n='1e999': a number"),
        ("a\t1\tx\0\n", r"toy\.inter:2: a zero byte"),
        ("a\t1\tx\nb\t1\ry\tz\n", r"toy\.inter:3: a carriage return"),
    ],
)
def test_a_bad_row_is_refused_by_line(tmp_path, text, says):
    path = write(tmp_path, "t:token\tn:float\tu:token\n" + text)
    with pytest.raises(DataError, match=says) as error:
        read_atomic(path)
    assert "\n" not in str(error.value)


def test_a_bad_part_of_a_sequence_is_refused_by_line(tmp_path):
    path = write(tmp_path, "t:token\tn:float_seq\na\t\nb\t1 2\nc\t3 x\n")
    with pytest.raises(DataError, match=r"toy\.inter:4: n='x': numbers are expected"):
        read_atomic(path)


def test_a_required_cell(tmp_path):
    path = write(tmp_path, "t:token\tn:float\na\t1\nb\t\n")
    assert read_atomic(path, ["t"], required=["n"])["t"].tolist() == ["a", "b"]
    with pytest.raises(DataError, match=r"toy\.inter:3: column n: is missing"):
        read_atomic(path, required=["n"])


def test_whole_numbers_beyond_64_bits_are_floats(tmp_path):
    path = write(tmp_path, f"n:float\n{2**70}\n1\n")
    assert read_atomic(path)["n"].tolist() == [2.0**70, 1.0]


def test_the_smallest_whole_number_is_not_missing(tmp_path):
    path = write(tmp_path, f"t:token\tn:float\na\t\nb\t{-(2**63)}\n")
    assert read_atomic(path)["n"].fillna(0).tolist() == [0, -(2.0**63)]


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "utf-16", "utf-8-sig"])
def test_another_encoding(tmp_path, encoding):
    word = "é" if encoding == "latin-1" else "中文|"  # in gbk, | is a byte of other letters
    path = write(tmp_path, f"t:token|n:float\n{word[:2]}|1\n", encoding=encoding)
    table = read_atomic(path, separator="|", encoding=encoding)
    assert table.values.tolist() == [[word[:2], 1]]
    if encoding in ("gbk", "latin-1"):
        with pytest.raises(DataError, match=r"toy\.inter:2: is not text in UTF-8 .* gbk"):
            read_atomic(path, separator="|")


def test_options_that_cannot_be_used(tmp_path):
    path = write(tmp_path, "t:token\na\n")
    with pytest.raises(OptionError, match="encoding=klingon: Python does not know"):
        read_atomic(path, encoding="klingon")
    for separator in ("::", "\n", "·"):
        with pytest.raises(OptionError, match=r"field_separator=.*one ASCII"):
            read_atomic(path, separator=separator)
    for separator in ("", "\n", "a\0"):
        with pytest.raises(OptionError, match=r"seq_separator=.*within a line"):
            read_atomic(path, seq_separator=separator)


def test_blocks_do_not_change_what_is_read(tmp_path, monkeypatch):
    text = "t:token\tn:float\n" + "".join(f"u{i}\t{i}\n" for i in range(50))
    path = write(tmp_path, text)
    whole = read_atomic(path)
    monkeypatch.setattr(reading, "_BLOCK", 7)
    assert read_atomic(path).equals(whole)
    path.write_text(text.replace("\t41\n", "\n"))
    with pytest.raises(DataError, match=r"toy\.inter:43: 1 cells"):
        read_atomic(path)
