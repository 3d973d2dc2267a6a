import hashlib

import pytest

from recbole_enhance.data.atomic import (
    check_columns,
    default_load_col,
    find_dataset,
    sha256,
)
from recbole_enhance.data.reading import read_header

IDS = ["user_id", "item_id"]
NAMES = {
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "RATING_FIELD": "rating",
    "TIME_FIELD": "timestamp",
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "toy.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t3\t4\n"
    )
    (folder / "toy.item").write_text("item_id:token\tclass:token_seq\n2\ta b\n")
    return folder


def test_read_header(folder):
    assert read_header(folder / "toy.item") == {"item_id": "token", "class": "token_seq"}


def test_read_header_of_a_windows_file_and_another_separator(tmp_path):
    (tmp_path / "a.inter").write_bytes(b"user_id:token,item_id:token\r\n1,2\r\n")
    assert list(read_header(tmp_path / "a.inter", separator=",")) == IDS


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"user_id:token\titem_id", "'item_id'"),
        (b"user_id:token\titem_id:tokn", "'item_id:tokn'"),
        (b"user_id:token\t:token", "':token'"),
        (b"a:b:token", "'a:b:token'"),
        (b"", "''"),
        (b"user_id:token,item_id:token", "separated by"),
        (b"user_id:token\tuser_id:token", "twice"),
        (b"\xef\xbb\xbfuser_id:token", "byte order mark"),
        (b"user\xff:token", "UTF-8"),
    ],
)
def test_a_malformed_header_is_refused_by_name(tmp_path, header, says):
    (tmp_path / "bad.inter").write_bytes(header + b"\n")
    with pytest.raises(ValueError, match=r"bad\.inter") as error:
        read_header(tmp_path / "bad.inter")
    assert says in str(error.value)


@pytest.mark.parametrize(
    "load_col",
    [
        None,
        {"inter": "*"},
        {"inter": IDS, "item": "*"},
        {"inter": [*IDS, "rating"], "item": ["item_id", "class"]},
    ],
)
def test_columns_that_exist_pass(folder, load_col):
    check_columns(folder, "toy", load_col, IDS)


@pytest.mark.parametrize(
    ("load_col", "required", "says"),
    [
        ({"inter": [*IDS, "ratng"]}, IDS, ["load_col.inter", "'ratng'", "toy.inter", "'rating'?"]),
        ({"inter": IDS, "item": ["genre"]}, IDS, ["load_col.item", "'genre'", "item_id, class"]),
        ({"inter": IDS, "user": ["age"]}, IDS, ["load_col.user", "'age'", "no file", "toy.user"]),
        ({"inter": IDS, "user": "*"}, IDS, ["load_col.user", "'*'", "no file", "toy.user"]),
        ({"inter": ["user_id"]}, IDS, ["load_col.inter", "must hold 'item_id'"]),
        ({"item": ["item_id"]}, IDS, ["load_col.inter", "must hold 'user_id'"]),
        ({"inter": "user_id"}, IDS, ["load_col.inter", "'user_id'", "'*'"]),
        ({"inter": IDS, "item": None}, IDS, ["load_col.item", "None"]),
        ({"inter": IDS, "../x": ["a"]}, IDS, ["'../x'", "not a path"]),
        (None, ["uid", "item_id"], ["'uid'", "toy.inter", "user_id"]),
        (None, ["user_id", "rating"], ["'rating'", ":float", ":token"]),
        (None, [*IDS, "order"], ["'order'", "timestamp"]),
    ],
)
def test_columns_that_do_not_exist_are_refused(folder, load_col, required, says):
    with pytest.raises(ValueError, match=r"toy|load_col|suffix") as error:
        check_columns(folder, "toy", load_col, required)
    message = str(error.value)
    assert all(word in message for word in says), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("load_col", "unload_col", "says"),
    [
        (None, {"item": ["clas"]}, ["unload_col.item", "'clas'", "toy.item", "'class'?"]),
        (None, {"itm": ["class"]}, ["unload_col.itm", "no file", "toy.itm"]),
        (None, {"inter": ["item_id"]}, ["unload_col.inter", "must not hold 'item_id'"]),
        ({"inter": IDS}, {"inter": ["rating"]}, ["unload_col.inter", "['user_id', 'item_id']"]),
        ({"inter": IDS}, {"item": ["class"]}, ["unload_col.item", "loads none", "item='*'"]),
    ],
)
def test_what_cannot_be_left_out_is_refused(folder, load_col, unload_col, says):
    with pytest.raises(ValueError, match="unload_col") as error:
        check_columns(folder, "toy", load_col, IDS, unload_col=unload_col)
    assert all(word in str(error.value) for word in says), str(error.value)


