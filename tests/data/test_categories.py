import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset

from recbole_enhance.data.categories import category_matrix

ITEMS = {"a": ["x", "y"], "b": [], "c": ["y"], "d": ["z", "x", "x"]}


class PlainConfig(Config):
    """RecBole's Config on NumPy 2, without reading pytest's command line."""

    def compatibility_settings(self):
        for name, value in {"bool": np.bool_, "int": np.int_, "float": np.float64}.items():
            setattr(np, name, value)

    def _load_cmd_line(self):
        return {}


@pytest.fixture
def build(tmp_path, monkeypatch):
    for name in ("bool", "int", "float"):
        monkeypatch.setattr(np, name, getattr(np, name, None), raising=False)
    folder = tmp_path / "toy"
    folder.mkdir()
    inter = [f"{user}\t{item}" for user in range(3) for item in "dcba"]
    (folder / "toy.inter").write_text("\n".join(["user_id:token\titem_id:token", *inter, ""]))
    rows = [f"{item}\t{' '.join(names)}\t{'pq'[item > 'b']}\t1.5" for item, names in ITEMS.items()]
    header = "item_id:token\tclass:token_seq\tbrand:token\tprice:float"
    (folder / "toy.item").write_text("\n".join([header, *rows, ""]))

    def _build(item_columns, model="BPR"):
        load_col = {"inter": ["user_id", "item_id"]}
        if item_columns:
            load_col["item"] = ["item_id", *item_columns]
        options = {"data_path": str(tmp_path), "load_col": load_col, "use_gpu": False}
        dataset = create_dataset(PlainConfig(model=model, dataset="toy", config_dict=options))
        return dataset.build()[0]

    return _build


def expected(dataset, field, of):
    names = dataset.id2token(field, range(1, dataset.num(field)))
    tokens = dataset.id2token("item_id", range(dataset.item_num))
    return [[name in of.get(token, []) for name in names] for token in tokens]


def test_token_sequences(build):
    dataset = build(["class"])
    matrix = category_matrix(dataset, "class")
    assert matrix.shape == (5, 3)
    assert matrix.dtype == torch.bool
    assert matrix.tolist() == expected(dataset, "class", ITEMS)
    assert not matrix[0].any()
    assert not matrix[dataset.token2id("item_id", "b")].any()


def test_single_tokens(build):
    dataset = build(["brand"])
    brands = {"a": ["p"], "b": ["p"], "c": ["q"], "d": ["q"]}
    assert category_matrix(dataset, "brand").tolist() == expected(dataset, "brand", brands)


@pytest.mark.parametrize(
    ("columns", "field", "says"),
    [
        ((), "class", "is not loaded: usable item columns are none"),
        (("brand", "price"), "clas", "is not loaded: usable item columns are brand"),
        (("brand", "price"), "price", "is float"),
        (("brand", "price"), "item_id", "is the item's id"),
        (("brand", "price"), "rating", "is not loaded"),
    ],
)
def test_a_field_that_holds_no_categories_is_refused(build, columns, field, says):
    with pytest.raises(ValueError, match=f"item_category_field='{field}'") as error:
        category_matrix(build(columns), field)
    assert says in str(error.value)
    assert "load_col.item" in str(error.value)
