"""Parts that were kept are those that would be made; where what decides has changed, none are."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_enhance.data import atomic, frozen, kept_parts, table_cache
from recbole_enhance.data.as_written import AsWritten
from recbole_enhance.data.kept_parts import built
from recbole_enhance.enhancer.rvrec.method import prepare
from recbole_enhance.experiment.assembly import load_data
from recbole_enhance.experiment.config import Config

LAST_TWO = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}
BY_CHANCE = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user"}


@pytest.fixture(autouse=True)
def _small_files_too(monkeypatch):
    for module in (table_cache, kept_parts):
        monkeypatch.setattr(module, "LEAST", 0)
    monkeypatch.setattr(logging.root.manager, "disable", 0)


@pytest.fixture
def make(tmp_path, toy):
    """Parts of the toy data, with the options; and how often parts were made, not found."""
    made = []
    plain = AsWritten.build
    toy = Path(shutil.copytree(toy, tmp_path / "data"))  # others read it too

    def counted(self):
        made.append(self)
        return plain(self)

    def function(cache=True, prepare=None, **options):
        folder = str(tmp_path / "cache") if cache else "never"
        given = {"model": "BPR", "dataset": "toy", "data_path": str(toy), "show_progress": False}
        config = Config(config_dict={**given, "data_cache": folder, **options})
        init_seed(config["seed"], config["reproducibility"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AsWritten, "build", counted)
            dataset, parts = built(config, prepare)
        return dataset, parts, torch.get_rng_state()

    function.made, function.folder, function.toy = made, tmp_path / "cache", toy
    return function


def same(one, other):
    """Whether two things hold the same, to the last bit."""
    assert type(one).__qualname__ == type(other).__qualname__ or isinstance(one, str)
    if isinstance(one, (AsWritten, Interaction)) or hasattr(one, "as_json"):
        plain = {"config": None, "_lists": None}
        same(*(dict(sorted({**vars(x), **plain}.items())) for x in (one, other)))
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for mine, its in zip(one, other):
            same(mine, its)
    else:
        assert one == other


@pytest.mark.parametrize(
    "options",
    [
        {"eval_args": BY_CHANCE},
        {"eval_args": LAST_TWO},
        {"eval_args": BY_CHANCE, "train_on_validation": 0.5},
        {"model": "SASRec", "MAX_ITEM_LIST_LENGTH": 3},
        {"model": "DeepFM", "load_col": None, "threshold": {"rating": 4}},
        {"user_inter_num_interval": "[3,inf)", "rm_dup_inter": "first", "eval_args": BY_CHANCE},
    ],
)
def test_what_was_kept_is_what_is_made(make, options):
    plain = make(cache=False, **options)
    first = make(**options)
    assert len(make.made) == 2
    second = make(**options)
    assert len(make.made) == 2  # the third was found
    for other in (first, second):
        same(other, plain)
    dataset, (training, *_), _ = second
    assert dataset.field2id_token is training.field2id_token  # one table, as before
    shared = dataset.inter_feat["item_id"].untyped_storage().data_ptr()
    ours = training.inter_feat["item_id"].untyped_storage().data_ptr()
    assert (shared == ours) == ("train_on_validation" not in options)
    assert training.config["model"] == options.get("model", "BPR")


def rewrite(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 7},
        {"eval_args": {**BY_CHANCE, "split": {"RS": [0.6, 0.2, 0.2]}}},
        {"eval_args": LAST_TWO},
        {"item_inter_num_interval": "[2,inf)"},
        {"rm_dup_inter": "last"},
        {"load_col": {"inter": ["user_id", "item_id"]}},
        {"train_on_validation": 0.5},
        {"model": "SASRec", "eval_args": LAST_TWO},
        {"prepare": prepare},
    ],
)
def test_another_option_finds_nothing(make, options):
    make(eval_args=BY_CHANCE)
    options = {"eval_args": BY_CHANCE, **options}
    found = make(**options)
    assert len(make.made) == 2
    same(found, make(cache=False, **options))


@pytest.mark.parametrize("change", ["a byte", "a file of users", "code", "a version"])
def test_other_data_or_code_find_nothing(make, monkeypatch, change):
    make()
    if change == "a byte":
        path = make.toy / "toy" / "toy.inter"
        content = path.read_bytes()
        path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    elif change == "a file of users":
        path = make.toy / "toy" / "toy.user"
        path.write_text((path.read_text() if path.exists() else "user_id:token\n") + "new\n")
    elif change == "code":
        monkeypatch.setattr(kept_parts, "_code", lambda _: "other")
    else:
        monkeypatch.setattr(kept_parts, "version", lambda _: "9")
    found = make()
    assert len(make.made) == 2
    same(found, make(cache=False))


def test_options_of_models_decide_nothing_nor_a_seed_that_draws_nothing(make):
    make(eval_args=LAST_TWO)
    make(eval_args=LAST_TWO, model="LightGCN", n_layers=1, embedding_size=8, seed=3)
    assert len(make.made) == 1


def test_each_of_many_options_is_kept(make):
    for seed in (1, 2, 1, 2):
        make(eval_args=BY_CHANCE, seed=seed)
    assert len(make.made) == 2


def _others(config, dataset):
    """As a plugin's, which may do anything."""


