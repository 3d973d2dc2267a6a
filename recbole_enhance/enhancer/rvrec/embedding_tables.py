"""Backbones whose score is a product of a user's and an item's row: how to reach the tables.

A backbone of ours or of the user's takes part if it has

``enhancer_tables() -> (U, I)``
    the tables that are enhanced, with gradient, ``(n_users, d)`` and ``(n_items, d)``;
``enhancer_head(U, I) -> (U_score, I_score)``
    what is multiplied: row by row a function of the rows of U and of I;
``enhancer_loss(U_score, I_score, interaction, U=None, I=None) -> loss``
    its own loss, a tensor or a tuple of them, from given tables.

With the item query it also takes ``added=None``, a function of items ``(any, batch)`` that gives
what the histories of the batch's rows add to their scores, of the same shape. It may have

``enhancer_history_items() -> I_own``
    rows of items that no user's interactions have reached, ``(n_items, any)``. A graph model's
    rows have met the positive that a history is to predict: both are near their common user.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, logsigmoid

from recbole_enhance.model.tables import Added

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

    def history_items(self, model: Any, scored: Tensor) -> Tensor:
        """Rows of items by which they ask histories: the ones that are multiplied."""
        return scored

    def loss(
        self,
        model: Any,
        scoring: Pair,
        interaction: Any,
        enhanced: Pair,
        rest: tuple[Any, ...],
        added: Added = None,
    ) -> Any:
        """The backbone's loss with ``scoring`` in place of its tables.

        Args:
            model: The backbone.
            scoring: Tables whose rows are multiplied.
            interaction: The batch.
            enhanced: Tables before :meth:`head`.
            rest: See :meth:`base`.
            added: What histories add to the scores of items ``(any, batch)``, of the same shape.
        """
        raise NotImplementedError


class TableAdapter(Adapter):
    """BPR: its two tables are what it scores with."""

    compact = True

    def base(self, model: Any) -> tuple[Any, ...]:
        """The tables' weights."""
        return model.user_embedding.weight, model.item_embedding.weight

    def loss(
        self,
        model: Any,
        scoring: Pair,
        interaction: Any,
        enhanced: Pair,
        rest: tuple[Any, ...],
        added: Added = None,
    ) -> Any:
        """BPR's loss, with its own loss module."""
        user = embedding(interaction[model.USER_ID], scoring[0])
        pair = interaction[model.ITEM_ID], interaction[model.NEG_ITEM_ID]
        items = torch.stack(pair)
        if added is not None:  # by the backbone's own operations, whose gradients it then has
            more = added(items)
            own = [(user * embedding(item, scoring[1])).sum(dim=1) for item in pair]
            return model.loss(own[0] + more[0], own[1] + more[1])
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

    def history_items(self, model: Any, scored: Tensor) -> Tensor:
        """Rows of items before propagation."""
        rows: Tensor = model.item_embedding.weight
        return rows

    def loss(
        self,
        model: Any,
        scoring: Pair,
        interaction: Any,
        enhanced: Pair,
        rest: tuple[Any, ...],
        added: Added = None,
    ) -> Any:
        """The backbone's own ``calculate_loss``, for which ``forward`` gives our tables."""
        real, graph, output = model.forward, self.graph, (*scoring, *rest)

        def forward(*args: Any, **kwargs: Any) -> Any:
            if graph and args and args[0] is not getattr(model, graph):
                return real(*args, **kwargs)  # SGL's augmented views stay its own
            return output

        model.forward = forward
        hook = self._hook(model, interaction, added) if added is not None else None
        try:
            return model.backbone_loss(interaction)
        finally:
            del model.forward
            if hook is not None:
                hook.remove()

    def _hook(self, model: Any, interaction: Any, added: Callable[[Tensor], Tensor]) -> Any:
        """Add to the scores that the pairwise loss gets."""
        pair = torch.stack([interaction[model.ITEM_ID], interaction[model.NEG_ITEM_ID]])
        more = added(pair)

        def add(_: Any, scores: Pair) -> Pair:
            return scores[0] + more[0], scores[1] + more[1]

        return model.mf_loss.register_forward_pre_hook(add)


class SGLAdapter(ForwardAdapter):
    """SGL, whose pairwise loss is a method that takes tables, not scores."""

    def __init__(self) -> None:
        super().__init__("train_graph")

    def _hook(self, model: Any, interaction: Any, added: Callable[[Tensor], Tensor]) -> Any:
        def loss(U: Tensor, I: Tensor, user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
            u = U[user]
            scores = ((u * I[item]).sum(dim=1) for item in (positive, negative))
            more = added(torch.stack([positive, negative]))
            right, wrong = (score + own for score, own in zip(scores, more))
            ego = model.user_embedding(user), *map(model.item_embedding, (positive, negative))
            return -logsigmoid(right - wrong).sum() + model.reg_loss(*ego) * model.reg_weight

        model.calc_bpr_loss = loss
        return _Attribute(model, "calc_bpr_loss")


class _Attribute:
    """An attribute of an object that hides its class's, until it is removed."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name

    def remove(self) -> None:
        """Give back the class's."""
        delattr(self.owner, self.name)


class NativeAdapter(Adapter):
    """Backbones that have the three methods."""

    def base(self, model: Any) -> tuple[Any, ...]:
        """``enhancer_tables``."""
        return model.enhancer_tables()

    def head(self, model: Any, users: Tensor, items: Tensor) -> Pair:
        """``enhancer_head``."""
        return model.enhancer_head(users, items)

    def history_items(self, model: Any, scored: Tensor) -> Tensor:
        """``enhancer_history_items``, if the backbone has it."""
        if not hasattr(model, "enhancer_history_items"):
            return scored
        rows: Tensor = model.enhancer_history_items()
        return rows

    def loss(
        self,
        model: Any,
        scoring: Pair,
        interaction: Any,
        enhanced: Pair,
        rest: tuple[Any, ...],
        added: Added = None,
    ) -> Any:
        """``enhancer_loss``."""
        users, items = enhanced
        more = {} if added is None else {"added": added}
        return model.enhancer_loss(*scoring, interaction, U=users, I=items, **more)


ADAPTERS: dict[str, Adapter] = {
    "BPR": TableAdapter(),
    "LightGCN": ForwardAdapter(),
    "NGCF": ForwardAdapter(),
    "DGCF": ForwardAdapter(),
    "SGL": SGLAdapter(),
    "NCL": ForwardAdapter(),
}


def is_native(model_class: type) -> bool:
    """Whether a class has the three methods."""
    return all(inspect.isfunction(getattr(model_class, name, None)) for name in _METHODS)


def takes_item_query(model_class: Any) -> bool:
    """Whether a backbone that RVRec takes lets histories add to the scores of single items."""
    if not is_native(model_class):
        return True
    return "added" in inspect.signature(model_class.enhancer_loss).parameters


def find_adapter(model_class: Any) -> Any:
    """The adapter of a backbone's class, or None."""
    if is_native(model_class):
        return NativeAdapter()
    recboles = model_class.__module__.startswith("recbole.")
    return ADAPTERS.get(model_class.__name__) if recboles else None
