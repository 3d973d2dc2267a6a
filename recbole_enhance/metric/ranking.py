"""Accuracy of ranked lists: RecBole's top-k metrics per user, in float64 and not rounded.

RecBole hands the positives of a batch over as index pairs (row of the user, item id); so do these
functions, because a dense ``(users, n_items)`` matrix is what makes its own evaluation slow.
For a smaller k, cut the hits: ``recall(hits[:, :10], n_positives)``.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def hits(items: Tensor, positive_u: Tensor, positive_i: Tensor, n_items: int) -> Tensor:
    """Mark the recommended items that are among the user's positives.

    Args:
        items: Recommended item ids, best first. Shape: ``(users, k)``.
        positive_u: Row in ``items`` of each positive's user. Shape: ``(positives,)``.
        positive_i: Item id of each positive. Shape: ``(positives,)``.
        n_items: Number of item ids, padding included; larger than any id.

    Returns:
        True where the item is a positive. Shape: ``(users, k)``.

    Example:
        >>> items = torch.tensor([[3, 1], [1, 2]])
        >>> hits(items, torch.tensor([0, 1]), torch.tensor([1, 3]), n_items=4).tolist()
        [[False, True], [False, False]]
    """
    rows = torch.arange(len(items), device=items.device).unsqueeze(1)  # (users, 1)
    return torch.isin(rows * n_items + items, positive_u * n_items + positive_i)


def count_positives(positive_u: Tensor, positive_i: Tensor, n_users: int, n_items: int) -> Tensor:
    """Count the different positives of each user.

    Args:
        positive_u: Row of each positive's user. Shape: ``(positives,)``.
        positive_i: Item id of each positive; a repeated pair counts once. Shape: ``(positives,)``.
        n_users: Number of rows.
        n_items: Number of item ids, padding included.

    Returns:
        Counts. Shape: ``(n_users,)``.

    Example:
        >>> count_positives(torch.tensor([0, 0, 2, 2]), torch.tensor([1, 2, 3, 3]), 3, 4).tolist()
        [2, 0, 1]
    """
    pairs = torch.unique(positive_u * n_items + positive_i)
    return torch.bincount(pairs // n_items, minlength=n_users)


def recall(hits: Tensor, n_positives: Tensor) -> Tensor:
    r"""Share of the user's positives that are in the list.

    .. math:: \mathrm{Recall@k}(u) = |\hat R_k(u) \cap R(u)| / |R(u)|

    Args:
        hits: True where the item at that rank is a positive. Shape: ``(users, k)``.
        n_positives: :math:`|R(u)|`. Shape: ``(users,)``.

    Returns:
        Values in [0, 1], larger is better; NaN for a user without positives, whom RecBole never
        ranks. Shape: ``(users,)``.

    Reference:
        RecBole 1.2.1, ``recbole.evaluator.metrics.Recall``.

    Example:
        >>> recall(torch.tensor([[True, False, True]]), torch.tensor([4])).tolist()
        [0.5]
    """
    return hits.sum(1).double() / n_positives


def ndcg(hits: Tensor, n_positives: Tensor) -> Tensor:
    r"""Discounted gain of the hits over that of a perfect list.

    .. math:: \mathrm{NDCG@k}(u) = \frac{\sum_{i \le k} \delta(i \in R(u)) / \log_2(i + 1)}
        {\sum_{i \le \min(|R(u)|, k)} 1 / \log_2(i + 1)}

    Args:
        hits: True where the item at that rank is a positive. Shape: ``(users, k)``.
        n_positives: :math:`|R(u)|`. Shape: ``(users,)``.

    Returns:
        Values in [0, 1], larger is better; NaN for a user without positives. Shape: ``(users,)``.

    Reference:
        Järvelin, Kekäläinen. "Cumulated Gain-based Evaluation of IR Techniques." in TOIS 2002;
        with the ideal list cut at k, as in RecBole 1.2.1.

    Example:
        >>> round(ndcg(torch.tensor([[False, True, True]]), torch.tensor([2])).item(), 4)
        0.6934
    """
    k = hits.shape[1]
    ranks = torch.arange(1, k + 1, dtype=torch.float64, device=hits.device)
    discount = 1 / torch.log2(ranks + 1)  # (k,)
    ideal = torch.cat([discount.new_zeros(1), discount.cumsum(0)])  # (k + 1,): of 0, 1, ... k hits
    return (hits * discount).sum(1) / ideal[n_positives.clamp(max=k)]


def hit(hits: Tensor) -> Tensor:
    r"""1 if any positive is in the list: :math:`\mathrm{Hit@k}(u) = \delta(\hat R_k(u) \cap R(u))`.

    Args:
        hits: True where the item at that rank is a positive. Shape: ``(users, k)``.

    Returns:
        0 or 1, larger is better. Shape: ``(users,)``.

    Reference:
        RecBole 1.2.1, ``recbole.evaluator.metrics.Hit``.

    Example:
        >>> hit(torch.tensor([[False, True], [False, False]])).tolist()
        [1.0, 0.0]
    """
    return hits.any(1).double()


def precision(hits: Tensor) -> Tensor:
    r"""Share of the list that is positive: :math:`|\hat R_k(u) \cap R(u)| / k`.

    Args:
        hits: True where the item at that rank is a positive. Shape: ``(users, k)``.

    Returns:
        Values in [0, 1], larger is better. Shape: ``(users,)``.

    Reference:
        RecBole 1.2.1, ``recbole.evaluator.metrics.Precision``.

    Example:
        >>> precision(torch.tensor([[False, True], [False, False]])).tolist()
        [0.5, 0.0]
    """
    return hits.sum(1).double() / hits.shape[1]


def mrr(hits: Tensor) -> Tensor:
    r"""Reciprocal rank of the first positive, 0 if there is none: :math:`1 / \mathrm{rank}^*_u`.

    Args:
        hits: True where the item at that rank is a positive. Shape: ``(users, k)``.

    Returns:
        Values in [0, 1], larger is better. Shape: ``(users,)``.

    Reference:
        Voorhees. "The TREC-8 Question Answering Track Report." in TREC 1999.

    Example:
        >>> mrr(torch.tensor([[False, True, True], [False, False, False]])).tolist()
        [0.5, 0.0]
    """
    ranks = torch.arange(1, hits.shape[1] + 1, dtype=torch.float64, device=hits.device)
    return (hits / ranks).amax(1)  # the first hit has the largest 1 / rank


def average_precision(hits: Tensor, n_positives: Tensor) -> Tensor:
    r"""Mean over the user's positives of the precision at the rank of each (MAP).

    .. math:: \mathrm{AP@k}(u) = \frac{1}{\min(|R(u)|, k)} \sum_{r \le k}
        \mathrm{Precision@r}(u) \, \delta(i_r \in R(u))

    Args:
        hits: True where the item at that rank is a positive. Shape: ``(users, k)``.
        n_positives: :math:`|R(u)|`. Shape: ``(users,)``.

    Returns:
        Values in [0, 1], larger is better; NaN for a user without positives. Shape: ``(users,)``.

    Reference:
        RecBole 1.2.1, ``recbole.evaluator.metrics.MAP``.

    Example:
        >>> average_precision(torch.tensor([[True, False, True, False]]), torch.tensor([2])).item()
        0.8333333333333333
    """
    k = hits.shape[1]
    ranks = torch.arange(1, k + 1, dtype=torch.float64, device=hits.device)
    return (hits.cumsum(1) / ranks * hits).sum(1) / n_positives.clamp(max=k)


# RecBole's accuracy of one list, by its lower-case name: (hits, n_positives) -> (users,).
ACCURACY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "recall": recall,
    "ndcg": ndcg,
    "map": average_precision,
    "hit": lambda hits, n_positives: hit(hits),
    "precision": lambda hits, n_positives: precision(hits),
    "mrr": lambda hits, n_positives: mrr(hits),
}
