"""Settings in a dataset's own folder, and categories that are loaded unasked."""

import numpy as np
import pandas as pd
import pytest

from recbole_enhance.data.importing import import_data
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import run_recbole_enhance
from recbole_enhance.options.errors import InputError


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder of datasets with one of 30 users and 20 items."""
    rng = np.random.default_rng(3)
    log = pd.DataFrame(
        {
            "customer": rng.integers(1, 31, 600).astype(str),
            "sku": rng.integers(1, 21, 600).astype(str),
            "ts": rng.integers(1_600_000_000, 1_700_000_000, 600),
        }
    )
    numbers = np.arange(1, 21).astype(str)
    items = pd.DataFrame({"sku": numbers, "kind": ["a b|c", "c"] * 10, "maker": ["x", "y"] * 10})
    people = pd.DataFrame({"customer": np.arange(1, 31).astype(str), "land": ["NL", "BE"] * 15})
    out = tmp_path_factory.mktemp("data")
    import_data(
        log,
        user="customer",
        item="sku",
        time="ts",
        items=items,
        category="kind",
        users=people,
        groups=["land"],
        name="shop",
        out=out,
    )
    return out


def config(shop, **options):
    base = {"model": "BPR", "dataset": "shop", "data_path": str(shop)}
    return Config(config_dict={**base, **options})


def test_runs_read_the_settings_of_the_dataset(shop):
    made = config(shop)
    assert made["item_category_field"] == "kind"
    assert made["group_fields"] == ["land"]
    assert made["seq_separator"] == "|"
    assert made["load_col"] == {
        "inter": ["user_id", "item_id", "timestamp"],
        "item": ["item_id", "kind"],
    }
    assert made.origins["group_fields"] == str(shop / "shop" / "shop.yaml")


def test_the_type_of_a_model_has_its_own_settings(shop):
    made = config(shop, model="DeepFM")
    assert made["eval_args"]["mode"]["test"] == "uni100"
    assert made["load_col"]["item"] == ["item_id", "kind", "maker"]
    assert config(shop, model="SASRec")["eval_args"]["order"] == "TO"


def test_they_lie_over_ours_and_below_the_users(shop, tmp_path):
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    (folder / "ml-100k.inter").write_text("user_id:token\titem_id:token\na\tb\n")
    (folder / "ml-100k.yaml").write_text(
        "item_category_field: ~\nload_col: {inter: [user_id, item_id]}\ntopk: [7]\n"
        "general: {valid_metric: NDCG@7}\nvariants: {mine: {topk: [3], valid_metric: NDCG@3}}\n"
    )
    base = {"model": "BPR", "dataset": "ml-100k", "data_path": str(tmp_path)}
    assert Config(config_dict=base)["topk"] == [7]  # ours says [10, 20]
    assert Config(config_dict={**base, "variant": "mine"})["topk"] == [3]
    said = {"topk": [5], "valid_metric": "NDCG@5"}
    assert Config(config_dict={**base, **said})["topk"] == [5]
    said = {"variant": "paper", "load_col": {"inter": ["user_id", "item_id"]}}
    assert Config(config_dict={**base, **said, "val_interval": None})["topk"] == [7]
    with pytest.raises(InputError, match=r"variant=none: ml-100k has .*paper.*, mine"):
        Config(config_dict={**base, "variant": "none"})


def test_a_typo_in_them_is_told(shop, tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "toy.inter").write_text("user_id:token\titem_id:token\na\tb\n")
    (folder / "toy.yaml").write_text("tokp: [7]\n")
    with pytest.raises(InputError, match=r"tokp: .*toy.yaml.*did you mean topk"):
        Config(config_dict={"model": "BPR", "dataset": "toy", "data_path": str(tmp_path)})


def test_a_run_has_groups_and_categories(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {
        "data_path": str(shop),
        "epochs": 1,
        "metrics": ["NDCG", "CategoryCoverage", "GroupGap"],
        "valid_metric": "NDCG@10",
        "quiet": True,
    }
    result = run_recbole_enhance("BPR", "shop", config_dict=options)
    assert 0 < result["test_result"]["categorycoverage@10"] <= 1
    assert "groupgap@10" in result["test_result"]


# ---- the column of item_category_field -------------------------------------------------------


def test_a_category_field_loads_its_column(shop):
    made = config(shop, item_category_field="maker")
    assert made["load_col"]["item"] == ["item_id", "kind", "maker"]
    made = Config(
        config_dict={
            "model": "SASRec",
            "dataset": "ml-100k",
            "item_category_field": "class",
            "train_neg_sample_args": None,
        }
    )
    assert made["load_col"]["item"] == ["item_id", "class"]


def test_columns_that_were_named_above_are_meant(shop):
    named = {"inter": ["user_id", "item_id", "timestamp"]}
    assert config(shop, load_col=named)["load_col"] == named
    assert config(shop, load_col=named, item_category_field="maker")["load_col"] == named


def test_a_category_field_that_is_no_column_is_refused(shop):
    with pytest.raises(InputError, match=r"item_category_field=makr: .*shop.item has .*maker"):
        config(shop, item_category_field="makr")
    (shop / "flat").mkdir()
    (shop / "flat" / "flat.inter").write_text("user_id:token\titem_id:token\na\tb\n")
    with pytest.raises(InputError, match=r"item_category_field=x: there is no file .*flat.item"):
        config(shop, dataset="flat", item_category_field="x")
