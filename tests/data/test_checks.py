"""The checks of data against loops and against cases with a known answer."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.data import checks
from recbole_enhance.data.checks import Part


def told(findings, wrong):
    return {(f.check, f.number) for f in findings if f.wrong == wrong}


ROWS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=12
)


def part(rows):
    users, items, times = np.array(rows).T
    return Part(users, items, times)


@given(training=ROWS, validation=ROWS, test=ROWS, by_time=st.booleans())
def test_leakage_is_what_loops_find(training, validation, test, by_time):
    parts = {"training": part(training), "validation": part(validation), "test": part(test)}
    pairs = [{(u, i) for u, i, _ in rows} for rows in (training, validation, test)]
    wrong = [len(pairs[a] & pairs[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    early = sum(any(v == u and t < s for v, _, s in training) for u, _, t in test)
    anywhere = sum(t < max(s for *_, s in training) for *_, t in test)
    noted = [anywhere]
    (wrong if by_time else noted).insert(3 if by_time else 0, early)
    found = checks.leakage(parts, by_time)
    assert [f.number for f in found if f.wrong] == [n for n in wrong if n]
    assert [f.number for f in found if not f.wrong] == [n for n in noted if n]


@given(training=ROWS, validation=ROWS, test=ROWS, masks=st.booleans())
def test_unseen_is_what_loops_find(training, validation, test, masks):
    parts = {"training": part(training), "validation": part(validation), "test": part(test)}
    before = {(u, i) for rows in (training, validation) for u, i, _ in rows}
    ranked = [(u, i) for u, i, _ in test if not (masks and (u, i) in before)]
    expected = [
        4 - len({u for u, _ in ranked}),
        5 - len({i for _, i in ranked}),
        sum(u not in {v for v, *_ in training} for u, *_ in test),
        sum(i not in {j for _, j, _ in training} for _, i, _ in test),
    ]
    found = checks.unseen(parts, 4, 5, masks)
    assert [f.number for f in found] == [n for n in expected if n]
    assert not any(f.wrong for f in found)


def test_without_times_pairs_are_still_compared():
    users, items = np.array([1, 2]), np.array([3, 3])
    parts = {name: Part(users, items, None) for name in ("training", "validation", "test")}
    assert [f.number for f in checks.leakage(parts, True)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("tokens", "wrong", "notes"),
    [
        (["1", "2", "10"], set(), set()),
        (["7", "07", "8"], {("ids", 2)}, set()),
        (["1", "1.0", "2.50", "2.5", "3"], {("ids", 4)}, set()),
        (["007", "8.0", "x"], set(), {("ids", 2)}),
        (["a", " a", "b "], {("ids", 2)}, {("ids", 1)}),
        (["+5", "5", "-5", "-05"], {("ids", 4)}, set()),
        (["0", "00", "1e3", "1000", "0x10", "v1.0", "1.0.0"], {("ids", 2)}, set()),
        # 64-bit floats would take these for one.
        (["9007199254740993", "9007199254740992"], set(), set()),
    ],
)
def test_ids_that_look_alike(tokens, wrong, notes):
    found = checks.look_alikes(pd.Series(tokens), "column item_id")
    assert (told(found, True), told(found, False)) == (wrong, notes)


def test_gaps_between_interactions_and_a_file():
    used, described = pd.Series(["1", "2", "3"]), pd.Series(["1", "2.0", "4", "4"])
    found = checks.gaps(used, described, "d.item", "items")
    assert [(f.wrong, f.number) for f in found] == [(True, 1), (True, 2), (False, 3)]
    assert "such as '2', '3'; 1 of them are there in another form" in found[1].text


def moments(values):
    return pd.DataFrame({"user": [f"u{n}" for n in range(len(values))], "time": values})


@pytest.mark.parametrize(
    ("size", "unit"), [(1, "in seconds"), (10**3, "milli"), (10**6, "micro"), (10**9, "nano")]
)
def test_the_unit_of_times_and_years_beyond_it(size, unit):
    good = [1_500_000_000 * size + n for n in range(5)]  # in 2017
    (found,) = checks.times(moments(good), "user", "time", "d.inter", 2020)
    assert unit in found.text
    assert "from 2017 to 2017" in found.text
    assert not found.wrong
    table = moments([*good, 0, 1_700_000_000 * size, -1])  # 1970, 2023, 1969
    found = checks.times(table, "user", "time", "d.inter", 2020)
    assert told(found, True) == {("time", 3)}
    assert "the first in row 6 (time=0)" in found[-1].text
    assert told(checks.times(table, "user", "time", "d.inter", 2022), True) == {("time", 2)}


def test_times_that_are_missing_equal_or_no_dates():
    table = pd.DataFrame({"user": list("aabb"), "time": [3.0, 3.0, np.nan, 3.0]})
    found = checks.times(table, "user", "time", "d.inter", 2020)
    assert told(found, True) == {("time", 1)}
    assert [f.number for f in found if not f.wrong] == [1, 3]
    assert "no time, the first in row 3" in found[0].text
    assert "from 3.0 to 3.0 is no date in any unit" in found[-1].text


@pytest.mark.parametrize(
    ("content", "encoding", "wrong", "notes"),
    [
        (b"a:token\nx\n", None, 0, 0),
        (b"\xef\xbb\xbfa:token\nx\n", None, 1, 0),
        (b"\xef\xbb\xbfa:token\nx\n", "utf-8-sig", 0, 0),
        (b"a:token\r\nx\r\n", None, 0, 2),
        (b"a:token\nx\r\n", None, 0, 1),
        (b"a:token\n\xff\n", None, 1, 0),
        (b"a:token\n\xff\n", "latin-1", 0, 0),
    ],
)
def test_bytes(tmp_path, content, encoding, wrong, notes):
    path = tmp_path / "d.inter"
    path.write_bytes(content)
    found = checks.encodings(path, encoding)
    assert sum(f.wrong for f in found) == wrong
    assert sum(f.number for f in found if not f.wrong) == notes
