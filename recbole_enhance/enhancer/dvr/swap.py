r"""The gradient of any list metric with respect to scores, by swaps at the border of the list.

A metric of ranked lists is constant wherever the order of the scores is, so its own gradient is 0.
What is estimated is the gradient of the metric's change by all swaps of a listed item a and an
outsider b, each smoothed by how near the two are:

.. math:: \sum_{a \in L, b \notin L} \Delta R_{ab} \, \sigma\big((s_b - s_a) / \tau\big)

The metric is a black box that is asked for :math:`\Delta R` of a few drawn swaps of each user.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recbole_enhance.metric.fairness import group_statistics

_CLIP = 20  # medians; a swap of tiny probability must not outweigh all others


class Swaps(NamedTuple):
    """Drawn swaps of each user.

    Attributes:
        place: Of the listed item, from 0, in the list. Shape: ``(users, draws)``.
        outsider: Of the other one among all candidates, k or more. Shape: ``(users, draws)``.
        weight: By how much one unit of the metric's change counts for the outsider's score, and
            its negative for the listed one's. Shape: ``(users, draws)``.
    """

    place: Tensor
    outsider: Tensor
    weight: Tensor


def draw_swaps(scores: Tensor, k: int, n_draws: int, generator: torch.Generator) -> Swaps:
    r"""Draw listed items evenly and outsiders near the border, and weigh them back.

    Outsiders are drawn by :math:`p_b = \mathrm{softmax}(s_b / \tau)`; a swap weighs
    :math:`\sigma'(x) / \tau \cdot k / (p_b S)` at :math:`x = (s_a - s_b) / \tau`, so that the
    weighted sum over the S draws is an unbiased estimate (up to a clip at 20 medians).
    :math:`\tau` is half the mean gap of the scores at ranks k/2 + 1 and 3k + 1.

    Args:
        scores: Of the candidates, best first, -inf where there is none. Shape:
            ``(users, candidates)``, more than k.
        k: Length of the lists.
        n_draws: S, swaps of each user.
        generator: Source of randomness, on the CPU.

    Returns:
        Swaps; of weight 0 for a user without outsiders. Shape: ``(users, n_draws)``.
    """
    users, device = len(scores), scores.device
    uniform = torch.rand((2, users, n_draws), generator=generator).to(scores)
    place = (uniform[0] * k).long().clamp(max=k - 1)
    upper, lower = scores[:, k // 2], scores[:, min(3 * k, scores.shape[1] - 1)]
    gap = (upper - lower)[lower.isfinite()]
    tau = gap.mean() / 2 if len(gap) else torch.ones((), device=device)
    tau = tau.clamp(min=torch.finfo(scores.dtype).tiny)
    outside = scores[:, k:]
    p = torch.softmax(outside / tau, dim=1).nan_to_num()  # NaN: nothing but -inf
    cumulative = p.cumsum(1)
    drawn = torch.searchsorted(cumulative, uniform[1] * cumulative[:, -1:])
    drawn = drawn.clamp(max=outside.shape[1] - 1)
    x = (scores.gather(1, place) - outside.gather(1, drawn)) / tau
    slope = torch.sigmoid(x) * torch.sigmoid(-x) / tau
    weight = (slope * k / (p.gather(1, drawn) * n_draws)).nan_to_num(posinf=0.0)
    weight = weight.clamp(max=_CLIP * weight[weight > 0].median()) if weight.any() else weight
    return Swaps(place, drawn + k, weight)


def swapped_lists(candidates: Tensor, k: int, swaps: Swaps) -> Tensor:
    """The lists after each swap.

    Args:
        candidates: Items, best first. Shape: ``(users, candidates)``.
        k: Length of the lists.
        swaps: Shape: ``(users, draws)``.

    Returns:
        Lists, the outsider in the other's place. Shape: ``(users, draws, k)``.

    Example:
        >>> swaps = Swaps(torch.tensor([[1]]), torch.tensor([[2]]), torch.ones(1, 1))
        >>> swapped_lists(torch.tensor([[7, 8, 9]]), 2, swaps).tolist()
        [[[7, 9]]]
    """
    lists = candidates[:, :k].unsqueeze(1).repeat(1, swaps.place.shape[1], 1)
    coming = candidates.gather(1, swaps.outsider)
    return lists.scatter_(2, swaps.place.unsqueeze(2), coming.unsqueeze(2))


def score_gradient(candidates: Tensor, swaps: Swaps, change: Tensor) -> tuple[Tensor, Tensor]:
    """Where the scores should go, in sparse form.

    Args:
        candidates: Items, best first. Shape: ``(users, candidates)``.
        swaps: Shape: ``(users, draws)``.
        change: The metric's change by each swap; NaN counts as 0. Shape: ``(users, draws)``.

    Returns:
        Items, and the derivative of the metric by the user's score of each; an item may come more
        than once. Shape of both: ``(users, 2 * draws)``.
    """
    amount = swaps.weight * change.nan_to_num().to(swaps.weight)
    items = torch.cat([candidates.gather(1, swaps.outsider), candidates.gather(1, swaps.place)], 1)
    return items, torch.cat([amount, -amount], 1)


def rows_of_swaps(data: Mapping[str, Any], lists: Tensor) -> dict[str, Any]:
    """What a metric reads, with one row per swap in place of one per user.

    Args:
        data: As in :mod:`recbole_enhance.metric.base`, with ``rec.users``, ``rec.positive_u`` and
            ``rec.positive_i`` of the users.
        lists: From :func:`swapped_lists`. Shape: ``(users, draws, k)``.

    Returns:
        The same data of ``users * draws`` rows, a user's beside each other.
    """
    draws = lists.shape[1]
    row = data["rec.positive_u"].unsqueeze(1) * draws + torch.arange(draws)
    return {
        **data,
        "rec.items": lists.flatten(0, 1),
        "rec.users": data["rec.users"].repeat_interleave(draws),
        "rec.positive_u": row.flatten(),
        "rec.positive_i": data["rec.positive_i"].repeat_interleave(draws),
    }


def gini_slopes(lists: Tensor, n_items: int) -> Tensor:
    r"""Derivative of the Gini index by how often each item is listed.

    .. math:: \frac{\partial \mathrm{Gini}}{\partial P_i} =
        \frac{2 r_i - |I| - 1 - |I| \, \mathrm{Gini}}{|I| \sum_j P_j}

    The rank :math:`r_i` of an item's count is the middle one among equal counts: most items are
    never listed, and none of them is the rarest.

    Args:
        lists: Items of all lists. Shape: ``(users, k)``.
        n_items: Number of item ids, padding included.

    Returns:
        Shape: ``(n_items,)``, 0 for the padding; float64.

    Example:
        >>> gini_slopes(torch.tensor([[1, 2], [1, 2]]), 5).tolist()
        [0.0, 0.0, 0.0, -0.25, -0.25]
    """
    counts = torch.bincount(lists.flatten(), minlength=n_items)[1:]
    n, total = len(counts), counts.sum()
    _levels, level, size = counts.unique(return_inverse=True, return_counts=True)
    rank = (size.cumsum(0) - (size - 1) / 2).double()[level]
    gini = ((2 * rank - n - 1) * counts).sum() / (n * total)
    slopes = (2 * rank - n - 1 - n * gini) / (n * total)
    return torch.cat([slopes.new_zeros(1), slopes])


def coverage_changes(lists: Tensor, n_items: int) -> tuple[Tensor, Tensor]:
    """Change of the item coverage by one more, and by one less listing of each item.

    Args:
        lists: Items of all lists. Shape: ``(users, k)``.
        n_items: Number of item ids, padding included.

    Returns:
        Shape of both: ``(n_items,)``, 0 for the padding; float64.

    Example:
        >>> more, less = coverage_changes(torch.tensor([[1, 2], [1, 0]]), 5)
        >>> more.tolist(), less.tolist()
        ([0.0, 0.0, 0.0, 0.25, 0.25], [0.0, 0.0, -0.25, 0.0, 0.0])
    """
    counts = torch.bincount(lists.flatten(), minlength=n_items)
    more, less = (counts == 0).double(), 0.0 - (counts == 1).double()
    more[0] = less[0] = 0.0
    return more / (n_items - 1), less / (n_items - 1)


def gap_weights(values: Tensor, codes: Tensor, n_groups: int) -> Tensor:
    """Derivative of the gap of the largest and the smallest group mean by each user's value.

    Args:
        values: The metric; NaN where a user has no value. Shape: ``(users,)``.
        codes: Group of each user, or -1. Shape: ``(users,)``.
        n_groups: Number of groups.

    Returns:
        1 / users in the best group, -1 / users in the worst, 0 elsewhere. Shape: ``(users,)``.

    Example:
        >>> values, codes = torch.tensor([1.0, 3.0, 5.0, 4.0]), torch.tensor([0, 0, 1, 2])
        >>> gap_weights(values, codes, 3).tolist()
        [-0.5, -0.5, 1.0, 0.0]
    """
    count, mean, _ = group_statistics(values, codes, n_groups)
    weight = torch.zeros_like(mean)
    weight[mean.nan_to_num(-torch.inf).argmax()] += 1
    weight[mean.nan_to_num(torch.inf).argmin()] -= 1
    return _of_members(weight / count, values, codes)


def mad_weights(values: Tensor, codes: Tensor, n_groups: int) -> Tensor:
    """Derivative of the mean absolute difference of the group means by each user's value.

    Arguments and result are those of :func:`gap_weights`.

    Example:
        >>> values, codes = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1])
        >>> mad_weights(values, codes, 2).tolist()
        [-0.5, -0.5, 1.0]
    """
    count, mean, _ = group_statistics(values, codes, n_groups)
    known = count > 0
    signs = (mean.unsqueeze(1) - mean).sign().nan_to_num().sum(1)
    pairs = known.sum() * (known.sum() - 1) / 2
    return _of_members(signs / pairs / count, values, codes)


def _of_members(weight: Tensor, values: Tensor, codes: Tensor) -> Tensor:
    """Each user's, by the user's group; 0 for users who do not count. Shape: ``(users,)``."""
    counts = (codes >= 0) & ~values.isnan()
    return torch.where(counts, weight[codes.clamp(min=0)], 0.0)
