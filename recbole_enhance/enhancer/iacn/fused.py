"""An item table of two parts, [main ; aux], whose parts get different shares of a gradient."""

from typing import Any, NamedTuple

import torch
from recbole.model.abstract_recommender import ContextRecommender
from recbole.model.layers import ContextSeqEmbAbstractLayer, FMEmbedding
from torch import Tensor, nn
from torch.nn import functional

from recbole_enhance.model.embeddings import embedding_tables, table_called
from recbole_enhance.options.errors import OptionError

_NAMES = ("item_embedding", "item_matrix")  # RepeatNet says item_matrix


class _ScaleGradient(torch.autograd.Function):
    """The identity whose gradient is multiplied, in the last columns only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, columns: int, scale: float | Tensor) -> Tensor:
        ctx.columns, ctx.scale = columns, scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (g,) = gradients
        if ctx.columns == g.shape[-1]:
            return g * ctx.scale, None, None
        g = g.clone()
        last = g[..., -ctx.columns :]
        if isinstance(ctx.scale, float) and ctx.scale == 0:
            last.zero_()  # also where 0 * inf would be no number
        else:
            last.mul_(ctx.scale)
        return g, None, None


def scale_gradient(x: Tensor, scale: float | Tensor, columns: int | None = None) -> Tensor:
    r"""Return x itself, with its gradient multiplied by a number: :math:`\rho_s(x)`.

    Args:
        x: Shape: ``(..., D)``.
        scale: s; a tensor broadcasts against the gradient.
        columns: Multiply the gradient of so many last columns only; None for all.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> scale_gradient(x, 0.25, columns=1).sum().backward()
        >>> x.grad.tolist()
        [1.0, 0.25]
    """
    columns = x.shape[-1] if columns is None else columns
    if not isinstance(scale, Tensor):
        if scale == 1:
            return x
        scale = float(scale)
        if scale == 0 and columns == x.shape[-1]:
            return x.detach()
    return _ScaleGradient.apply(x, columns, scale)


class _LastColumns(torch.autograd.Function):
    """Last columns of some rows; the gradient is multiplied, and added row by row.

    An embedding's own backward takes three times as long where rows are short: it adds row by row
    in calls of their own.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, columns: int, scale: float) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape, ctx.scale = table.shape, scale
        return table.index_select(0, rows)[:, -columns:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (rows,) = ctx.saved_tensors
        g = gradients[0] * ctx.scale
        # Whole rows: into a part of each, index_add_ goes number by number.
        whole = functional.pad(g, (ctx.shape[1] - g.shape[1], 0))
        return g.new_zeros(ctx.shape).index_add_(0, rows, whole), None, None, None


class FusedItemEmbedding(nn.Embedding):
    r"""The backbone's own item table, read as :math:`x_i = [E^m_i ; \rho_\delta(E^a_i)]` (Eq. 1).

    Made of a table by :func:`fuse`, never constructed: the object stays the same, so all that
    point to it, the optimiser included, see the fused one; so do checkpoints. The last
    ``aux_size`` columns of the items' rows are :math:`E^a`.
    """

    aux_size: int
    first_row: int
    n_items: int
    delta: float

    @property
    def raw(self) -> nn.Parameter:
        """The table itself. Shape: ``(rows, D)``."""
        return self._parameters["weight"]  # type: ignore[return-value]

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The table as the backbone's tied softmax and full ranking read it."""
        scale: float | Tensor = self.delta
        if self.delta != 1 and self.n_items < self.num_embeddings:
            scale = self._shares(torch.arange(self.num_embeddings, device=self.raw.device))
        return scale_gradient(self.raw, scale, self.aux_size)

    def forward(self, input: Tensor) -> Tensor:
        """Look rows up for the backbone."""
        x = functional.embedding(
            input,
            self.raw,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )
        scale: float | Tensor = self.delta
        if self.delta != 1 and self.n_items < self.num_embeddings:
            scale = self._shares(input)
        return scale_gradient(x, scale, self.aux_size)

    def _shares(self, rows: Tensor) -> Tensor:
        """Delta for items, 1 for the table's other fields. Shape: ``(..., 1)``."""
        inside = (rows >= self.first_row) & (rows < self.first_row + self.n_items)
        return torch.where(inside, self.delta, 1.0).to(self.raw.dtype).unsqueeze(-1)

    def interests(self, items: Tensor) -> Tensor:
        r"""Look :math:`\rho_{1-\delta}(E^a)` up for the auxiliary task. Shape: ``(..., d)``."""
        (x,) = self.interests_of(items)
        return x

    def interests_of(self, *items: Tensor) -> list[Tensor]:
        """Look up as :meth:`interests`, all at once: a gradient is as large as the table."""
        rows = torch.cat([ids.flatten() for ids in items]) + self.first_row
        x = _LastColumns.apply(self.raw, rows, self.aux_size, 1 - self.delta)
        x = x.detach() if self.delta == 1 else x
        parts = x.split([ids.numel() for ids in items])
        return [part.view(*ids.shape, self.aux_size) for part, ids in zip(parts, items)]

    def all_interests(self) -> Tensor:
        r"""All items' :math:`\rho_{1-\delta}(E^a)`. Shape: ``(n_items, d)``."""
        last = self.first_row + self.n_items
        return scale_gradient(self.raw[self.first_row : last, -self.aux_size :], 1 - self.delta)

    @torch.no_grad()
    def draw_interests(self, std: float, generator: torch.Generator) -> None:
        """Fill :math:`E^a` with normal numbers; a padding row stays as it is."""
        values = torch.randn(self.n_items, self.aux_size, generator=generator) * std
        first = self.first_row
        if self.padding_idx == first:
            values[0] = self.raw[first, -self.aux_size :].cpu()
        self.raw[first : first + self.n_items, -self.aux_size :] = values.to(self.raw)


def fuse(table: nn.Embedding, size: int, first_row: int, n_items: int, delta: float) -> Any:
    """Turn a table into a fused one, in place, as torch's parametrizations do.

    Args:
        table: The backbone's.
        size: Columns of the auxiliary part.
        first_row: Where the items' rows start.
        n_items: Rows of items.
        delta: Share of the backbone's gradient that the auxiliary part gets.
    """
    table.__class__ = FusedItemEmbedding
    table.aux_size, table.first_row = size, first_row  # type: ignore[assignment]
    table.n_items, table.delta = n_items, delta  # type: ignore[assignment]
    return table


class SharedRows(nn.Module):
    """A table that is the items' part of another: a pooled history reads the candidates' rows.

    Args:
        table: The fused one, which the backbone owns.
    """

    def __init__(self, table: FusedItemEmbedding) -> None:
        super().__init__()
        self._table = [table]  # a list hides it: its parameters are the backbone's

    def forward(self, items: Tensor) -> Tensor:
        """Look items up."""
        return self._table[0](items + self._table[0].first_row)


class ItemTable(NamedTuple):
    """Where a backbone keeps its items.

    Attributes:
        table: The table.
        first_row: Where the items' rows start.
    """

    table: nn.Embedding
    first_row: int


def find_item_table(model: Any, item_field: str) -> ItemTable:
    """Find the one table that a backbone reads its items from.

    Args:
        model: A sequential or a context-aware recommender.
        item_field: Name of the item id.

    Raises:
        OptionError: If there is none, or no telling which.
    """
    layer = getattr(model, "embedding_layer", None)
    fields: Any = None
    if isinstance(layer, ContextSeqEmbAbstractLayer) and "item" in layer.token_embedding_table:
        names, starts = layer.token_field_names["item"], layer.token_field_offsets["item"]
        fields = layer.token_embedding_table["item"], names, starts
    elif isinstance(model, ContextRecommender):
        fields = model.token_embedding_table, model.token_field_names, model.token_field_offsets
    if fields is not None and isinstance(fields[0], FMEmbedding) and item_field in fields[1]:
        return ItemTable(fields[0].embedding, int(fields[2][fields[1].index(item_field)]))
    for name in _NAMES:
        table = table_called(model, name)
        if type(table) is nn.Embedding:  # of a class of its own, fuse would take its methods away
            return ItemTable(table, 0)
    tables = [table for table in embedding_tables(model).values() if type(table) is nn.Embedding]
    tables = [t for t in tables if t.num_embeddings in (model.n_items, model.n_items + 1)]
    if len(tables) == 1:
        return ItemTable(tables[0], 0)
    raise OptionError(
        "backbone",
        type(model).__name__,
        f"IaCN needs one item table, and this one has {len(tables)} of {model.n_items} rows, "
        f"none of which is called {' or '.join(_NAMES)}",
    )
