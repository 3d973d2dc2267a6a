"""Coverage, concentration and popularity: how the lists spread over the items.

Item 0 is padding: it is no item, neither in the lists nor in the number of items.
"""

import torch
from torch import Tensor
from torch.special import entr


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
    counts = _counts(items, n_items).sort().values
    n = len(counts)
    rank = torch.arange(1, n + 1, device=items.device)
    # int64 to the last division: exact, on any device
    return ((2 * rank - n - 1) * counts).sum().double() / (n * counts.sum())


def item_coverage(items: Tensor, n_items: int) -> Tensor:
    r"""Share of all items that are in anybody's list.

    .. math:: \mathrm{Coverage@k} = \Big| \bigcup_u \hat R_k(u) \Big| / |I|

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        n_items: Number of item ids, padding included, so :math:`|I|` is ``n_items - 1``.

    Returns:
        A scalar in [0, 1], float64, larger means that more of the catalogue is shown.

    Reference:
        Ge, Delgado-Battenfeld, Jannach. "Beyond Accuracy: Evaluating Recommender Systems by
        Coverage and Serendipity." in RecSys 2010. RecBole 1.2.1 counts the padding as an item.

    Example:
        >>> item_coverage(torch.tensor([[1, 2], [1, 0]]), 5).item()
        0.5
    """
    return (_counts(items, n_items) > 0).double().mean()


def shannon_entropy(items: Tensor, n_items: int) -> Tensor:
    r"""Entropy of how often each item is recommended, in nats.

    .. math:: H@k = -\sum_{i=1}^{|I|} p(i) \ln p(i)

    :math:`p(i)` is item i's share of all recommendations. RecBole 1.2.1 divides the sum by the
    number of different items recommended, which its formula does not say, and after which lists
    that spread over more items score lower: what it prints is this value over that number.

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        n_items: Number of item ids, padding included.

    Returns:
        A scalar in [0, ln(n_items - 1)], float64, larger is less concentrated; NaN if nothing is
        recommended.

    Reference:
        The formula in the docstring of RecBole 1.2.1, ``recbole.evaluator.metrics.ShannonEntropy``.

    Example:
        >>> round(shannon_entropy(torch.tensor([[1, 2], [3, 4]]), 9).exp().item(), 12)
        4.0
    """
    counts = _counts(items, n_items).double()
    entropies: Tensor = entr(counts / counts.sum())
    return entropies.sum()


def average_popularity(items: Tensor, popularity: Tensor) -> Tensor:
    r"""Mean popularity of the listed items (average recommendation popularity, ARP).

    .. math:: \mathrm{ARP@k}(u) = \sum_{i \in \hat R_k(u)} \phi(i) \; / \; |\hat R_k(u)|

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        popularity: :math:`\phi(i)`, such as the number of training users. Shape: ``(n_items,)``.

    Returns:
        Values in [0, max popularity], smaller is less biased to what is popular, float64; NaN
        for a list without items. Shape: ``(users,)``.

    Reference:
        Yin, Cui, Li, Yao, Chen. "Challenging the Long Tail Recommendation." in VLDB 2012
        (RecBole 1.2.1, ``recbole.evaluator.metrics.AveragePopularity``).

    Example:
        >>> average_popularity(torch.tensor([[1, 2], [2, 0]]), torch.tensor([0, 10, 2])).tolist()
        [6.0, 2.0]
    """
    return _mean(popularity.double()[items], items)


