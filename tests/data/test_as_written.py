"""Small data made by each test: what becomes of every row."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.data.loaders import prepare_data
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import run_recbole_enhance
from recbole_enhance.options.errors import DataError, OptionError

IDS = ("user_id", "item_id")
LAST_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


@pytest.fixture
def data(tmp_path):
    """Write a dataset and say what to run on it."""

    def make(rows, name="d", header=HEADER, **more):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join("\t".join(map(str, row)) + "\n" for row in rows)
        (folder / f"{name}.inter").write_text(header + lines)
        for suffix, text in more.items():
            (folder / f"{name}.{suffix}").write_text(text)
        return {"dataset": name, "data_path": str(tmp_path / "data"), "quiet": True}

    return make


def built(options, model="BPR", **more):
    config = Config(config_dict={"model": model, **options, **more})
    config["checkpoint_dir"] = "."
    dataset = create_dataset(config)
    return dataset, dataset.build()


def pairs(part):
    users = part.id2token("user_id", part.inter_feat["user_id"].numpy())
    items = part.id2token("item_id", part.inter_feat["item_id"].numpy())
    return list(zip(map(str, users), map(str, items)))


def rows_in_time(n_users, n_items, times, seed=0):
    rng = np.random.default_rng(seed)
    rows = [(f"u{u}", f"i{rng.integers(n_items)}", 1, t) for u in range(n_users) for t in times]
    rng.shuffle(rows)
    return [(u, i, r, int(t)) for u, i, r, t in rows]


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("model", ["BPR", "SASRec"])
def test_the_last_in_time_is_held_out_at_any_resolution(data, unit, model):
    """RecBole's float32 has steps of 128 s; the clicks here are 10 s, or 10 units, apart."""
    start = 1_700_000_000 * unit
    rows = rows_in_time(20, 15, start + np.arange(8) * 10)
    _, (_, valid, test) = built(data(rows), model, eval_args=LAST_OUT, MAX_ITEM_LIST_LENGTH=20)
    history = {}
    for user, item, *_ in sorted(rows, key=lambda row: row[3]):
        history.setdefault(user, []).append(item)
    assert dict(pairs(test)) == {user: items[-1] for user, items in history.items()}
    assert dict(pairs(valid)) == {user: items[-2] for user, items in history.items()}
    assert test.inter_feat["timestamp"].dtype == torch.float32
    if model == "SASRec":
        lists = test.inter_feat["item_id_list"], test.inter_feat["item_length"]
        for (user, _), items, n in zip(pairs(test), *lists):
            told = test.id2token("item_id", items[: int(n)].numpy())
            assert list(told) == history[user][:-1]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from([1, 10**3, 10**6, 10**9]).flatmap(
            lambda unit: st.integers(1_600_000_000 * unit, 1_600_000_050 * unit)
        ),
        min_size=4,
        max_size=30,
    )
)
def test_rows_are_ordered_as_python_sorts_them(tmp_path_factory, times):
    folder = tmp_path_factory.mktemp("data")
    (folder / "d").mkdir()
    lines = "".join(f"u\ti{n}\t{time}\n" for n, time in enumerate(times))
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    (folder / "d" / "d.inter").write_text(header + lines)
    _, parts = built({"dataset": "d", "data_path": str(folder)}, eval_args=LAST_OUT)
    ordered = [item for part in parts for _, item in pairs(part)]
    assert ordered == [f"i{n}" for n in sorted(range(len(times)), key=times.__getitem__)]


