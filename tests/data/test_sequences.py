from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import recbole
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data import create_dataset as recbole_create_dataset
from recbole.utils import init_seed

from recbole_enhance.data import sequences
from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.experiment.config import Config
from recbole_enhance.testing.worlds import TOY

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "dataset"


def columns(config, make):
    init_seed(config["seed"], True)
    dataset = make(config)
    dataset._change_feat_format()
    return dataset.inter_feat.interaction, dataset


def assert_the_same(options):
    config = Config(config_dict=options)
    config["checkpoint_dir"] = "."
    theirs, _ = columns(config, recbole_create_dataset)
    ours, dataset = columns(config, create_dataset)
    assert isinstance(dataset, sequences.FastSequences)
    assert list(ours) == list(theirs)  # the order too: models take fields in it
    for name, value in theirs.items():
        if name == dataset.time_field:  # exact until build() has ordered the rows
            assert torch.equal(ours[name].float(), value)
            continue
        assert ours[name].dtype == value.dtype, name
        assert torch.equal(ours[name], value), name
    return ours


@pytest.mark.parametrize("model", ["SASRec", "DIN", "DIEN", "FDSA"])
@pytest.mark.parametrize("longest", [1, 3, 50])
def test_toy_columns_are_recboles(toy, model, longest):
    own = {"selected_features": ["genres"]} if model == "FDSA" else {}
    world = {k: TOY[k] for k in ("dataset", "load_col")}
    ours = assert_the_same(
        {**world, **own, "data_path": str(toy), "model": model, "MAX_ITEM_LIST_LENGTH": longest}
    )
    assert ours["item_id_list"].shape[1] == longest


@pytest.mark.parametrize("model", ["SASRec", "DIEN"])
def test_numbers_sequences_and_numerical_columns_are_recboles(tmp_path, model):
    rng = np.random.default_rng(0)
    folder = tmp_path / "odd"
    folder.mkdir()
    with open(folder / "odd.inter", "w") as file:
        file.write(
            "user_id:token\titem_id:token\ttimestamp:float\tprice:float\ttags:token_seq"
            "\tmarks:float_seq\n"
        )
        for _ in range(200):
            tags = " ".join(f"t{t}" for t in rng.integers(5, size=rng.integers(1, 4)))
            marks = " ".join(str(x) for x in rng.integers(9, size=rng.integers(1, 4)))
            file.write(
                f"u{rng.integers(9)}\ti{rng.integers(20)}\t{rng.integers(50)}"
                f"\t{rng.random():.3f}\t{tags}\t{marks}\n"
            )
    ours = assert_the_same(
        {
            "dataset": "odd",
            "data_path": str(tmp_path),
            "model": model,
            "MAX_ITEM_LIST_LENGTH": 4,
            "numerical_features": ["price"],
            "load_col": {"inter": ["user_id", "item_id", "timestamp", "price", "tags", "marks"]},
        }
    )
    assert ours["price_list"].shape[1:] == (4, 2)
    assert ours["tags_list"].dim() == ours["marks_list"].dim() == 3


def test_ml_100k_columns_are_recboles(tmp_path):
    """With places in time for times: RecBole rounds seconds to multiples of 64."""
    path = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"
    table = pd.read_csv(path, sep="\t", dtype=str)
    time = table["timestamp:float"].astype(int)
    table["timestamp:float"] = time.rank(method="dense").astype(int)
    (tmp_path / "ranked").mkdir()
    table.to_csv(tmp_path / "ranked" / "ranked.inter", sep="\t", index=False)
    options = {"dataset": "ranked", "data_path": str(tmp_path), "model": "GRU4Rec"}
    assert_the_same({**options, "MAX_ITEM_LIST_LENGTH": 20})


@pytest.mark.slow
def test_amazon_beauty_columns_are_recboles():
    if not (REAL_DATA / "amazon-beauty").is_dir():
        pytest.skip("amazon-beauty's files are not in ../shared/dataset")
    assert_the_same({"dataset": "amazon-beauty", "data_path": str(REAL_DATA), "model": "SASRec"})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), max_size=6), st.integers(1, 5))
def test_prefixes_are_what_a_loop_per_row_gives(counts, longest):
    users = [user for user, count in enumerate(counts) for _ in range(count)]
    targets, lengths, start = [], [], 0
    for row, user in enumerate(users):
        if row == 0 or users[row - 1] != user:
            start = row
        else:
            start = max(start, row - longest)
            targets.append(row)
            lengths.append(row - start)
    found = sequences.prefixes(torch.tensor(users, dtype=torch.long), longest)
    assert [x.tolist() for x in found] == [targets, lengths]


def test_a_dataset_that_makes_its_own_histories_is_left_alone():
    class Own(sequences.SequentialDataset):
        def data_augmentation(self):
            pass

    assert sequences.with_fast_sequences(Own) is Own