def tail_items(popularity: Tensor, tail: float) -> Tensor:
    """Mark the long tail: the least popular items, ties by item id.

    Args:
        popularity: Number of training interactions or users. Shape: ``(n_items,)``.
        tail: Up to 1, the share of all items (rounded down, at least one item); above 1, the
            number of interactions up to which an item belongs to the tail.

    Returns:
        True where the item is in the tail; never for the padding. Shape: ``(n_items,)``.

    Raises:
        ValueError: If ``tail`` is not above 0.

    Reference:
        RecBole 1.2.1, ``recbole.evaluator.metrics.TailPercentage`` and its ``tail_ratio``; there,
        an item that no training interaction has is in no tail.

    Example:
        >>> popularity = torch.tensor([0, 5, 1, 3, 0])
        >>> tail_items(popularity, 0.5).tolist(), tail_items(popularity, 3).tolist()
        ([False, False, True, False, True], [False, False, True, True, True])
    """
    if not tail > 0:
        raise ValueError(f"tail={tail}: must be above 0")
    if tail > 1:
        member = popularity <= tail
    else:
        n = max(int((len(popularity) - 1) * tail), 1)
        least = popularity[1:].argsort(stable=True)[:n] + 1
        member = torch.zeros(len(popularity), dtype=torch.bool, device=popularity.device)
        member[least] = True
    member[0] = False
    return member


def popularity_groups(popularity: Tensor, head_share: float) -> Tensor:
    """Cut the items into head and tail: the head has a share of the interactions.

    The head is the smallest set of items with at least that share, so the most popular ones; of
    those equally popular at the cut, the first by item id. The rest is tail.

    Args:
        popularity: Number of training users, whole numbers. Shape: ``(n_items,)``.
        head_share: Share of their sum that the head has, in (0, 1).

    Returns:
        0 for head, 1 for tail, -1 for the padding. Shape: ``(n_items,)``.

    Raises:
        ValueError: If ``head_share`` is out of range.

    Reference:
        Abdollahpouri, Burke, Mobasher. "Managing Popularity Bias in Recommender Systems with
        Personalized Re-ranking." in FLAIRS 2019, whose head has 80 % of the ratings.

    Example:
        >>> popularity_groups(torch.tensor([0, 1, 6, 2, 1]), 0.8).tolist()
        [-1, 1, 0, 0, 1]
    """
    if not 0 < head_share < 1:
        raise ValueError(f"head_share={head_share}: must be between 0 and 1")
    counts = popularity[1:]
    order = counts.argsort(descending=True, stable=True)
    more_popular = counts[order].cumsum(0) - counts[order]  # what stands before each item
    # Rounded: 0.55 of 100 interactions are 55, and 0.55 * 100 in float64 is more.
    wanted = round(int(counts.sum()) * head_share, 6)
    groups = torch.full_like(popularity, -1, dtype=torch.long)
    groups[order + 1] = (more_popular >= wanted).long()
    return groups


def tail_share(items: Tensor, tail: Tensor) -> Tensor:
    r"""Share of the list that is long tail (TailPercentage, APLT).

    .. math:: \mathrm{APLT@k}(u) = |\{ i \in \hat R_k(u) : i \in T \}| \; / \; |\hat R_k(u)|

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        tail: True where the item is in the tail T, see :func:`tail_items` and
            :func:`popularity_groups`. Shape: ``(n_items,)``.

    Returns:
        Values in [0, 1], larger shows more of the tail, float64; NaN for a list without items.
        Shape: ``(users,)``.

    Reference:
        Abdollahpouri, Burke, Mobasher. "Managing Popularity Bias in Recommender Systems with
        Personalized Re-ranking." in FLAIRS 2019, Eq. (6).

    Example:
        >>> tail_share(torch.tensor([[1, 2], [2, 0]]), torch.tensor([False, False, True])).tolist()
        [0.5, 1.0]
    """
    return _mean(tail[items].double(), items)


def _counts(items: Tensor, n_items: int) -> Tensor:
    """How often each real item is recommended. Shape: ``(n_items - 1,)``."""
    return torch.bincount(items.flatten(), minlength=n_items)[1:]


def _mean(values: Tensor, items: Tensor) -> Tensor:
    """Mean over the real items of each list, NaN if there is none. Shape: ``(users,)``."""
    real = items != 0
    return (values * real).sum(1) / real.sum(1)
