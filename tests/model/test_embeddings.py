import pytest
from torch import nn

from recbole_enhance.enhancer.dvr.method import BACKBONES
from recbole_enhance.model.embeddings import (
    embedding_tables,
    names_of_weights,
    table_called,
    user_and_item_tables,
)
from recbole_enhance.options.errors import OptionError
from recbole_enhance.testing.worlds import assemble, toy_options


class Small(nn.Module):
    """Six users and nine items, padding included."""

    n_users, n_items = 6, 9

    def __init__(self, **tables):
        super().__init__()
        for name, rows in tables.items():
            setattr(self, name, nn.Embedding(rows, 2))
        self.out = nn.Linear(2, 1)


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name != "NCL"])  # needs faiss
def test_every_backbones_tables_are_those_of_its_rows(toy, backbone):
    trainer, _ = assemble(toy_options(toy, backbone, epochs=0, show_progress=False))
    model = trainer.model
    users, items = user_and_item_tables(model, "X")
    for kind, found, n in (("user", users, model.n_users), ("item", items, model.n_items)):
        assert {table.num_embeddings for table in found} == {n}
        by_hand = [
            m
            for m in model.modules()
            if isinstance(m, nn.Embedding)
            and any(other is m and kind in name.lower() for name, other in model.named_modules())
        ]
        assert [id(table) for table in found] == [id(m) for m in by_hand if m.num_embeddings == n]
    weights = [id(table.weight) for table in embedding_tables(model).values()]
    names = names_of_weights(model, embedding_tables(model).values())
    assert [id(dict(model.named_parameters())[name]) for name in names] == weights


def test_tables_of_other_sizes_and_names_are_none_of_users_or_items():
    model = Small(user_a=6, item_a=9, group=6, item_category=4, USER_b=6, user_bias=1)
    users, items = user_and_item_tables(model, "X")
    assert users == [model.user_a, model.USER_b]
    assert items == [model.item_a]


@pytest.mark.parametrize("tables", [{"user": 6}, {"item": 9}, {"user": 9, "item": 6}])
def test_a_model_without_both_is_refused(tables):
    message = "^backbone=Small: X needs embedding tables of users and of items$"
    with pytest.raises(OptionError, match=message):
        user_and_item_tables(Small(**tables), "X")


def test_frozen_and_other_parameters_are_left_out():
    model = Small(user=6, item=9)
    model.item.weight.requires_grad_(False)
    assert names_of_weights(model, embedding_tables(model).values()) == ["user.weight"]
    assert names_of_weights(model, [model.item]) == []


def test_a_table_by_its_name():
    model = Small(item_embedding=9)
    assert table_called(model, "item_embedding") is model.item_embedding
    assert table_called(model, "out") is table_called(model, "nothing") is None
