"""Novelty of ranked lists: recommended items that few users know, and that are right.

Popularity is the number of training users who have the item. Where a logarithm is taken, an item
of no user counts as one of a single user, as in RecTools, so that no value is infinite.
Item 0 is padding and never counts; ranks are those of the columns.
"""

import torch
from torch import Tensor


def expected_popularity_complement(
    items: Tensor, relevant: Tensor, popularity: Tensor, n_users: int
) -> Tensor:
    r"""Expected number of seen relevant items not previously seen by others (EPC), normalised.

    .. math:: \mathrm{EPC@k}(u) = \frac{\sum_{r} d(r) \, \mathrm{rel}(i_r)
        (1 - p(\mathrm{seen}|i_r))}{\sum_{r} d(r)}, \qquad d(r) = 1 / \log_2(r + 1)

    :math:`p(\mathrm{seen}|i)` is the share of the users who have the item. Without relevance (all
    True), it is the rank-discounted mean of the complement of popularity.

    Args:
        items: Recommended item ids, best first. Shape: ``(users, k)``.
        relevant: True where the item is held out for the user. Shape: ``(users, k)``.
        popularity: Number of training users. Shape: ``(n_items,)``.
        n_users: Number of users with training interactions.

    Returns:
        Values in [0, 1], larger is better, float64; 0 for a list without items. Shape:
        ``(users,)``.

    Reference:
        Vargas, Castells. "Rank and Relevance in Novelty and Diversity Metrics for Recommender
        Systems." in RecSys 2011, with binary relevance and the logarithmic discount.

    Example:
        >>> items, popularity = torch.tensor([[1, 2], [2, 0]]), torch.tensor([0, 4, 1])
        >>> relevant = torch.tensor([[True, False], [True, False]])
        >>> expected_popularity_complement(items, relevant, popularity, 4).tolist()
        [0.0, 0.75]
    """
    return _expected(items, relevant, 1 - popularity.double() / n_users)


def expected_free_discovery(items: Tensor, relevant: Tensor, popularity: Tensor) -> Tensor:
    r"""Expected inverse collection frequency of the relevant items seen (EFD), in bits.

    .. math:: \mathrm{EFD@k}(u) = \frac{\sum_{r} d(r) \, \mathrm{rel}(i_r)
        (-\log_2 p(i_r|\mathrm{seen}))}{\sum_{r} d(r)}, \qquad d(r) = 1 / \log_2(r + 1)

    :math:`p(i|\mathrm{seen})` is the item's share of all training interactions.

    Args:
        items: Recommended item ids, best first. Shape: ``(users, k)``.
        relevant: True where the item is held out for the user. Shape: ``(users, k)``.
        popularity: Number of training users. Shape: ``(n_items,)``.

    Returns:
        Values in [0, log2 of the number of interactions], larger is better, float64; 0 for a
        list without items. Shape: ``(users,)``.

    Reference:
        Vargas, Castells. "Rank and Relevance in Novelty and Diversity Metrics for Recommender
        Systems." in RecSys 2011, with binary relevance and the logarithmic discount.

    Example:
        >>> items, popularity = torch.tensor([[1, 2], [2, 0]]), torch.tensor([0, 6, 2])
        >>> relevant = torch.tensor([[False, False], [True, False]])
        >>> expected_free_discovery(items, relevant, popularity).tolist()
        [0.0, 2.0]
    """
    count = popularity.double().clamp(min=1)
    total = popularity[1:].double().sum().clamp(min=1)
    return _expected(items, relevant, -(count / total).log2())


def mean_inverse_user_frequency(items: Tensor, popularity: Tensor, n_users: int) -> Tensor:
    r"""Mean self-information of the listed items (MIUF), in bits.

    .. math:: \mathrm{MIUF@k}(u) = - \frac{1}{|\hat R_k(u)|} \sum_{i \in \hat R_k(u)}
        \log_2 \frac{|U_i|}{|U|}

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        popularity: :math:`|U_i|`, the number of training users. Shape: ``(n_items,)``.
        n_users: :math:`|U|`, the number of users with training interactions.

    Returns:
        Values in [0, log2 |U|], larger is more novel, float64; NaN for a list without items.
        Shape: ``(users,)``.

    Reference:
        Zhou et al. "Solving the Apparent Diversity-Accuracy Dilemma of Recommender Systems." in
        PNAS 2010; Castells, Hurley, Vargas. "Novelty and Diversity in Recommender Systems." 2015.
        Values are those of RecTools' ``MeanInvUserFreq``.

    Example:
        >>> items, popularity = torch.tensor([[1, 2], [2, 0]]), torch.tensor([0, 4, 1])
        >>> mean_inverse_user_frequency(items, popularity, 4).tolist()
        [1.0, 2.0]
    """
    real = items != 0
    novelty = -(popularity.double().clamp(min=1) / n_users).log2()
    return (novelty[items] * real).sum(1) / real.sum(1)


def serendipity(items: Tensor, relevant: Tensor, popularity: Tensor) -> Tensor:
    r"""How much higher relevant items are ranked than their popularity would rank them.

    .. math:: \mathrm{Ser@k}(u) = \frac{1}{|\hat R_k(u)|} \sum_{r}
        \max\Big( \frac{n + 1 - r}{n} - \frac{n + 1 - \pi(i_r)}{n}, 0 \Big) \, \mathrm{rel}(i_r)

    n is the number of items and :math:`\pi` the rank by popularity, where equally popular items
    share a rank and the next one follows without a gap; for an item of no user, the second
    fraction is 0.

    Args:
        items: Recommended item ids, best first. Shape: ``(users, k)``.
        relevant: True where the item is held out for the user. Shape: ``(users, k)``.
        popularity: Number of training users. Shape: ``(n_items,)``.

    Returns:
        Values in [0, 1], larger is better, float64; 0 for a list without items. Shape:
        ``(users,)``.

    Reference:
        RecTools, ``rectools.metrics.Serendipity``, whose values these are; the idea, relevant but
        unexpected, is that of Ge et al. "Beyond Accuracy." in RecSys 2010.

    Example:
        >>> items, popularity = torch.tensor([[1, 2], [2, 0]]), torch.tensor([0, 4, 1])
        >>> relevant = torch.tensor([[True, True], [True, False]])
        >>> serendipity(items, relevant, popularity).tolist()
        [0.0, 0.5]
    """
    n = len(popularity) - 1
    levels, level = popularity[1:].unique(return_inverse=True)  # rising
    expected = (n + 1 - (len(levels) - level)).double() / n  # (n,): of everybody
    expected = torch.where(popularity[1:] > 0, expected, 0.0)
    expected = torch.cat([expected.new_zeros(1), expected])  # (n_items,)
    given = (n + 1 - _ranks(items)) / n  # (k,): of this user
    real = items != 0
    surprise = (given - expected[items]).clamp(min=0) * (relevant & real)
    return surprise.sum(1) / real.sum(1).clamp(min=1)


def _ranks(items: Tensor) -> Tensor:
    return torch.arange(1, items.shape[1] + 1, dtype=torch.float64, device=items.device)


def _expected(items: Tensor, relevant: Tensor, novelty: Tensor) -> Tensor:
    """Rank-discounted mean of ``rel * novelty`` over the real items. Shape: ``(users,)``."""
    discount = (items != 0) / (_ranks(items) + 1).log2()  # (users, k)
    total = discount.sum(1)
    gain = (discount * relevant * novelty[items]).sum(1)
    return gain / torch.where(total > 0, total, 1.0)
