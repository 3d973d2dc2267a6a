"""Faster arithmetic under RecBole's models, without touching their source."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer

_FUSED = (Adam, AdamW, SGD, Adagrad)
_PRODUCTS = (torch.sparse.mm, torch.mm, torch.matmul)


def fused(optimizer: Optimizer) -> Optimizer:
    """The same optimiser with torch's fused step: one kernel for all parameters.

    Args:
        optimizer: Fresh, without state.

    Returns:
        A fused one of the same class and options, or itself where torch has none for it.
    """
    if type(optimizer) not in _FUSED:
        return optimizer
    groups = [{**group, "fused": True, "foreach": None} for group in optimizer.param_groups]
    try:
        return type(optimizer)(groups)  # type: ignore[call-arg]
    except (RuntimeError, TypeError):  # no fused kernel for these parameters in this torch
        return optimizer


def compress_graphs(model: nn.Module) -> int:
    """Let the constant sparse matrices of a model multiply in compressed rows.

    RecBole keeps graphs as unsorted coordinates, which torch walks one by one at each product. Only
    on a CPU, where compressed rows were measured faster (``benchmarks/training.py``).

    Args:
        model: Its attributes that are such matrices become :class:`CompressedGraph`.

    Returns:
        How many were replaced.
    """
    replaced = 0
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if _is_constant_graph(value):
                setattr(module, name, CompressedGraph(value))
                replaced += 1
    return replaced


def _is_constant_graph(value: Any) -> bool:
    return (
        type(value) is Tensor
        and value.layout == torch.sparse_coo
        and value.device.type == "cpu"
        and value.dtype == torch.float32
        and value.dim() == 2
        and value.dense_dim() == 0
        and not value.requires_grad
    )


class Rows(NamedTuple):
    """A sparse matrix in compressed rows.

    Attributes:
        start: Where each row starts in the others, and their length. Shape: ``(n + 1,)``.
        column: Shape: ``(entries,)``.
        value: Shape: ``(entries,)``.
    """

    start: Tensor
    column: Tensor
    value: Tensor

    @classmethod
    def of(cls, row: Tensor, column: Tensor, value: Tensor, n: int) -> "Rows":
        """Compress coordinates in any order.

        Args:
            row: Of each entry. Shape: ``(entries,)``.
            column: Of each entry. Shape: ``(entries,)``.
            value: Shape: ``(entries,)``.
            n: Rows.
        """
        order = _order(row, n)
        start = row.new_zeros(n + 1)
        torch.cumsum(torch.bincount(row, minlength=n), 0, out=start[1:])
        return cls(start, column.index_select(0, order), value.index_select(0, order))

    def times(self, dense: Tensor) -> Tensor:
        """Multiply ``(n, m)`` by ``(m, d)``.

        Through torch's bags of embeddings, whose kernel is this product, and on CPUs several times
        faster than its sparse ones.
        """
        return embedding_bag(
            self.column,
            dense.contiguous(),
            self.start,
            mode="sum",
            per_sample_weights=self.value,
            include_last_offset=True,
        )


def _order(numbers: Tensor, n: int) -> Tensor:
    """What sorts numbers in [0, n), equal ones as they stand. Shape: theirs.

    On CPUs, sorts each number with its place in its last bits, as 32 bits where these hold both:
    some ten times as fast as torch's ``argsort``, which is most of a small product.
    """
    if numbers.device.type != "cpu":
        return numbers.argsort(stable=True)
    bits = len(numbers).bit_length()
    kind = np.int32 if n << bits <= np.iinfo(np.int32).max else np.int64
    keys = numbers.numpy().astype(kind)
    keys <<= bits
    keys |= np.arange(len(keys), dtype=kind)
    keys.sort()
    keys &= (1 << bits) - 1
    return torch.from_numpy(keys.astype(np.int64))


class CompressedGraph:
    """A coordinate matrix that multiplies dense matrices in compressed rows.

    Any other operation and attribute is the coordinate matrix's. The gradient of the product needs
    the transpose, which is kept too, or is the matrix itself where that is symmetric.

    Not a subclass of Tensor: torch makes none of a sparse one.

    Args:
        matrix: Coordinates. Shape: ``(n, m)``.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix.coalesce()
        self.rows, self.columns = _compress(self.matrix), _compress(self.matrix.t().coalesce())
        if self.shape[0] == self.shape[1] and all(map(torch.equal, self.rows, self.columns)):
            self.columns = self.rows

    def __getattr__(self, name: str) -> Any:
        if name in ("matrix", "rows", "columns"):  # not there yet, while it is copied
            raise AttributeError(name)
        return getattr(self.matrix, name)

    def t(self) -> "CompressedGraph":
        """The transpose, of the same parts."""
        turned = copy.copy(self)
        turned.matrix, turned.rows, turned.columns = self.matrix.t(), self.columns, self.rows
        return turned

    def __matmul__(self, dense: Tensor) -> Tensor:
        return torch.sparse.mm(self, dense)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Send products with dense matrices to the compressed rows."""
        if func in _PRODUCTS and len(args) == 2 and not kwargs:
            graph, dense = args
            if isinstance(graph, cls) and dense.layout == torch.strided and dense.dim() == 2:
                # Under mixed precision the graph's own, which is float32, is kept.
                return _Product.apply(graph.rows, graph.columns, dense.to(graph.dtype))
        return func(*map(_plain, args), **{k: _plain(v) for k, v in (kwargs or {}).items()})


def _plain(value: Any) -> Any:
    return value.matrix if isinstance(value, CompressedGraph) else value


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Rows, columns: Rows, dense: Tensor) -> Tensor:
        ctx.rows, ctx.columns = rows, columns
        return rows.times(dense)

    @staticmethod
    def jvp(ctx: Any, _rows: None, _columns: None, tangent: Tensor) -> Tensor:
        return ctx.rows.times(tangent)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.columns.times(gradient)


def _compress(matrix: Tensor) -> Rows:
    """Compress sorted coordinates."""
    row, column = matrix.indices()
    counts = torch.bincount(row, minlength=matrix.shape[0])
    start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Rows(start, column.contiguous(), matrix.values())