def test_what_may_do_anything_is_not_kept(make):
    for _ in range(2):
        make(prepare=_others)
    assert len(make.made) == 2


def test_what_is_told_is_told_again(make, caplog):
    rewrite(make.toy / "toy" / "toy.inter", "u1\t", "\t")
    for _ in range(2):
        caplog.clear()
        make()
        assert "without user_id or item_id removed" in caplog.text
    assert len(make.made) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "a byte", "a pickle", "a number", "beyond"])
def test_what_is_broken_is_told_and_made_anew(make, caplog, damage):
    plain = make()
    (file,) = make.folder.glob("*-*.npz")
    good = file.read_bytes()
    with np.load(file) as arrays:
        arrays = dict(arrays)
    state = json.loads(arrays["state"].tobytes())
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(good[: len(good) // 2])
    elif damage == "a byte":
        at = good.index(b"inter_feat")
        file.write_bytes(good[:at] + b"j" + good[at + 1 :])
    else:
        text = json.dumps(state)
        if damage == "a pickle":
            arrays["state"] = np.array([{}], dtype=object)
        elif damage == "a number":
            arrays["state"] = np.frombuffer(text.replace("again", "_arrays").encode(), np.uint8)
        else:
            short = {name: its[:8] for name, its in arrays.items() if name.startswith("memory")}
            arrays.update(short)
        with file.open("wb") as out:
            np.savez(out, **arrays)
    found = make()
    assert "cannot be read" in caplog.text
    assert len(make.made) == 2
    same(found, plain)
    make()
    assert len(make.made) == 2


def test_only_plain_things_are_frozen(make):
    dataset, parts, _ = make(cache=False)
    dataset.secret = {1, 2}
    with pytest.raises(frozen.CannotFreezeError, match="set is not kept"):
        frozen.freeze([dataset, *parts])


def test_a_run_is_ready_from_what_was_kept(make):
    config = Config(
        config_dict={
            **{"model": "BPR", "dataset": "toy", "data_path": str(make.toy)},
            **{"data_cache": str(make.folder), "show_progress": False},
        }
    )
    first, second = load_data(config), load_data(config)
    for mine, its in zip(first, second):
        for one, other in zip(mine, its):
            batches = [x if isinstance(x, tuple) else (x,) for x in (one, other)]
            same(*batches)


def test_a_file_is_hashed_once_and_again_when_it_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"a")
    monkeypatch.setattr(atomic, "_SETTLED", 0)
    first = atomic.file_sha256(path)
    with monkeypatch.context() as patch:
        patch.setattr(atomic.hashlib, "sha256", None)
        assert atomic.file_sha256(path) == first
    path.write_bytes(b"b")
    assert atomic.file_sha256(path) != first


def test_a_file_that_was_just_written_is_hashed_again(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"a")
    first = atomic.file_sha256(path)
    state = atomic._state(path)
    path.write_bytes(b"b")
    monkeypatch.setattr(atomic, "_state", lambda _: state)  # of a coarse clock
    assert atomic.file_sha256(path) != first
