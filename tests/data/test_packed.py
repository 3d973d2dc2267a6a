"""Cells read as machine words are the cells that pandas reads, and are numbered as RecBole does."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

from recbole_enhance.data import account, packed, reading
from recbole_enhance.data.account import _in_both
from recbole_enhance.data.as_written import AsWritten
from recbole_enhance.data.rows import by_first_appearance, stable_order
from recbole_enhance.options.errors import DataError

_texts = st.text(st.characters(exclude_characters="\t\n\r\0", exclude_categories=["Cs"]))
_lengths = st.integers(0, 70).flatmap(lambda n: st.sampled_from(["a" * n, "é" * (n // 2), "1" * n]))
_cells = st.one_of(_texts, _lengths, st.sampled_from(["", "NA", "nan", '"', "\\N", " ", "1e5"]))
_whole = st.integers(0, 10**18 - 1).map(str) | st.integers(0, 99).map(lambda n: f"{n:03d}")
_odd = st.sampled_from(["", "-1", "1.5", "5.0", "+2", "1e3", "9" * 19, "-9223372036854775808"])


def _both(path, monkeypatch, **how):
    """The table read as words, and by pandas alone."""
    with monkeypatch.context() as patch:
        quick = reading.read_atomic(path, **how)
        patch.setattr(reading, "read_columns", lambda *_, **__: ({}, {}))
        return quick, reading.read_atomic(path, **how)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.tuples(_cells, _whole, _whole | _odd, _cells), min_size=1, max_size=30),
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.sampled_from([1, 40, 1 << 18]),
    at_once=st.sampled_from([1, 7, 1 << 18]),
    blank=st.booleans(),
)
def test_tables_are_what_pandas_reads(tmp_path, monkeypatch, rows, end, block, at_once, blank):
    lines = ["a:token\tb:float\tc:float\td:token", *map("\t".join, rows), *[""] * blank]
    path = tmp_path / "t.inter"
    path.write_bytes((end.join(lines) + end).encode())
    monkeypatch.setattr(reading, "_BLOCK", block)
    monkeypatch.setattr(reading, "_AT_ONCE", at_once)
    quick, slow = _both(path, monkeypatch)
    pd.testing.assert_frame_equal(quick, slow)
    coded, _ = _both(path, monkeypatch, coded=True)
    for name in ("a", "d"):
        assert list(coded[name].cat.categories) == list(slow[name].dropna().unique())
    pd.testing.assert_frame_equal(coded.astype({"a": object, "d": object}), slow)


@pytest.mark.parametrize("cell", ["12:3", "12/3", "1234567\x01", "9" * 8 + ":", " 12", "12345678é"])
def test_what_is_no_digit_is_no_number(tmp_path, monkeypatch, cell):
    path = tmp_path / "t.inter"
    path.write_text(f"a:token\tb:float\nu\t1\nv\t{cell}\n")
    if cell == " 12":  # a number to pandas
        quick, slow = _both(path, monkeypatch)
        pd.testing.assert_frame_equal(quick, slow)
        return
    with pytest.raises(DataError, match="a number is expected") as error:
        reading.read_atomic(path)
    assert ":3: b=" in str(error.value)


@given(st.lists(st.integers(0, 6), max_size=40))
def test_the_order_by_group_is_the_stable_one(groups):
    groups = np.array([min(g, max(len(groups) - 1, 0)) for g in groups], dtype=np.int64)
    np.testing.assert_array_equal(stable_order(groups), np.argsort(groups, kind="stable"))


@given(st.lists(st.sampled_from([-(2**63), -5, 0, 3, 2**62, 2**63 - 1]) | st.floats(-2, 2)))
def test_any_numbers_are_ordered_stably(values):
    for kind in (np.float64, np.int64):
        array = np.array([min(v, 2**62) if kind is np.float64 else int(v) for v in values], kind)
        np.testing.assert_array_equal(stable_order(array), np.argsort(array, kind="stable"))


_decimals = (
    st.decimals(0, 10**9, places=6).map("{:f}".format)
    | st.sampled_from(
        [
            "0.1",
            "4.0",
            "00.30",
            "123456789.123456",
            "0.000000000000001",
            "999999999999999.9",
            "1.2.3",
        ]
    )
    | st.sampled_from([".5", "5.", "."])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(_decimals | st.integers(0, 10**18 - 1).map(str), min_size=1, max_size=20))
def test_decimals_are_rounded_as_python_does(tmp_path, cells):
    path = tmp_path / "t.inter"
    path.write_text("a:float\n" + "\n".join(cells) + "\n")
    try:
        expected = [float(cell) for cell in cells]
    except ValueError:
        with pytest.raises(DataError, match="a number is expected"):
            reading.read_atomic(path)
        return
    assert reading.read_atomic(path)["a"].astype(float).tolist() == expected


@settings(deadline=None)
@given(st.lists(_cells, min_size=1, max_size=30), st.integers(1, 9), st.integers(1, 40))
def test_texts_are_numbered_in_pieces(cells, piece, block):
    content = b"a\tb\n" + "".join(f"{cell}\tx\n" for cell in cells).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "_PIECE", piece)
        patch.setattr(reading, "_BLOCK", block)
        texts, _ = packed.read_columns(reading._blocks(content), "\t", 2, [0], [], 99)
    if max(len(cell.encode()) for cell in cells) > packed._MOST_BYTES:
        assert not texts
        return
    codes, names = pd.factorize(np.array([cell or np.nan for cell in cells], dtype=object))
    np.testing.assert_array_equal(texts[0].codes, codes)
    assert list(texts[0].texts) == list(names)


@given(st.lists(st.integers(0, 9), max_size=40), st.lists(st.integers(0, 9), max_size=40))
def test_numbers_in_both(one, other):
    common = _in_both(np.sort(np.array(one, dtype=int)), np.sort(np.array(other, dtype=int)))
    assert common == len(set(one) & set(other))


@given(st.lists(st.integers(-1, 9), max_size=40), st.integers(1, 50))
def test_different_ids_are_counted(ids, piece):
    expected = len({one for one in ids if one >= 0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(account, "_PIECE", piece)
        assert account._number_of(np.array(ids, dtype=np.int64)) == expected
        cells = pd.Series([f"t{one}" if one >= 0 else None for one in ids], dtype=object)
        assert account._number_of(cells) == expected
        assert account._number_of(cells.astype("category")) == expected


@given(st.lists(st.integers(-1, 5), max_size=30), st.booleans())
def test_codes_are_numbered_as_pandas_numbers_texts(codes, in_order):
    codes = np.array(codes, dtype=np.int64)
    if in_order:
        codes = pd.factorize(codes)[0].astype(np.int64)
    texts = [np.nan if code < 0 else f"t{code}" for code in codes]
    numbers, known = pd.factorize(np.array(texts, dtype=object))
    mine, first = by_first_appearance(codes)
    np.testing.assert_array_equal(mine, numbers)
    assert [f"t{code}" for code in first] == list(known)


@pytest.mark.parametrize("by", ["b", ["a", "b"], ["b", "a"]])
def test_rows_are_sorted_as_recbole_sorts(by):
    generator = torch.Generator().manual_seed(0)
    columns = {
        "a": torch.randint(5, (50,), generator=generator),
        "b": torch.randint(7, (50,), generator=generator).double(),
        "c": torch.rand(50, 2, generator=generator),
        "row": torch.arange(50),
    }
    ours, plain = _Bare(), _Bare()
    ours.inter_feat, plain.inter_feat = Interaction(dict(columns)), Interaction(dict(columns))
    plain.inter_feat.sort(by)
    AsWritten.sort(ours, by)
    for name in columns:
        assert ours.inter_feat[name].tolist() == plain.inter_feat[name].tolist()


class _Bare:
    """What ``_remap`` needs of a dataset."""

    def __init__(self):
        self.field2id_token, self.field2token_id = {}, {}

    _concat_remaped_tokens = Dataset._concat_remaped_tokens


@given(
    st.lists(st.sampled_from(["x", "y", "z", "zz", np.nan]), min_size=1),
    st.lists(st.sampled_from(["x", "w", "é"]), min_size=1),
    st.booleans(),
)
def test_ids_are_recboles(interactions, items, unused):
    tables = [pd.DataFrame({"id": np.array(part, dtype=object)}) for part in (interactions, items)]
    plain, ours = _Bare(), _Bare()
    expected = [table.copy() for table in tables]
    Dataset._remap(plain, [(table, "id", FeatureType.TOKEN) for table in expected])
    coded = [table.astype("category") for table in tables]
    if unused:  # a category that no row has
        coded[0]["id"] = coded[0]["id"].cat.add_categories(["gone"])
    AsWritten._remap(ours, [(table, "id", FeatureType.TOKEN) for table in coded])
    for table, other in zip(coded, expected):
        np.testing.assert_array_equal(table["id"], other["id"])
        assert table["id"].dtype == other["id"].dtype
    np.testing.assert_array_equal(ours.field2id_token["id"], plain.field2id_token["id"])
    assert ours.field2id_token["id"].dtype == plain.field2id_token["id"].dtype
    assert ours.field2token_id == plain.field2token_id
