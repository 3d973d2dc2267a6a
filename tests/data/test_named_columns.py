"""Options that name columns which are there, but of a kind or in a file that cannot serve."""

from pathlib import Path

import pytest

from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import run_recbole_enhance
from recbole_enhance.options.errors import OptionError

LOAD = {
    "inter": ["user_id", "item_id", "timestamp"],
    "user": ["user_id", "sex"],
    "item": ["item_id", "colour", "tags"],
}


@pytest.fixture
def options(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    users, items = range(6), range(9)
    texts = {
        "inter": "user_id:token\titem_id:token\ttimestamp:float\n"
        + "".join(f"u{u}\ti{i}\t{i}\n" for u in users for i in items),
        "user": "user_id:token\tsex:token\n" + "".join(f"u{u}\ts{u % 2}\n" for u in users),
        "item": "item_id:token\tcolour:token\ttags:token_seq\n"
        + "".join(f"i{i}\tc{i % 3}\tt{i % 2} t9\n" for i in items),
    }
    for suffix, text in texts.items():
        (folder / f"d.{suffix}").write_text(text)
    return {"dataset": "d", "data_path": str(tmp_path), "load_col": LOAD, "epochs": 1}


def run(options, model, **more):
    given = {**options, "model": model, "show_progress": False, **more}
    return run_recbole_enhance(config_dict=given, saved=False)


@pytest.mark.parametrize("model", ["SASRecF", "GRU4RecF", "FDSA"])
@pytest.mark.parametrize("column", ["sex", "timestamp"])
def test_a_sequential_model_selects_features_of_items(options, model, column):
    more = {"numerical_features": [column]} if column == "timestamp" else {}
    with pytest.raises(OptionError, match=f"'{column}' is no column of items, which are item_id, "):
        run(options, model, selected_features=[column], **more)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"colour": "[1,2)"}, "'colour' is token: a list of its values is expected, and no int"),
        ({"user_id": "[4.5,5)"}, "'user_id' is token: a list of its values is expected"),
        ({"tags": ["t0"]}, "'tags' is token_seq: rows cannot be chosen by several values in a"),
    ],
)
def test_a_filter_that_fits_no_cell_is_refused(options, value, why):
    with pytest.raises(OptionError, match=f"val_interval=.*: {why}"):
        run(options, "BPR", val_interval=value)


def test_an_alias_of_an_id_is_an_id(options):
    with pytest.raises(OptionError, match=r"alias_of_item_id=.*: 'timestamp' is float, no id"):
        run(options, "BPR", alias_of_item_id=["timestamp"])


def test_a_list_of_values_filters_tokens(options):
    given = {**options, "model": "BPR", "val_interval": {"colour": ["c0", "c1"]}}
    dataset = create_dataset(Config(config_dict=given))
    kept = dataset.id2token("item_id", list(dataset.inter_feat["item_id"]))
    assert set(kept) == {f"i{i}" for i in range(9) if i % 3 < 2}


def test_seq_len_keeps_the_end_of_ready_made_histories(tmp_path, options):
    """Their last items say what comes next; RecBole keeps the first."""
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    for part in ("train", "valid", "test"):
        rows = [f"u{u}\ti0 i1 i2 i3 i{u % 9}\ti{(u + 1) % 9}\n" for u in range(9)]
        Path(tmp_path, "d", f"d.{part}.inter").write_text(header + "".join(rows))
    given = {
        **options,
        "model": "SASRec",
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
        "benchmark_filename": ["train", "valid", "test"],
        "alias_of_item_id": ["item_id_list"],
        "seq_len": {"item_id_list": 2},
        "MAX_ITEM_LIST_LENGTH": 2,
    }
    dataset = create_dataset(Config(config_dict=given))
    lists = dataset.inter_feat["item_id_list"][:9]
    tokens = [dataset.id2token("item_id", ids).tolist() for ids in lists]
    assert tokens == [["i3", f"i{u}"] for u in range(9)]
