"""Diversity of ranked lists: how different one user's items are, by their sets of categories.

Item 0 is padding: it has no category, whatever its row says, and forms no pair. Both functions go
through the users in chunks, so that memory stays bounded for any number of users.
"""

from typing import Iterator, Tuple

import torch
from torch import Tensor

_MAX_CELLS = 1 << 24  # of one chunk's (users, k, n_categories), 64 MiB in float32


def category_coverage(items: Tensor, categories: Tensor) -> Tensor:
    r"""Share of all categories that the list holds (CC).

    .. math:: \mathrm{CC@k}(u) = \Big| \bigcup_{i \in \hat R_k(u)} C_i \Big| \; / \; |C|

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        categories: True where the item has the category. Shape: ``(n_items, n_categories)``.

    Returns:
        Values in [0, 1], larger is more diverse, float64. Shape: ``(users,)``.

    Raises:
        ValueError: If there is no category at all.

    Reference:
        Jia et al. "Beyond Models! Explainable Data Valuation and Metric Adaption for
        Recommendation." 2025 (arXiv 2502.08685), Section 6.2.

    Example:
        >>> categories = torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]]).bool()
        >>> category_coverage(torch.tensor([[1, 2], [2, 0]]), categories).tolist()
        [0.5, 0.25]
    """
    covered = [held.any(1).sum(1) for held, _ in _chunks(items, categories)]
    return torch.cat(covered).double() / categories.shape[1]


def intra_list_distance(items: Tensor, categories: Tensor) -> Tensor:
    r"""Mean Jaccard distance of the categories over all pairs of the list (ILD).

    .. math:: \mathrm{ILD@k}(u) = \frac{2}{k (k - 1)} \sum_{i < j \in \hat R_k(u)}
        \Big( 1 - \frac{|C_i \cap C_j|}{|C_i \cup C_j|} \Big)

    With one category per item, this is the share of pairs whose categories differ. Two items
    without categories have distance 0, as equal sets have (and as scipy defines it): a list of
    which nothing is known must not look diverse. An item without categories has distance 1 to any
    other, so where many items lack them, ILD also measures how unevenly they are recommended.

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        categories: True where the item has the category. Shape: ``(n_items, n_categories)``.

    Returns:
        Values in [0, 1], larger is more diverse, float64; 0 for a list with less than two items,
        which has no pair. Shape: ``(users,)``.

    Raises:
        ValueError: If there is no category at all.

    Reference:
        Zhang, Hurley. "Avoiding Monotony: Improving the Diversity of Recommendation Lists."
        in RecSys 2008. DVR (arXiv 2502.08685, Section 6.2) names no distance; Jaccard's is ours.

    Example:
        >>> categories = torch.tensor([[0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]]).bool()
        >>> intra_list_distance(torch.tensor([[1, 2], [1, 3], [2, 0]]), categories).tolist()
        [0.5, 1.0, 0.0]
    """
    distances = []
    for held, real in _chunks(items, categories):
        x = held.float()  # counts below 2^24 are exact
        both = x @ x.transpose(1, 2)  # (users, k, k): |C_i and C_j|
        size = x.sum(2)
        either = size.unsqueeze(2) + size.unsqueeze(1) - both  # (users, k, k): |C_i or C_j|
        distance = torch.where(either > 0, 1 - both.double() / either, 0.0)
        pair = real.unsqueeze(2) & real.unsqueeze(1)  # the diagonal adds 0: an item equals itself
        n = real.sum(1)
        distances.append((distance * pair).sum((1, 2)) / (n * (n - 1)).clamp(min=1))
    return torch.cat(distances)


def _chunks(items: Tensor, categories: Tensor) -> Iterator[Tuple[Tensor, Tensor]]:
    """Give the categories of each listed item ``(users, k, n_categories)`` and which are real."""
    if categories.shape[1] == 0:
        raise ValueError("categories has no column: without categories there is no diversity")
    users = max(1, _MAX_CELLS // (max(1, items.shape[1]) * categories.shape[1]))
    for chunk in items.split(users):
        real = chunk != 0
        yield categories[chunk] & real.unsqueeze(2), real
