r"""LightGCN's propagation in one piece: the mean of a table over the layers of a graph.

.. math::
    P = \frac{1}{L + 1} \sum_{l=0}^{L} A^l E, \qquad
    \frac{\partial \ell}{\partial E} = \frac{1}{L + 1} \sum_{l=0}^{L} (A^T)^l
        \frac{\partial \ell}{\partial P}

Both sums are added up in place. Autograd stacks all layers, and writes each of their gradients
anew, which takes longer than the products. Values and gradients are RecBole's; on a CPU to the last
bit, up to three layers.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:  # what GraphMean is mixed in front of
    from recbole.model.general_recommender import LightGCN as _LightGCN
else:
    _LightGCN = object


class GraphMean(_LightGCN):
    """Mixed in front of LightGCN: its propagation in one piece."""

    def forward(self) -> tuple[Tensor, Tensor]:
        """Tables of users and items after propagation.

        Returns:
            Shapes: ``(n_users, d)`` and ``(n_items, d)``.
        """
        users, items = self.user_embedding.weight, self.item_embedding.weight
        means: tuple[Tensor, Tensor] = _Means.apply(
            users, items, self.norm_adj_matrix, self.n_layers
        )
        return means


class _Means(torch.autograd.Function):
    """(users, items, graph, layers) -> means of users and of items."""

    @staticmethod
    def forward(
        ctx: Any, users: Tensor, items: Tensor, graph: Any, n_layers: int
    ) -> tuple[Tensor, Tensor]:
        ctx.graph, ctx.n_layers, ctx.sizes = graph, n_layers, (len(users), len(items))
        return _mean_of_layers(ctx, users, items)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        mean, turned = torch.cat(gradients), ctx.graph.t()
        mean /= ctx.n_layers + 1
        total = mean
        for _ in range(ctx.n_layers):  # by Horner's rule, which is the order of autograd
            total = torch.sparse.mm(turned, total)
            total += mean
        users, items = total.split(ctx.sizes)
        return users, items, None, None

    @staticmethod
    def jvp(ctx: Any, users: Tensor, items: Tensor, _graph: None, _layers: None) -> Any:
        return _mean_of_layers(ctx, users, items)


def _mean_of_layers(ctx: Any, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    total = layer = torch.cat([users, items])
    for _ in range(ctx.n_layers):
        layer = torch.sparse.mm(ctx.graph, layer)
        total += layer
    total /= ctx.n_layers + 1
    means = total.split(ctx.sizes)
    return means[0], means[1]
