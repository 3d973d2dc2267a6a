"""Concentration of exposure: how unevenly all users' lists together spread over the items."""

import torch
from torch import Tensor


def gini_index(items: Tensor, n_items: int) -> Tensor:
    r"""Gini coefficient of how often each item is recommended.

    .. math:: \mathrm{Gini@k} = \frac{\sum_{i=1}^{|I|} (2 i - |I| - 1) P_{(i)}}
        {|I| \sum_{i=1}^{|I|} P_{(i)}}

    :math:`P_{(i)}` are the counts in non-decreasing order over all real items; one that is never
    recommended counts 0. Padding (item 0) is no item, neither in the lists nor in :math:`|I|`.
    RecBole's collector passes the padding as an item: what it prints is larger by
    :math:`(1 - \mathrm{Gini}) / (|I| + 1)`, and equals ``gini_index(items, n_items + 1)``.

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        n_items: Number of item ids, padding included, so :math:`|I|` is ``n_items - 1``.

    Returns:
        A scalar in [0, 1 - 1/|I|], float64, smaller is fairer: 0 if all items are equally often
        recommended; NaN if nothing is.

    Reference:
        RecBole 1.2.1, ``recbole.evaluator.metrics.GiniIndex``.

    Example:
        >>> gini_index(torch.tensor([[1, 2], [3, 4]]), 5).item()
        0.0
        >>> gini_index(torch.tensor([[1], [1]]), 5).item()
        0.75
    """
    counts = torch.bincount(items.flatten(), minlength=n_items)[1:].sort().values
    n = len(counts)
    rank = torch.arange(1, n + 1, device=items.device)
    # int64 to the last division: exact, on any device
    return ((2 * rank - n - 1) * counts).sum().double() / (n * counts.sum())