@pytest.mark.parametrize("group_by", ["user", "none"])
@pytest.mark.parametrize("order", ["RO", "TO"])
@pytest.mark.parametrize("split", [{"RS": [0.8, 0.1, 0.1]}, {"RS": [1, 0, 0.3]}, "LS", "TS"])
def test_splits_hold_the_rows_of_recboles(data, split, order, group_by):
    """In RecBole's order, with times that float32 holds."""
    from recbole.data.dataset import Dataset

    rng = np.random.default_rng(1)
    rows = [
        (f"u{rng.integers(25)}", f"i{n}", 1, time) for n, time in enumerate(rng.permutation(300))
    ]
    for way in ("valid_and_test", "valid_only", "test_only") if split == "LS" else (split,):
        wanted = {"LS": way} if split == "LS" else split
        wanted = {"TS": [0.7, 0.1, 0.2]} if split == "TS" else wanted
        if split == "TS" and order == "RO":
            continue  # RecBole then puts late rows into training
        protocol = {"split": wanted, "order": order, "group_by": group_by, "mode": "full"}
        options = {**data(rows), "model": "BPR", "eval_args": protocol}
        found = []
        for make in (create_dataset, Dataset):
            config = Config(config_dict=options)
            torch.manual_seed(3)
            found.append([part.inter_feat.interaction for part in make(config).build()])
        for ours, theirs in zip(*found):
            assert list(ours) == list(theirs)
            for name, column in theirs.items():
                assert ours[name].dtype == column.dtype
                assert torch.equal(ours[name], column), name


def test_a_split_by_time_is_ordered_by_time(data):
    rng = np.random.default_rng(0)
    times = 1_600_000_000 + rng.permutation(400) * 7
    rows = [(f"u{n % 20}", f"i{n}", 1, time) for n, time in enumerate(times)]
    options = data(rows)
    _, parts = built(options, **{"eval_args.split": {"TS": [0.8, 0.1, 0.1]}})
    exact = {(u, i): t for u, i, _, t in rows}
    training, _, test = ([exact[pair] for pair in pairs(part)] for part in parts)
    assert max(training) <= min(test)
    with pytest.raises(OptionError, match=r"eval_args\.order=RO: .*TS.* by time"):
        built(options, eval_args={"split": {"TS": [0.8, 0.1, 0.1]}, "order": "RO"})


def test_a_missing_time_is_not_made_up(data):
    options = data([("u", "a", 1, 5), ("u", "b", 1, ""), ("v", "a", 1, 7), ("v", "c", "", 8)])
    for order in (LAST_OUT, {**LAST_OUT, "split": {"TS": [0.8, 0.1, 0.1]}}):
        with pytest.raises(DataError, match=r"d\.inter:3: column timestamp: is missing"):
            built(options, eval_args=order)
    dataset, _ = built(options)  # random order: times decide nothing
    assert dataset.account.filled == {"inter.rating": 1, "inter.timestamp": 1}


def test_ids_are_what_the_cells_say(data):
    """pandas' NA words are ids, an empty cell is none, and exactly its rows go."""
    names = ["NA", "null", "nan", "None", '"q', "007", "7"]
    rows = [(user, f"i{n}", 1, n) for n in range(4) for user in names]
    gone = [("", "i0", 1, 9), ("NA", "", 1, 9)]
    dataset, parts = built(data([gone[0], *rows, gone[1]]))
    assert {pair for part in parts for pair in pairs(part)} == {(u, i) for u, i, *_ in rows}
    assert dataset.account.dropped == {"an empty id": (2, 0, 0)}
    assert set(dataset.field2id_token["user_id"][1:]) == set(names)


def test_quotes_in_titles_lose_no_rows(data):
    rows = [(f"u{u}", f"i{i}", 1, i) for u in range(4) for i in range(6)]
    items = "item_id:token\ttitle:token\n" + "".join(f'i{i}\t"T{i}\n' for i in range(6))
    load = {"inter": ["user_id", "item_id"], "item": ["item_id", "title"]}
    dataset, parts = built(data(rows, item=items), load_col=load)
    assert sum(map(len, parts)) == 24
    assert dataset.id2token("title", dataset.item_feat["title"])[1] == '"T0'


