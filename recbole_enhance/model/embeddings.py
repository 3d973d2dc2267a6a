"""Finds the embedding tables of a model, for all methods."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from recbole_enhance.options.errors import OptionError


def embedding_tables(model: nn.Module) -> dict[str, nn.Embedding]:
    """All embedding tables of a model by name, each once, in the order of definition.

    Example:
        >>> list(embedding_tables(nn.ModuleDict({"user": nn.Embedding(2, 3), "out": nn.Tanh()})))
        ['user']
    """
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Embedding)}


def user_and_item_tables(model: Any, method: str) -> tuple[list[nn.Embedding], list[nn.Embedding]]:
    """Find the tables of users and of items, by their names and numbers of rows.

    Args:
        model: A general recommender.
        method: Who needs them, for the error.

    Returns:
        Both in the order of definition, none of them empty.

    Raises:
        OptionError: If either is missing.
    """
    tables = [(name.lower(), table) for name, table in embedding_tables(model).items()]
    users = [t for name, t in tables if "user" in name and t.num_embeddings == model.n_users]
    items = [t for name, t in tables if "item" in name and t.num_embeddings == model.n_items]
    if not users or not items:
        raise OptionError(
            "backbone",
            type(model).__name__,
            f"{method} needs embedding tables of users and of items",
        )
    return users, items


def table_called(model: Any, name: str) -> nn.Embedding | None:
    """The embedding table that is an attribute of the model, or None."""
    table = getattr(model, name, None)
    return table if isinstance(table, nn.Embedding) else None


def names_of_weights(model: nn.Module, tables: Iterable[nn.Embedding]) -> list[str]:
    """Names of the model's trainable parameters that are the weights of tables."""
    weights = {id(table.weight) for table in tables}
    return [n for n, p in model.named_parameters() if p.requires_grad and id(p) in weights]
