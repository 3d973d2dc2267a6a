"""What the cache gives is what the reader gives, whatever happens to its files."""

import multiprocessing
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_enhance.data import table_cache
from recbole_enhance.data.reading import read_atomic
from recbole_enhance.data.table_cache import cache_folder, read_through
from recbole_enhance.experiment.assembly import assemble
from recbole_enhance.experiment.config import Config
from recbole_enhance.options.errors import DataError, OptionError

HEADER = "user:token\ttime:float\tprice:float\ttags:token_seq\tplaces:float_seq"
COLUMNS = ["user", "time", "price", "tags", "places"]


@pytest.fixture(autouse=True)
def _small_files_too(monkeypatch):
    monkeypatch.setattr(table_cache, "LEAST", 0)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "d.inter"
    path.write_text(f"{HEADER}\nu\t1\t1.5\tx y\t1\n\t2\t\t\t\nNA\t3\t-1\té\t7\n")
    return path


def _same(one, other):
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        for mine, its in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(mine, its)
            assert type(mine) is type(its)


def _unread(*_, **__):
    raise AssertionError("the file was read")


@pytest.mark.parametrize("coded", [False, True])
def test_the_second_table_is_the_first_and_nothing_is_read(tmp_path, path, monkeypatch, coded):
    plain = read_atomic(path, COLUMNS, coded=coded)
    first = read_through(tmp_path / "cache", path, COLUMNS, coded=coded)
    monkeypatch.setattr(table_cache, "read_atomic", _unread)
    second = read_through(tmp_path / "cache", path, COLUMNS, coded=coded)
    _same(first, plain)
    _same(second, plain)
    os.utime(path, (1, 1))  # another time, the same bytes
    copy = path.with_name("copy.inter")
    copy.write_bytes(path.read_bytes())
    _same(read_through(tmp_path / "cache", copy, COLUMNS, coded=coded), plain)


_texts = st.text(st.characters(exclude_characters="\t\n\r\0", exclude_categories=["Cs"]))

_floats = st.floats(allow_nan=False, allow_infinity=False)


def _joined(numbers):
    return " ".join(map(str, numbers))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(_texts, _floats, _texts, st.lists(_floats).map(_joined))))
def test_any_table_comes_back(tmp_path, rows):
    path, folder = tmp_path / "d.item", tmp_path / "cache"
    lines = [
        "a:token\tb:float\tc:token_seq\td:float_seq",
        *("\t".join(map(str, row)) for row in rows),
    ]
    path.write_bytes(("\n".join(lines) + "\n").encode())
    plain = read_atomic(path)
    for _ in range(2):
        _same(read_through(folder, path, ["a", "b", "c", "d"]), plain)


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ("the bytes", {}),
        ("columns", {"columns": COLUMNS[:2]}),
        ("seq_separator", {"seq_separator": ";"}),
        ("encoding", {"encoding": "latin-1"}),
        ("coded", {"coded": True}),
        ("the reader", {}),
    ],
)
def test_whatever_decides_the_table_is_in_the_key(tmp_path, path, monkeypatch, change, how):
    read_through(tmp_path / "cache", path, COLUMNS)
    if change == "the bytes":
        path.write_text(path.read_text().replace("NA", "NB"))
    if change == "the reader":
        monkeypatch.setattr(table_cache, "_VERSION", -1)
    columns = how.pop("columns", COLUMNS)
    _same(read_through(tmp_path / "cache", path, columns, **how), read_atomic(path, columns, **how))
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "a byte", "a pickle", "other columns"])
def test_what_is_broken_is_told_and_made_anew(tmp_path, path, caplog, damage):
    folder = tmp_path / "cache"
    plain = read_through(folder, path, COLUMNS)
    (file,) = folder.iterdir()
    good = file.read_bytes()
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(good[: len(good) // 2])
    elif damage == "a byte":
        at = good.index("é".encode())
        file.write_bytes(good[:at] + b"\xc3\xa8" + good[at + 2 :])
    elif damage == "a pickle":
        with file.open("wb") as out:
            np.savez(out, columns=np.array([{}], dtype=object))
    else:
        with file.open("wb") as out:
            np.savez(out, columns=table_cache._bytes(["user"]))
    _same(read_through(folder, path, COLUMNS), plain)
    assert "cannot be read" in caplog.text
    caplog.clear()
    _same(read_through(folder, path, COLUMNS), plain)
    assert not caplog.text


def test_a_missing_cell_is_refused_from_the_cache_too(tmp_path, path):
    read_through(tmp_path / "cache", path, COLUMNS)
    with pytest.raises(DataError, match=r"price.*is missing"):
        read_through(tmp_path / "cache", path, COLUMNS, required=["price"])


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path, path, monkeypatch):
    def changing(*args, **how):
        table = read_atomic(*args, **how)
        path.write_text(path.read_text() + "w\t4\t1\t\t\n")
        return table

    monkeypatch.setattr(table_cache, "read_atomic", changing)
    read_through(tmp_path / "cache", path, COLUMNS)
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, path, caplog):
    (tmp_path / "file").write_text("")
    plain = read_atomic(path, COLUMNS)
    _same(read_through(tmp_path / "file" / "cache", path, COLUMNS), plain)
    assert "nothing is kept" in caplog.text


def test_the_oldest_go_where_there_are_too_many(tmp_path, path, monkeypatch):
    folder = tmp_path / "cache"
    read_through(folder, path, COLUMNS)
    (first,) = folder.iterdir()
    left = folder / ".d.npz.1.tmp"  # of a killed process
    left.touch()
    for file in (first, left):
        os.utime(file, (1, 1))
    monkeypatch.setattr(table_cache, "_MOST", 1)
    read_through(folder, path, COLUMNS[:2])
    (left,) = folder.iterdir()
    assert left != first


def _work(folder, path):
    table_cache.LEAST = 0
    for _ in range(5):
        _same(read_through(folder, path, COLUMNS), read_atomic(path, COLUMNS))


def test_two_processes_write_at_once(tmp_path, path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(tmp_path / "cache", path)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".npz"]


def test_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / "recbole_enhance" / "tables"
    assert cache_folder("never") is None
    assert cache_folder("here/there").as_posix() == "here/there"
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="data_cache"):
        cache_folder(str(tmp_path / "file"))


def test_a_run_has_the_same_rows_with_and_without(tmp_path, toy):
    folders = ["never", str(tmp_path / "cache"), str(tmp_path / "cache")]
    runs = [
        assemble(Config(config_dict={**_RUN, "data_path": str(toy), "data_cache": folder}))
        for folder in folders
    ]
    assert list((tmp_path / "cache").iterdir())
    first, *others = (run.train_data._dataset for run in runs)
    for other in others:
        for name, column in first.inter_feat.interaction.items():
            assert column.tolist() == other.inter_feat.interaction[name].tolist()
        for name, tokens in first.field2id_token.items():
            np.testing.assert_array_equal(tokens, other.field2id_token[name])


_RUN = {"model": "BPR", "dataset": "toy", "show_progress": False}


def test_numbers_of_pandas_are_kept(tmp_path):
    path = tmp_path / "d.item"
    path.write_text("a:token\tb:float\n1\t9007199254740993\n2\t1\n")
    tables = [read_through(tmp_path / "cache", path, ["a", "b"]) for _ in range(2)]
    pd.testing.assert_frame_equal(*tables)
    assert tables[1]["b"].tolist() == [9007199254740993, 1]
