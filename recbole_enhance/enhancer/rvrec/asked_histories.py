r"""What asked histories add to scores, with its gradient in closed form.

.. math::
    s_i = \sum_t w_t p_t, \quad p_t = \langle v_t, v_i \rangle, \quad w = \mathrm{softmax}(\beta c)

.. math::
    \frac{\partial s_i}{\partial v_t} = w_t v_i, \quad
    \frac{\partial s_i}{\partial v_i} = \sum_t w_t v_t, \quad
    \frac{\partial s_i}{\partial \beta} = \sum_t w_t c_t (p_t - s_i)

Cosines c have no gradient. Players are one list without padding, and the table gets one gradient,
which autograd would make for each look-up, each as large as the table.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

STEEPEST = 40.0  # of beta: e^40 and e^-40 are numbers that single precision adds up
SMALLEST_NORM = 1e-12


class AskedHistories(torch.autograd.Function):
    """Scores of items by histories, up to alpha: (table, beta, history, there, items) -> scores.

    Shapes are those of ``item_query.history_scores``, which is what to call.
    """

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, beta: Tensor, history: Tensor, there: Tensor, items: Tensor
    ) -> Tensor:
        """Scores. Shape: ``(any, rows)``."""
        (any_, rows), place = items.shape, there.flatten().nonzero().squeeze(1)
        row = place // max(there.shape[1], 1)
        ids, asking = history.flatten().index_select(0, place), items.flatten()
        x, q = table.index_select(0, ids), table.index_select(0, asking).view(any_, rows, -1)
        # As long as the list of players from here on. Shapes: (any, players).
        products = (q.index_select(1, row) * x).sum(2)
        norm_x, norm_q = (part.norm(dim=-1).clamp(min=SMALLEST_NORM) for part in (x, q))
        cosine = products / (norm_x * norm_q.index_select(1, row))
        keys = (beta.clamp(-STEEPEST, STEEPEST) * cosine).exp()
        sums = keys.new_zeros(2 * any_, rows).index_add_(1, row, torch.cat([keys, keys * products]))
        total, scores = sums[:any_], sums[any_:]
        scores = scores / total.clamp(min=torch.finfo(total.dtype).tiny)
        weights = keys / total.index_select(1, row)
        ctx.save_for_backward(
            table, beta, ids, asking, row, there.sum(1), weights, cosine, products, scores
        )
        return scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Gradients of the table and of beta."""
        table, beta, ids, asking, row, lengths, weights, cosine, products, scores = (
            ctx.saved_tensors
        )
        any_, rows = scores.shape
        pulls = gradients[0].index_select(1, row) * weights
        for_table = for_beta = None
        if ctx.needs_input_grad[0]:
            number = torch.arange(any_, device=row.device).unsqueeze(1)
            # Of an item: the sum of its players. Of a player: the sum of the items that ask it.
            starts = (lengths.cumsum(0) - lengths + number * len(ids)).flatten()
            of_items = _weighted_sums(ids.repeat(any_), table, starts, pulls.flatten())
            askers = asking.index_select(0, (row + number * rows).T.flatten())
            starts = torch.arange(0, len(askers), any_, device=row.device)
            of_players = _weighted_sums(askers, table, starts, pulls.T.flatten())
            for_table = torch.zeros_like(table).index_add_(
                0, torch.cat([ids, asking]), torch.cat([of_players, of_items])
            )
        if ctx.needs_input_grad[1]:
            slope = (pulls * cosine * (products - scores.index_select(1, row))).sum()
            for_beta = slope * (beta.abs() <= STEEPEST)
        return for_table, for_beta, None, None, None


def _weighted_sums(rows: Tensor, table: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of a table's rows over bags. Shape: ``(bags, d)``."""
    return embedding_bag(rows, table, starts, mode="sum", per_sample_weights=weights)