def test_the_account_adds_up(data):
    rng = np.random.default_rng(0)
    rows = [(f"u{rng.integers(30)}", f"i{rng.integers(30)}", n % 5, n) for n in range(400)]
    rows += [("", "i0", 1, 1)]
    items = "item_id:token\n" + "".join(f"i{i}\n" for i in range(25))
    dataset, parts = built(
        data(rows, item=items),
        rm_dup_inter="first",
        val_interval={"rating": "[1,inf)"},
        user_inter_num_interval="[5,inf)",
        item_inter_num_interval="[4,inf)",
        load_col={"inter": ["user_id", "item_id", "rating", "timestamp"], "item": ["item_id"]},
        filter_inter_by_user_or_item=True,
    )
    account = dataset.account.as_json()
    assert account["files"] == {"d.inter": 401, "d.item": 25}
    assert [step["reason"].partition("=")[0].partition(" ")[0] for step in account["dropped"]] == [
        "an",
        "rm_dup_inter",
        "val_interval",
        "filter_inter_by_user_or_item",
        "user_inter_num_interval",
    ]
    for key in ("interactions", "users", "items"):
        lost = sum(step[key] for step in account["dropped"])
        assert account["read"][key] - lost == account["kept"][key]
    assert account["kept"]["interactions"] == sum(map(len, parts))
    assert sum(part["interactions"] for part in account["parts"].values()) == sum(map(len, parts))
    assert account["kept"]["users"] == dataset.user_num - 1
    assert all(count == 0 for count in account["repeated"].values())
    assert len(dataset.account.lines()) == 3


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "b", "c"]),
        st.sampled_from(["", *"123456"]),
        st.integers(1, 5),
        st.integers(10**9, 10**9 + 9),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(
    rows=ROWS,
    keep=st.sampled_from([None, "first", "last"]),
    user=st.sampled_from([None, "[2,inf)"]),
    item=st.sampled_from([None, "[2,9]"]),
    ratings=st.sampled_from([None, "[2,inf)"]),
    order=st.sampled_from(["RO", "TO"]),
)
def test_every_row_of_any_data_is_accounted_for(
    tmp_path_factory, rows, keep, user, item, ratings, order
):
    """Each row that was read was dropped for one reason, or is in one part."""
    rows = [*rows, *((u, str(n), 5, 10**9 + n) for u in "xy" for n in range(1, 7))]  # some stay
    folder = tmp_path_factory.mktemp("data")
    (folder / "d").mkdir()
    (folder / "d" / "d.inter").write_text(
        HEADER + "".join("{}\t{}\t{}\t{}\n".format(*row) for row in rows)
    )
    dataset, parts = built(
        {"dataset": "d", "data_path": str(folder), "quiet": True},
        rm_dup_inter=keep,
        user_inter_num_interval=user,
        item_inter_num_interval=item,
        val_interval=ratings and {"rating": ratings},
        eval_args={"order": order},
    )
    account = dataset.account.as_json()
    assert account["read"]["interactions"] == account["files"]["d.inter"] == len(rows)
    assert account["read"]["users"] == len({user for user, *_ in rows if user})
    assert account["read"]["items"] == len({item for _, item, *_ in rows if item})
    for key in ("interactions", "users", "items"):
        lost = [step[key] for step in account["dropped"]]
        assert min(lost, default=0) >= 0
        assert account["read"][key] - sum(lost) == account["kept"][key]
    told = [pairs(part) for part in parts]
    assert [len(part) for part in told] == [p["interactions"] for p in account["parts"].values()]
    assert sum(map(len, told)) == account["kept"]["interactions"]
    assert not {pair for part in told for pair in part} - {row[:2] for row in rows if all(row[:2])}
    for n, name in enumerate(account["parts"]):
        assert account["repeated"][f"within {name}"] == len(told[n]) - len(set(told[n]))
        assert account["parts"][name]["users"] == len({u for u, _ in told[n]})
    for (a, first), (b, second) in (
        ((0, "training"), (2, "test")),
        ((1, "validation"), (2, "test")),
    ):
        assert account["repeated"][f"{second} and {first}"] == len(set(told[a]) & set(told[b]))


@pytest.mark.parametrize("user", [None, "[5,inf)", "'[2,6];[12,20]'", "[0,9]"])
@pytest.mark.parametrize("item", [None, "(3,inf)", "[2,14)"])
def test_filters_by_number_are_recboles(data, user, item):
    from recbole.data.dataset import Dataset

    rng = np.random.default_rng(4)
    rows = [
        (f"u{int(rng.exponential(8))}", f"i{int(rng.exponential(8))}", 1, n) for n in range(250)
    ]
    items = "item_id:token\n" + "".join(f"i{i}\n" for i in range(60))
    options = {
        **data(rows, item=items),
        "model": "BPR",
        "user_inter_num_interval": user,
        "item_inter_num_interval": item,
        "load_col": {"inter": ["user_id", "item_id"], "item": ["item_id"]},
    }
    config = Config(config_dict=options)
    ours, theirs = create_dataset(config), Dataset(config)
    assert ours.inter_feat.equals(theirs.inter_feat)
    assert list(ours.field2id_token["item_id"]) == list(theirs.field2id_token["item_id"])


