"""Vectors of users and items: the factors of the product that the model computes its scores by.

Every model of RecBole names its tables in its own way, and what is multiplied is seldom a table:
LightGCN multiplies means over layers, SASRec the output of its last layer. So the last product of
one batch that has a score for each item is what counts, and it is compared with the scores.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_enhance.model.embeddings import embedding_tables
from recbole_enhance.model.history import CHECKED, close
from recbole_enhance.options.errors import InputError
from recbole_enhance.recommendation.scoring import KnownUsers, dataset_of


class Product(NamedTuple):
    """What was multiplied.

    Attributes:
        users: Shape: ``(rows, d)``.
        items: Shape: ``(n_items, d)``.
        bias: Of the items. Shape: ``(n_items,)``, or None.
    """

    users: Tensor
    items: Tensor
    bias: Tensor | None

    def scores(self) -> Tensor:
        """The product. Shape: ``(rows, n_items)``."""
        product = self.users @ self.items.T
        return product if self.bias is None else product + self.bias


class ItemVectors(NamedTuple):
    """Vectors of all items.

    Attributes:
        items: Row 0 is padding. Shape: ``(n_items, d)``.
        bias: What is added to each item's product. Shape: ``(n_items,)``, or None.
        is_score: Whether a user's vector exists whose product with an item's is the score.
    """

    items: Tensor
    bias: Tensor | None
    is_score: bool


class _Watch(TorchDispatchMode):
    """Remembers the last product of two matrices that has a column for each item.

    Args:
        shape: Of the wanted result: rows and items.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.found: Product | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        operands = None
        if func in (torch.ops.aten.mm.default, torch.ops.aten.mm.out):
            operands, bias = args, None
        elif func is torch.ops.aten.addmm.default:
            operands, bias = args[1:], args[0]
        if operands is not None and tuple(result.shape) == self.shape:
            users, items = operands[0].detach().clone(), operands[1].detach()
            self.found = Product(users, items.T, bias)
        return result


def watched(run: Any, known: KnownUsers, users: Tensor) -> tuple[Product | None, Tensor]:
    """Score users, and see what is multiplied for it.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        known: With ``filter_seen`` false.
        users: Ids. Shape: ``(rows,)``.

    Returns:
        The product, or None where there was none, and the scores.
    """
    watch = _Watch((len(users), dataset_of(run).item_num))
    with watch:
        scores = known.scores(users)
    product = watch.found
    if product is not None and product.items.shape[1] == len(product.items):
        product = None  # a history times similarities of items: no vectors
    return product, scores


def item_vectors(run: Any, known: KnownUsers) -> ItemVectors:
    """Vectors of the items, and whether their product with a user's is the score.

    Args:
        run: As in :func:`watched`.
        known: As in :func:`watched`.

    Raises:
        InputError: If the model has no vectors of items.
    """
    users = known.can.nonzero().squeeze(1)[:CHECKED]
    product, scores = watched(run, known, users)
    if product is not None:
        real, own = scores[:, 1:].double(), product.scores()[:, 1:].double()
        if close(own, real):
            return ItemVectors(product.items, product.bias, True)
        bias = (real - own).mean(0)  # BERT4Rec adds one afterwards
        if product.bias is None and close(own + bias, real):
            bias = torch.cat([bias.new_zeros(1), bias]).to(product.items.dtype)
            return ItemVectors(product.items, bias, True)
        times = (real * own).sum() / own.square().sum()  # CORE divides by a temperature
        if product.bias is None and close(own * times, real):
            return ItemVectors(product.items * times.to(product.items.dtype), None, True)
        in_order = real.gather(1, own.argsort(dim=1))  # DMF takes the logistic function of it
        if close(in_order.cummax(1).values, in_order):
            return ItemVectors(product.items, product.bias, False)
    dataset = dataset_of(run)
    n_items = dataset.item_num
    model = run.trainer.model
    tables = [
        table.weight.detach()
        for name, table in embedding_tables(model).items()
        if ("item" in name.lower() or table.num_embeddings == n_items != dataset.user_num)
        and table.num_embeddings >= n_items
        and table.embedding_dim > 1
    ]
    if not tables:
        tables = _of_fields(run)
    if not tables:
        raise InputError(f"{type(model).__name__} has no vectors of items")
    return ItemVectors(torch.cat([table[:n_items] for table in tables], dim=1), None, False)


def _of_fields(run: Any) -> list[Tensor]:
    """Rows of the item's id in the one table of a context-aware model's columns."""
    model, dataset = run.trainer.model, dataset_of(run)
    names = getattr(model, "token_field_names", None)
    table = getattr(getattr(model, "token_embedding_table", None), "embedding", None)
    offsets = getattr(model, "token_field_offsets", None)
    if not names or table is None or offsets is None or dataset.iid_field not in names:
        return []
    start = int(offsets[names.index(dataset.iid_field)])
    return [table.weight.detach()[start : start + dataset.item_num]]