@pytest.mark.parametrize("load_col", [None, {"inter": "*", "item": "*"}])
def test_columns_that_are_left_out_are_not_loaded(folder, load_col):
    everything = check_columns(folder, "toy", load_col, IDS)
    left = {"inter": ["rating"], "item": ["class"]}
    loaded = check_columns(folder, "toy", load_col, IDS, unload_col=left)
    assert loaded == [name for name in everything if name != "rating"] != everything


def test_ready_made_splits_stand_for_the_interactions(folder):
    (folder / "toy.inter").rename(folder / "toy.train.inter")
    (folder / "toy.test.inter").write_text("user_id:token\n1\n")
    assert find_dataset(folder.parent, "toy", ["train", "test"]) == folder
    with pytest.raises(ValueError, match=r"'item_id'.*toy\.test\.inter"):
        check_columns(folder, "toy", None, IDS, splits=["train", "test"])
    with pytest.raises(ValueError, match=r"toy\.valid\.inter"):
        find_dataset(folder.parent, "toy", ["train", "valid"])


def test_find_dataset(folder):
    assert find_dataset(folder.parent, "toy") == folder


def test_a_missing_dataset_is_told_what_to_do(folder):
    for number in range(12):
        (folder.parent / f"d{number:02}").mkdir()
        (folder.parent / f"d{number:02}" / f"d{number:02}.inter").touch()
    with pytest.raises(ValueError, match="'tyo'") as error:
        find_dataset(folder.parent, "tyo")
    message = str(error.value)
    expected = str(folder.parent / "tyo" / "tyo.inter")
    for words in (expected, "'toy'?", "--data_path=FOLDER", "d00, d01", "3 more", "docs/data.md"):
        assert words in message
    assert "d10" not in message
    assert "\n" not in message


def test_a_missing_data_path_is_told_too(tmp_path):
    with pytest.raises(ValueError, match=r"datasets in .*: none"):
        find_dataset(tmp_path / "nowhere", "toy")


@pytest.mark.parametrize("name", ["", ".", "..", "../toy", "a/b", "a\\b", "/etc", "C:toy", "a\0b"])
def test_no_path_leaves_its_folder(folder, name):
    with pytest.raises(ValueError, match="not a path"):
        find_dataset(folder.parent, name)


def test_default_columns(folder):
    assert default_load_col(folder, "toy", NAMES) == {"inter": [*IDS, "rating", "timestamp"]}
    (folder / "toy.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\tweight:float\n"
    )
    assert default_load_col(folder, "toy", NAMES) == {"inter": [*IDS, "timestamp"]}


def test_sha256(folder):
    expected = hashlib.sha256((folder / "toy.item").read_bytes()).hexdigest()
    digests = sha256(folder, "toy", ["inter", "item"])
    assert list(digests) == ["toy.inter", "toy.item"]
    assert digests["toy.item"] == expected
    with pytest.raises(ValueError, match=r"toy\.user"):
        sha256(folder, "toy", ["user"])


def test_the_default_columns_of_another_separator(folder):
    (folder / "toy.inter").write_text("user_id:token,item_id:token,rating:float\n1,2,3\n")
    chosen = default_load_col(folder, "toy", NAMES, separator=",")
    assert chosen == {"inter": [*IDS, "rating"]}