def test_a_filter_that_leaves_nothing_says_so(data):
    options = data([("u", f"i{n}", 1, n) for n in range(9)])
    with pytest.raises(DataError, match=r"user_inter_num_interval=\[100,inf\): leaves none of 9"):
        built(options, user_inter_num_interval="[100,inf)")
    with pytest.raises(DataError, match=r"val_interval=.*\[6,inf\).*: leaves none of 9"):
        built(options, val_interval={"rating": "[6,inf)"})
    with pytest.raises(DataError, match=r"d\.inter: has no interactions"):
        built(data([]))


@pytest.mark.parametrize(
    ("model", "option", "value"),
    [
        ("GRU4RecF", "selected_features", ["price"]),
        ("BPR", "val_interval", {"ratin": "[3,inf)"}),
        ("FM", "threshold", {"ratin": 4}),
        ("BPR", "numerical_features", ["ratin"]),
        ("BPR", "normalize_field", ["ratin"]),
        ("BPR", "alias_of_item_id", ["iid"]),
        ("S3Rec", "item_attribute", "class"),
    ],
)
def test_an_option_that_names_no_loaded_column_is_named(data, model, option, value):
    options = data([("u", f"i{n}", 1, n) for n in range(9)])
    with pytest.raises(OptionError, match=rf"{option}=.*is loaded .*user_id, item_id, rating"):
        built(options, model, **{option: value})


def test_times_of_a_run_are_told_to_the_loaders(data):
    options = data(rows_in_time(8, 30, 1_600_000_000 + np.arange(9)))
    config = Config(config_dict={"model": "SASRec", **options, "eval_args": LAST_OUT})
    loaders = prepare_data(config, create_dataset(config))
    for loader in loaders:
        columns = loader._dataset.inter_feat
        assert columns["timestamp"].dtype == columns["timestamp_list"].dtype == torch.float32


def repeated(data):
    """Each user has item i0 again and again, so that it is in training and in the test."""
    rows = [
        (f"u{u}", f"i{(n % 4 and 1 + 3 * u + n) % 40}", 1, n) for u in range(12) for n in range(12)
    ]
    return data([(u, "i0" if n % 4 == 0 else i, r, n) for u, i, r, n in rows])


@pytest.mark.parametrize("mode", ["full", "uni5"])
def test_a_general_model_never_ranks_what_the_user_had(data, mode, caplog):
    options = {**repeated(data), "model": "BPR", "eval_args": {**LAST_OUT, "mode": mode}}
    options["eval_args"]["split"] = {"RS": [0.5, 0.2, 0.3]}
    config = Config(config_dict=options)
    dataset = create_dataset(config)
    train, valid, test = prepare_data(config, dataset)
    known = set(pairs(train._dataset)) | set(pairs(valid._dataset))
    held_out = pairs(test._dataset)
    again = sum(pair in known for pair in held_out)
    assert again > 0
    assert test.n_repeated == again
    assert f"{again} of {len(held_out)} test interactions repeat an earlier pair" in caplog.text
    assert dataset.account.repeated["test and training"] > 0
    positives = set()
    for batch, masked, rows, items in test:
        users = batch["user_id"]
        if mode == "uni5":  # rows of the pairs, then rows and items of the positives
            of_row = {int(row): int(user) for row, user in zip(masked, users)}
            users = torch.tensor([of_row[row] for row in sorted(of_row)])
        tokens = dataset.id2token("user_id", users[rows].numpy())
        positives |= set(zip(tokens, dataset.id2token("item_id", items.numpy())))
    assert positives == set(held_out) - known
    config = Config(config_dict={**options, "repeatable": True})
    *_, test = prepare_data(config, create_dataset(config))
    assert test.n_repeated == 0


