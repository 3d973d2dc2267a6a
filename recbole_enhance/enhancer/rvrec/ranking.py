r"""Two stages of ranking: one product chooses candidates, the item query ranks them.

The item query moves what a history adds from its plain mean by at most

.. math::
    |\alpha| \, \|v_i\| \, R_u \min(1, 2 \tanh(|\beta| r_u / 2)), \quad
    R_u = \max_t \|v_t - \bar v_u\|, \quad r_u = \max_t \|\hat v_t - \bar{\hat v}_u\|

since weights whose ratio is at most :math:`e^x` move a mean, plain or by age, by at most
:math:`\tanh(x / 4)` of the range. Candidates have the largest sums of the plain mean's score
and a quarter of this bound, which lets in items near one player of many. Where the last place of a
list beats the bound of all who were no candidates, the list is the exact one.
"""

import torch
from torch import Tensor

from recbole_enhance.enhancer.rvrec.asked_histories import STEEPEST
from recbole_enhance.enhancer.rvrec.histories import Chains
from recbole_enhance.enhancer.rvrec.item_query import UnitRows, history_means, unit_rows
from recbole_enhance.evaluation.ties import best

_HOPE = 0.25  # of the bound; benchmarks/rvrec_lists.py compares shares


class FirstStage:
    """Scores that choose candidates, as one product of users and items.

    Args:
        table: What users multiply. Shape: ``(n_items, d)``.
        asked: Rows by which items ask histories; may be ``table``. Shape: ``(n_items, any)``.
        alpha: Shape: ``()``.
        beta: Shape: ``()``.
    """

    def __init__(self, table: Tensor, asked: Tensor, alpha: Tensor, beta: Tensor) -> None:
        self.rows, self.alpha, self.beta = unit_rows(asked), alpha, beta
        self.asked, self._shared = asked, asked is table
        tables = [table] if self._shared else [table, asked]
        self._items = torch.cat([*tables, self.rows.norm.unsqueeze(1)], 1).T.contiguous()

    def scores(
        self, users: Tensor, chains: Chains, out: Tensor, prior: Tensor | None = None
    ) -> None:
        """Fill in the scores of all items.

        Args:
            users: Users' rows. Shape: ``(users, d)``.
            chains: Their histories.
            out: Shape: ``(users, n_items)``.
            prior: Of ``histories.recency``. Shape: ``(players,)``.
        """
        means = self.alpha * history_means(chains, self.asked, prior)
        parts = [users + means] if self._shared else [users, means]
        hope = _HOPE * largest_shift(chains, self.rows, self.alpha, self.beta, prior)
        torch.mm(torch.cat([*parts, hope.unsqueeze(1)], 1), self._items, out=out)


def candidates(scores: Tensor, known: Chains, n: int) -> tuple[Tensor, Tensor]:
    """The best items of the first stage, those left out that their users have.

    Args:
        scores: Of the first stage, which are as before afterwards; column 0 is padding. Shape:
            ``(users, n_items)``.
        known: What users have.
        n: How many.

    Returns:
        Candidates, or all items where there are no more, shape ``(users, n)``, and the largest
        score of all others, ``-inf`` of none, shape ``(users, 1)``.
    """
    own = scores[known.row, known.item]
    padding = scores[:, 0].clone()
    scores[:, 0] = float("-inf")
    scores[known.row, known.item] = float("-inf")
    n = min(n, scores.shape[1])
    if n == scores.shape[1]:
        chosen, largest = scores.argsort(1), scores.new_full((len(scores),), float("-inf"))
    else:  # one more, who is the best of the others
        values, found = best(scores, n + 1, in_order=False)
        last = values.min(1, keepdim=True)
        chosen = found.scatter(1, last.indices, found[:, n:])[:, :n]
        largest = last.values.squeeze(1).maximum(padding)
        largest = largest.scatter_reduce(0, known.row, own, "amax")
    scores[:, 0], scores[known.row, known.item] = padding, own
    return chosen, largest.unsqueeze(1)


def put_first(scores: Tensor, chosen: Tensor, exact: Tensor, largest: Tensor) -> None:
    """Give candidates their exact scores, and lower all others below, in place.

    The others keep their order; what they are lowered by is one number per user.

    Args:
        scores: Of the first stage. Shape: ``(users, n_items)``.
        chosen: Candidates. Shape: ``(users, n)``.
        exact: Their scores. Shape: as ``chosen``.
        largest: Of the others' scores. Shape: ``(users, 1)``.

    Example:
        >>> scores = Tensor([[0.0, 5.0, 4.0, 3.0]])
        >>> put_first(scores, Tensor([[1, 2]]).long(), Tensor([[1.0, 2.0]]), Tensor([[3.0]]))
        >>> scores
        tensor([[-2.,  1.,  2.,  1.]])
    """
    gap = exact.amin(1, keepdim=True) - largest
    scores += gap.nan_to_num(posinf=0.0).clamp(max=0.0)
    scores.scatter_(1, chosen, exact)


def largest_shift(
    chains: Chains, table: UnitRows, alpha: Tensor, beta: Tensor, prior: Tensor | None = None
) -> Tensor:
    """By how much the item query can move a score from the mean's, per length of an item.

    Args:
        chains: Histories.
        table: Of ``item_query.unit_rows``.
        alpha: Shape: ``()``.
        beta: Shape: ``()``.
        prior: Of ``histories.recency``, by which the mean is. Shape: ``(players,)``.

    Returns:
        To be multiplied by the length of the item's row. Shape: ``(users,)``.
    """

    def radius(rows: Tensor) -> Tensor:
        mean = history_means(own, rows, prior)
        far = (rows - mean.index_select(0, chains.row)).norm(dim=1)
        return far.new_zeros(len(mean)).scatter_reduce(0, chains.row, far, "amax")

    own = chains._replace(item=torch.arange(len(chains.item), device=chains.item.device))
    units = table.units.index_select(0, chains.item)
    rows = units * table.norm.index_select(0, chains.item).unsqueeze(1)
    # The range of products is at most two radii, that of cosines, too.
    ratio = (beta.abs().clamp(max=STEEPEST) * radius(units) / 2).tanh()
    return alpha.abs() * radius(rows) * (2 * ratio).clamp(max=1)


def proven(
    first: Tensor, exact: Tensor, chosen: Tensor, shift: Tensor, lengths: Tensor, k: int
) -> Tensor:
    """Whose list of k items is the exact one, by the bound.

    Args:
        first: Scores by plain means; ``-inf`` of what cannot be recommended. Shape:
            ``(users, n_items)``.
        exact: Scores of the candidates. Shape: ``(users, n)``.
        chosen: Candidates. Shape: as ``exact``.
        shift: See :func:`largest_shift`. Shape: ``(users,)``.
        lengths: Lengths of the items' rows. Shape: ``(n_items,)``.
        k: Length of the lists.

    Returns:
        Shape: ``(users,)``.
    """
    bound = (first + shift.unsqueeze(1) * lengths).scatter(1, chosen, float("-inf"))
    return exact.topk(k).values[:, -1] > bound.amax(1)
