"""Backbones whose score is a product of a user's and an item's row: how to reach the tables.

A backbone of ours or of the user's takes part if it has

``enhancer_tables() -> (U, I)``
    the tables that are enhanced, with gradient, ``(n_users, d)`` and ``(n_items, d)``;
``enhancer_head(U, I) -> (U_score, I_score)``
    what is multiplied: row by row a function of the rows of U and of I;
``enhancer_loss(U_score, I_score, interaction, U=None, I=None) -> loss``
    its own loss, a tensor or a tuple of them, from given tables.
"""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding

Pair = tuple[Tensor, Tensor]
_METHODS = ("enhancer_tables", "enhancer_head", "enhancer_loss")


class Adapter:
    """What RVRec asks of a backbone; stateless, so that copies of a model need nothing.

    Attributes:
        compact: Whether the loss takes tables of the batch's rows only, and ids among them.
    """

    compact = False

    def base(self, model: Any) -> tuple[Any, ...]:
        """Tables to enhance, with gradient, and after them what :meth:`loss` may want."""
        raise NotImplementedError

    def head(self, model: Any, users: Tensor, items: Tensor) -> Pair:
        """Tables whose rows are multiplied: the same, unless the backbone says otherwise."""
        return users, items

    def loss(
        self, model: Any, scoring: Pair, interaction: Any, enhanced: Pair, rest: tuple[Any, ...]
    ) -> Any:
        """The backbone's loss with ``scoring`` in place of its tables."""
        raise NotImplementedError


class TableAdapter(Adapter):
    """BPR: its two tables are what it scores with."""

    compact = True

    def base(self, model: Any) -> tuple[Any, ...]:
        """The tables' weights."""
        return model.user_embedding.weight, model.item_embedding.weight

    def loss(
        self, model: Any, scoring: Pair, interaction: Any, enhanced: Pair, rest: tuple[Any, ...]
    ) -> Any:
        """BPR's loss, with its own loss module."""
        user = embedding(interaction[model.USER_ID], scoring[0])
        items = torch.stack([interaction[model.ITEM_ID], interaction[model.NEG_ITEM_ID]])
        scores = (embedding(items, scoring[1]) * user).sum(-1)
        return model.loss(scores[0], scores[1])


class ForwardAdapter(Adapter):
    """Graph models: ``forward`` gives both tables, and all else reads them from there.

    Args:
        graph: Attribute that holds the graph of the score, for models whose ``forward`` takes one.
    """

    def __init__(self, graph: str = "") -> None:
        self.graph = graph

    def base(self, model: Any) -> tuple[Any, ...]:
        """What ``forward`` gives."""
        return model.forward(getattr(model, self.graph)) if self.graph else model.forward()

    def loss(
        self, model: Any, scoring: Pair, interaction: Any, enhanced: Pair, rest: tuple[Any, ...]
    ) -> Any:
        """The backbone's own ``calculate_loss``, for which ``forward`` gives our tables."""
        real, graph, output = model.forward, self.graph, (*scoring, *rest)

        def forward(*args: Any, **kwargs: Any) -> Any:
            if graph and args and args[0] is not getattr(model, graph):
                return real(*args, **kwargs)  # SGL's augmented views stay its own
            return output

        model.forward = forward
        try:
            return model.backbone_loss(interaction)
        finally:
            del model.forward


class NativeAdapter(Adapter):
    """Backbones that have the three methods."""

    def base(self, model: Any) -> tuple[Any, ...]:
        """``enhancer_tables``."""
        return model.enhancer_tables()

    def head(self, model: Any, users: Tensor, items: Tensor) -> Pair:
        """``enhancer_head``."""
        return model.enhancer_head(users, items)

    def loss(
        self, model: Any, scoring: Pair, interaction: Any, enhanced: Pair, rest: tuple[Any, ...]
    ) -> Any:
        """``enhancer_loss``."""
        users, items = enhanced
        return model.enhancer_loss(*scoring, interaction, U=users, I=items)


ADAPTERS: dict[str, Adapter] = {
    "BPR": TableAdapter(),
    "LightGCN": ForwardAdapter(),
    "NGCF": ForwardAdapter(),
    "DGCF": ForwardAdapter(),
    "SGL": ForwardAdapter("train_graph"),
    "NCL": ForwardAdapter(),
}


def is_native(model_class: type) -> bool:
    """Whether a class has the three methods."""
    return all(inspect.isfunction(getattr(model_class, name, None)) for name in _METHODS)


def find_adapter(model_class: Any) -> Any:
    """The adapter of a backbone's class, or None."""
    if is_native(model_class):
        return NativeAdapter()
    recboles = model_class.__module__.startswith("recbole.")
    return ADAPTERS.get(model_class.__name__) if recboles else None