def test_a_sequential_model_that_masks_history_never_ranks_what_the_user_had(data, caplog):
    """Else the held-out item would be the only one of the user's own that is in the list."""
    split = {**LAST_OUT, "split": {"RS": [0.5, 0.2, 0.3]}}
    options = {**repeated(data), "model": "SASRec", "eval_args": split, "mask_history": True}
    config = Config(config_dict=options)
    *_, test = prepare_data(config, create_dataset(config))
    history = test.uid2history_item
    held_out = list(zip(*(test._dataset.inter_feat[name].tolist() for name in IDS)))
    known = [item in history[user] for user, item in held_out]
    assert 0 < sum(known) == test.n_repeated < len(known)
    assert f"{sum(known)} of {len(known)} test interactions repeat an earlier pair" in caplog.text
    assert "mask_history=false ranks them" in caplog.text
    ranked = []
    for batch, masked, _, items in test:
        users = batch["user_id"]
        ranked += zip(users.tolist(), items.tolist())
        assert set(zip(*(part.tolist() for part in masked))).isdisjoint(enumerate(items.tolist()))
    assert ranked == [pair for pair, had in zip(held_out, known) if not had]
    users, rows, items = test.held_out()
    assert list(zip(users[rows].tolist(), items.tolist())) == ranked
    config = Config(config_dict={**options, "mask_history": False})
    *_, test = prepare_data(config, create_dataset(config))
    assert test.n_repeated == 0


def test_nothing_but_repeated_pairs_is_nothing_to_test(data):
    options = data([(f"u{u}", f"i{u + n % 3}", 1, n) for u in range(9) for n in range(9)])
    config = Config(config_dict={**options, "model": "BPR", "eval_args": LAST_OUT})
    with pytest.raises(ValueError, match=r"eval_args: nothing to test: .*rm_dup_inter"):
        prepare_data(config, create_dataset(config))


def ready_made(data, header="user_id:token\titem_id_list:token_seq\titem_id:token\n", **more):
    text = {}
    for n, part in enumerate(("train", "valid", "test")):
        rows = [
            (f"u{u}", " ".join(f"i{(u + m) % 9}" for m in range(3 + n)), f"i{(u + n) % 9}")
            for u in range(9)
        ]
        text[f"{part}.inter"] = header + "".join("\t".join(row) + "\n" for row in rows)
    return {**data([], **text), "benchmark_filename": ["train", "valid", "test"], **more}


def test_ready_made_sequences_need_no_times_and_share_the_items_ids(data):
    options = ready_made(data)
    for load in ({}, {"load_col": {"inter": ["user_id", "item_id", "item_id_list"]}}):
        dataset, parts = built({**options, **load}, "SASRec")
        assert [len(part) for part in parts] == [9, 9, 9]
        assert list(dataset.field2id_token["item_id"]) == list(
            dataset.field2id_token["item_id_list"]
        )
        row = parts[2].inter_feat[0:1]
        told = dataset.id2token("item_id", row["item_id_list"][0, :5].numpy())
        assert list(told) == ["i0", "i1", "i2", "i3", "i4"]
        assert int(row["item_length"]) == 5
    result = run_recbole_enhance(
        "SASRec",
        config_dict={**options, "epochs": 1, "topk": [3], "valid_metric": "MRR@3"},
        saved=False,
    )
    assert 0 <= result["test_result"]["mrr@3"] <= 1


@pytest.mark.parametrize("model", ["SASRec", "BPR"])
@pytest.mark.parametrize("split", [{"RS": [8, 1, 1]}, {"TS": [8, 1, 1]}])
def test_any_order_may_be_said_for_ready_made_parts(data, model, split):
    options = ready_made(data)
    usual = [pairs(part) for part in built(options, model)[1]]
    protocol = {"order": "RO", "split": split}
    assert [pairs(part) for part in built(options, model, eval_args=protocol)[1]] == usual
    assert usual[2][:3] == [("u0", "i2"), ("u1", "i3"), ("u2", "i4")]  # as in the file


