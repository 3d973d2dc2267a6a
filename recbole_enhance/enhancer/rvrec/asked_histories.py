r"""What asked histories add to scores, with its gradient in closed form.

.. math::
    s_i = \sum_t w_t p_t, \quad p_t = \langle v_t, v_i \rangle, \quad
    w_t \propto \rho_t e^{\beta c_t}

.. math::
    \frac{\partial s_i}{\partial v_t} = w_t v_i, \quad
    \frac{\partial s_i}{\partial v_i} = \sum_t w_t v_t, \quad
    \frac{\partial s_i}{\partial \beta} = \sum_t w_t c_t (p_t - s_i)

Cosines c have no gradient; rho is what a player weighs before any item asks, 1 or by its age. Rows
are read in blocks that fit a core's cache, with histories of much the same length in each. The
table gets one gradient, which autograd would make for each look-up, each as large as the table.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from recbole_enhance.training.acceleration import Rows

STEEPEST = 40.0  # of beta: e^40 and e^-40 are numbers that single precision adds up
SMALLEST_NORM = 1e-12
_NUMBERS = 1 << 17  # of players' rows that are read at once, half a megabyte


class AskedHistories(torch.autograd.Function):
    """Scores of items by histories, up to alpha, of (table, beta, history, there, items, prior).

    Shapes are those of ``item_query.history_scores``, which is what to call.
    """

    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        beta: Tensor,
        history: Tensor,
        there: Tensor,
        items: Tensor,
        prior: Tensor | None = None,
    ) -> Tensor:
        """Scores. Shape: ``(any, rows)``."""
        q = table.index_select(0, items.T.flatten()).view(*items.T.shape, table.shape[1])
        with torch.autocast(table.device.type, enabled=False):  # what is summed keeps its digits
            products, norm = _products_and_norms(table, history, there, q)
        norm_q = q.norm(dim=2, keepdim=True).clamp(min=SMALLEST_NORM)
        # Shapes from here on: (rows, any, players).
        cosine = products / (norm.clamp(min=SMALLEST_NORM).unsqueeze(1) * norm_q)
        keys = (beta.clamp(-STEEPEST, STEEPEST) * cosine).exp_()
        keys = keys.mul_((there if prior is None else there * prior).unsqueeze(1))
        total = keys.sum(2, keepdim=True).clamp_(min=torch.finfo(keys.dtype).tiny)
        weights = keys.div_(total)
        scores = (weights * products).sum(2)
        ctx.save_for_backward(table, beta, history, there, items, weights, cosine, products, scores)
        return scores.T

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Gradients of the table and of beta."""
        table, beta, history, there, items, weights, cosine, products, scores = ctx.saved_tensors
        pulls = gradients[0].T.unsqueeze(2) * weights
        for_table = for_beta = None
        if ctx.needs_input_grad[0]:
            for_table = _gradient_of_table(table, history, there, items, pulls)
        if ctx.needs_input_grad[1]:
            slope = (pulls * cosine * (products - scores.unsqueeze(2))).sum()
            for_beta = slope * (beta.abs() <= STEEPEST)
        return for_table, for_beta, None, None, None, None


def _products_and_norms(
    table: Tensor, history: Tensor, there: Tensor, q: Tensor
) -> tuple[Tensor, Tensor]:
    """Products of players and the items that ask, and lengths of the players' rows.

    Args:
        table: Shape: ``(n_items, d)``.
        history: Players' rows of the table. Shape: ``(rows, players)``.
        there: False for padding. Shape: as ``history``.
        q: The rows of the items that ask. Shape: ``(rows, any, d)``.

    Returns:
        Zero beyond a block's longest history. Shapes: ``(rows, any, players)`` and as ``history``.
    """
    (rows, width), d = history.shape, table.shape[1]
    products, norm = q.new_zeros(rows, q.shape[1], width), q.new_zeros(rows, width)
    last = (there * torch.arange(1, width + 1, device=there.device)).amax(1)
    lengths, order = last.sort()
    number = (lengths.cumsum(0) * d).div(_NUMBERS, rounding_mode="floor")
    sizes = torch.unique_consecutive(number, return_counts=True)[1]
    longest = lengths.index_select(0, sizes.cumsum(0) - 1)
    for at, n in zip(order.split(sizes.tolist()), longest.tolist()):
        players = history.index_select(0, at)[:, :n]
        x = table.index_select(0, players.flatten()).view(len(at), n, d)
        products[at, :, :n] = q.index_select(0, at) @ x.transpose(1, 2)
        norm[at, :n] = x.norm(dim=2)
    return products, norm


def _gradient_of_table(
    table: Tensor, history: Tensor, there: Tensor, items: Tensor, pulls: Tensor
) -> Tensor:
    """Gradient of the table, of which both players and the items that ask are rows.

    Args:
        table: Shape: ``(n_items, d)``.
        history: Players' rows of the table. Shape: ``(rows, players)``.
        there: False for padding. Shape: as ``history``.
        items: Rows of the items that ask. Shape: ``(any, rows)``.
        pulls: Gradients of the scores, times weights. Shape: ``(rows, any, players)``.

    Returns:
        Shape: as ``table``.
    """
    any_ = len(items)
    place = there.flatten().nonzero().squeeze(1)
    row, ids = place // there.shape[1], history.flatten().index_select(0, place)
    pulls = pulls.transpose(0, 1).flatten(1).index_select(1, place)
    # Of a player: the sum of the items that ask it, from wherever it is in a history.
    asking = items.index_select(1, row).flatten()
    of_players = Rows.of(ids.repeat(any_), asking, pulls.flatten(), len(table)).times(table)
    # Of an item: the sum of its players.
    lengths = there.sum(1)
    number = torch.arange(any_, device=row.device).unsqueeze(1)
    starts = (lengths.cumsum(0) - lengths + number * len(ids)).flatten()
    of_items = _weighted_sums(ids.repeat(any_), table, starts, pulls.flatten())
    return of_players.index_add_(0, items.flatten(), of_items)


def _weighted_sums(rows: Tensor, table: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of a table's rows over bags. Shape: ``(bags, d)``."""
    return embedding_bag(rows, table, starts, mode="sum", per_sample_weights=weights)