def test_a_sequential_model_takes_rows_in_time(data):
    options = data([("u", f"i{n}", 1, n) for n in range(9)])
    with pytest.raises(OptionError, match=r"eval_args.order=RO: SASRec takes .*: it must be TO"):
        built(options, "SASRec", eval_args={"order": "RO"})


def test_ready_made_parts_without_sequences_are_told_what_is_missing(data):
    options = ready_made(data, header="user_id:token\tmore:token\titem_id:token\n")
    with pytest.raises(
        DataError, match=r"d\.train\.inter: no column item_id_list:token_seq, which"
    ):
        built(options, "SASRec")
    options = ready_made(data)
    with pytest.raises(OptionError, match=r"MAX_ITEM_LIST_LENGTH=4: .* up to 5 items; seq_len"):
        built(options, "SASRec", MAX_ITEM_LIST_LENGTH=4)


def test_an_empty_id_in_ready_made_parts_is_refused(data):
    options = ready_made(data)
    path = Path(options["data_path"], "d", "d.valid.inter")
    path.write_text(path.read_text().replace("u3\t", "\t"))
    with pytest.raises(DataError, match=r"d\.valid\.inter:5: column user_id: is missing"):
        built(options, "SASRec")


def test_an_empty_history_in_ready_made_parts_is_refused(data):
    options = ready_made(data)
    path = Path(options["data_path"], "d", "d.test.inter")
    path.write_text(path.read_text().replace("u3\ti3 i4 i5 i6 i7\t", "u3\t\t"))
    with pytest.raises(DataError, match=r"d\.test\.inter:5: column item_id_list: is missing"):
        built(options, "SASRec")


def test_a_float_cannot_be_a_selected_feature(data):
    items = "item_id:token\tprice:float\n" + "".join(f"i{n}\t{n}\n" for n in range(9))
    options = data([("u", f"i{n}", 1, n) for n in range(9)], item=items)
    load = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "price"]}
    with pytest.raises(OptionError, match=r"selected_features=.*'price' is float, .*numerical_"):
        built(options, "SASRecF", load_col=load, selected_features=["price"])


@pytest.mark.parametrize(("least", "label"), [(0, 1), (9, 0)])
def test_labels_that_are_all_alike_are_refused_where_they_are_evaluated(data, least, label):
    options = data([(f"u{u}", f"i{i}", i % 5 + 1, i) for u in range(6) for i in range(9)])
    given = {"threshold": {"rating": least}, "eval_args": {"mode": "labeled"}, "metrics": ["AUC"]}
    given["valid_metric"] = "AUC"
    why = f"threshold=.'rating': {least}.: all 54 interactions have the label {label}"
    with pytest.raises(OptionError, match=why):
        built(options, "FM", **given)
    built(options, "FM", **{**given, "threshold": {"rating": 3}})
    # Sampled candidates bring the other label themselves.
    given |= {"eval_args": {"mode": "uni5"}, "metrics": ["NDCG"], "valid_metric": "NDCG@5"}
    built(options, "FM", **given, topk=[5])


def test_a_threshold_that_does_nothing_is_told(data, caplog):
    options = data([("u", f"i{n}", n, n) for n in range(9)])
    Config(config_dict={**options, "model": "BPR", "threshold": {"rating": 4}})
    assert "threshold={'rating': 4} has no effect on BPR" in caplog.text
    assert "val_interval={rating: '[4,inf)'}" in caplog.text
    caplog.clear()
    Config(config_dict={**options, "model": "FM", "threshold": {"rating": 4}})
    assert not caplog.text


@pytest.mark.parametrize(
    ("model", "option", "value", "says"),
    [
        ("BPR", "config_file", "x.yaml", "unknown option .* did you mean config_files"),
        ("BPR", "user_inter_num_interval", "'[10,5]'", "the lower end first"),
        ("BERT4Rec", "MAX_ITEM_LIST_LENGTH", 1, "MAX_ITEM_LIST_LENGTH=1: BERT4Rec masks"),
    ],
)
def test_an_option_that_cannot_work_is_named(data, model, option, value, says):
    options = data([("u", f"i{n}", n, n) for n in range(9)])
    with pytest.raises(ValueError, match=says):
        Config(config_dict={**options, "model": model, option: value})
