"""Diversity of ranked lists: how different one user's items are, by category or embedding.

Item 0 is padding: it has no category, whatever its row says, and forms no pair. All functions go
through the users in chunks, so that memory stays bounded for any number of users.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import embedding as rows_of
from torch.nn.functional import embedding_bag, normalize
from torch.special import entr

_MAX_CELLS = 1 << 24  # of a chunk's largest tensor in float32, 64 MiB
_WIDE = 4  # a cell of which float64 and some copies are held at a time


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
    weight = _weights(categories)
    chunks = items.split(_users_per_chunk(categories.shape[1]))
    covered = [(embedding_bag(chunk, weight, mode="sum") > 0).sum(1) for chunk in chunks]
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
    weight = _weights(categories)
    size = weight.sum(1).long()  # (n_items,): |C_i|
    distances = []
    k = items.shape[1]
    # (users, k, k) in float64, some of them at a time, is more than the categories if those are few
    for chunk in items.split(_users_per_chunk(k * max(categories.shape[1], 4 * k))):
        x = rows_of(chunk, weight)  # (users, k, n_categories); counts below 2^24 are exact
        both = x @ x.transpose(1, 2)  # (users, k, k): |C_i and C_j|
        mine = size[chunk]
        either = mine.unsqueeze(2) + mine.unsqueeze(1) - both  # (users, k, k): |C_i or C_j|
        real = chunk != 0
        # a pair of padding and item, or of no category at all, is not far apart
        pair = real.unsqueeze(2) & real.unsqueeze(1) & (either > 0)
        distance = 1 - both.double() / either  # the diagonal adds 0: an item equals itself
        n = real.sum(1)
        total = torch.where(pair, distance, 0.0).sum((1, 2))
        distances.append(total / (n * (n - 1)).clamp(min=1))
    return torch.cat(distances)


def category_recall(
    items: Tensor, positive_u: Tensor, positive_i: Tensor, categories: Tensor
) -> Tensor:
    r"""Share of the categories of the user's held-out items that the list shows.

    It asks for the right categories and not for the right items: any item of the list shows its
    categories, whether it is held out or not. :func:`subtopic_recall` takes hits only.

    .. math:: \mathrm{CR@k}(u) = \frac{\big| \bigcup_{i \in \hat R_k(u)} C_i \cap
        \bigcup_{i \in R(u)} C_i \big|}{\big| \bigcup_{i \in R(u)} C_i \big|}

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        positive_u: Row in ``items`` of each held-out item's user. Shape: ``(positives,)``.
        positive_i: Item id of each held-out item. Shape: ``(positives,)``.
        categories: True where the item has the category. Shape: ``(n_items, n_categories)``.

    Returns:
        Values in [0, 1], larger is better, float64; NaN for a user none of whose held-out items
        has a category. Shape: ``(users,)``.

    Raises:
        ValueError: If there is no category at all.

    Reference:
        Recall with categories in place of items.

    Example:
        >>> categories = torch.tensor([[0, 0, 0], [1, 1, 0], [0, 1, 0]]).bool()
        >>> rows, held_out = torch.tensor([0, 1]), torch.tensor([1, 2])
        >>> category_recall(torch.tensor([[2, 0], [1, 0]]), rows, held_out, categories).tolist()
        [0.5, 1.0]
    """
    weight, step = _weights(categories), _users_per_chunk(categories.shape[1])
    shares = []
    for chunk, (held_out, starts) in zip(
        items.split(step), _bags(positive_u, positive_i, len(items), step)
    ):
        covered = embedding_bag(chunk, weight, mode="sum") > 0  # (users, n_categories)
        wanted = embedding_bag(held_out, weight, starts, mode="sum") > 0
        shares.append((covered & wanted).sum(1).double() / wanted.sum(1))
    return torch.cat(shares)


def subtopic_recall(
    items: Tensor,
    relevant: Tensor,
    positive_u: Tensor,
    positive_i: Tensor,
    categories: Tensor,
) -> Tensor:
    r"""Share of the categories of the user's held-out items that the list's hits cover.

    .. math:: \mathrm{SR@k}(u) = \frac{\big| \bigcup_{i \in \hat R_k(u) \cap R(u)} C_i \big|}
        {\big| \bigcup_{i \in R(u)} C_i \big|}

    At most :func:`category_recall`, in which any item of the list counts.

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        relevant: True where the item is held out for the user. Shape: ``(users, k)``.
        positive_u: Row in ``items`` of each held-out item's user. Shape: ``(positives,)``.
        positive_i: Item id of each held-out item. Shape: ``(positives,)``.
        categories: True where the item has the category. Shape: ``(n_items, n_categories)``.

    Returns:
        Values in [0, 1], larger is better, float64; NaN for a user none of whose held-out items
        has a category. Shape: ``(users,)``.

    Raises:
        ValueError: If there is no category at all.

    Reference:
        S-recall of Zhai, Cohen, Lafferty. "Beyond Independent Relevance." in SIGIR 2003: a
        document covers the subtopics that it is relevant to. The user's subtopics are the
        categories of the held-out items.

    Example:
        >>> categories = torch.tensor([[0, 0, 0], [1, 1, 0], [0, 1, 0]]).bool()
        >>> items, rows, held_out = torch.tensor([[2, 1]]), torch.tensor([0]), torch.tensor([1])
        >>> hit = torch.tensor([[False, True]])
        >>> subtopic_recall(items, hit, rows, held_out, categories).tolist()
        [1.0]
        >>> subtopic_recall(items[:, :1], hit[:, :1], rows, held_out, categories).tolist()
        [0.0]
    """
    return category_recall(items * relevant, positive_u, positive_i, categories)


def embedding_distance(items: Tensor, embedding: Tensor) -> Tensor:
    r"""Mean cosine distance of the items' embeddings over all pairs of the list (EmbeddingILD).

    .. math:: \mathrm{ILD@k}(u) = \frac{2}{k (k - 1)} \sum_{i < j \in \hat R_k(u)}
        (1 - \cos(e_i, e_j))

    It needs no category, but speaks the model's own language: two models cannot be compared by
    it, and a model may spread its embeddings without spreading its lists. An embedding of zeros
    has cosine 0 to any other.

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        embedding: One row for each item. Shape: ``(n_items, d)``.

    Returns:
        Values in [0, 2], larger is more diverse, float64; 0 for a list with less than two items.
        Shape: ``(users,)``.

    Reference:
        Zhang, Hurley. "Avoiding Monotony: Improving the Diversity of Recommendation Lists."
        in RecSys 2008, with the cosine of embeddings as similarity.

    Example:
        >>> embedding = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
        >>> embedding_distance(torch.tensor([[1, 2], [1, 3], [2, 0]]), embedding).tolist()
        [1.0, 0.0, 0.0]
    """
    unit = normalize(embedding.double(), dim=1)  # (n_items, d); zeros stay zeros
    unit[0] = 0
    square = (unit * unit).sum(1)  # (n_items,): 1, or 0 where there is no direction
    distances = []
    for chunk in items.split(_users_per_chunk(2 * embedding.shape[1])):
        total = embedding_bag(chunk, unit, mode="sum")  # (users, d)
        # the square of a sum holds each pair twice: no (users, k, k) is needed
        cosines = ((total * total).sum(1) - square[chunk].sum(1)) / 2
        n = (chunk != 0).sum(1)
        pairs = n * (n - 1) / 2
        mean = (1 - cosines / pairs.clamp(min=1)).clamp(0, 2)
        distances.append(torch.where(pairs > 0, mean, 0.0))
    return torch.cat(distances)


def category_entropy(items: Tensor, categories: Tensor) -> Tensor:
    r"""Entropy of the list's category distribution, in nats.

    .. math:: H@k(u) = -\sum_c q(c|u) \ln q(c|u), \qquad q(c|u) =
        \frac{\sum_{i \in \hat R_k(u)} p(c|i)}{\sum_{c'} \sum_{i \in \hat R_k(u)} p(c'|i)}

    Each item spreads one unit evenly over its categories, :math:`p(c|i) = 1 / |C_i|`, as in
    :func:`calibration`; an item without categories adds nothing.

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        categories: True where the item has the category. Shape: ``(n_items, n_categories)``.

    Returns:
        Values in [0, ln n_categories], larger is more diverse, float64; 0 for a list without any
        category. Shape: ``(users,)``.

    Raises:
        ValueError: If there is no category at all.

    Reference:
        Shannon. "A Mathematical Theory of Communication." 1948; the distribution is that of
        Steck. "Calibrated Recommendations." in RecSys 2018, with equal weights.

    Example:
        >>> categories = torch.tensor([[0, 0], [1, 0], [0, 1]]).bool()
        >>> category_entropy(torch.tensor([[1, 2], [1, 0]]), categories).exp().tolist()
        [2.0, 1.0]
    """
    spread = _Spread(categories)
    chunks = items.split(_users_per_chunk(_WIDE * categories.shape[1]))
    return torch.cat([entr(spread.shares_of_lists(chunk)).sum(1) for chunk in chunks])


def calibration(
    items: Tensor, history_u: Tensor, history_i: Tensor, categories: Tensor, alpha: float
) -> Tensor:
    r"""Divergence of the list's categories from those of the user's history (miscalibration).

    .. math:: \mathrm{KL}(p \| \tilde q) = \sum_c p(c|u) \ln \frac{p(c|u)}{\tilde q(c|u)}, \qquad
        \tilde q = (1 - \alpha) q + \alpha p

    p is the category distribution of the history and q that of the list, each item spreading one
    unit evenly over its categories (Steck's weights of interactions and ranks are all 1 here).

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        history_u: Row in ``items`` of each past interaction's user. Shape: ``(interactions,)``.
        history_i: Item id of each past interaction. Shape: ``(interactions,)``.
        categories: True where the item has the category. Shape: ``(n_items, n_categories)``.
        alpha: Smoothing, in (0, 1): without it a category that the list misses costs infinity.

    Returns:
        Values in [0, ln(1 / alpha)] nats, smaller is better calibrated, float64: 0 if the two
        are the same, the maximum if they share no category or the list has none; NaN for a user
        whose history has no category. Shape: ``(users,)``.

    Raises:
        ValueError: If there is no category at all, or ``alpha`` is out of range.

    Reference:
        Steck. "Calibrated Recommendations." in RecSys 2018, Section 3.

    Example:
        >>> categories = torch.tensor([[0, 0], [1, 0], [0, 1]]).bool()
        >>> rows, past = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 1])
        >>> result = calibration(torch.tensor([[1, 2], [2, 2]]), rows, past, categories, 0.01)
        >>> [round(value, 4) for value in result.tolist()]
        [0.0, 4.6052]
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha}: must be between 0 and 1")
    spread, step = _Spread(categories), _users_per_chunk(_WIDE * categories.shape[1])
    divergences = []
    for chunk, (past, starts) in zip(
        items.split(step), _bags(history_u, history_i, len(items), step)
    ):
        p, q = spread.shares_of_bags(past, starts), spread.shares_of_lists(chunk)
        mixed = (1 - alpha) * q + alpha * p
        divergence = torch.where(p > 0, p * (p / mixed).log(), 0.0).sum(1)
        divergences.append(torch.where(p.any(1), divergence.clamp(min=0), float("nan")))
    return torch.cat(divergences)


class _Spread:
    """One unit of each item, spread evenly over its categories; of padding, nothing."""

    def __init__(self, categories: Tensor) -> None:
        _refuse_no_category(categories)
        self.n_categories = categories.shape[1]
        self.count = categories.sum(1)  # (n_items,)
        self.start = self.count.cumsum(0) - self.count  # of the item in what follows
        self.category = categories.nonzero()[:, 1]  # item after item
        self.count[0] = 0

    def shares_of_lists(self, items: Tensor) -> Tensor:
        """Category distribution of each row. Shape: ``(users, n_categories)``."""
        rows = torch.arange(len(items), device=items.device).repeat_interleave(items.shape[1])
        return self._shares(rows, items.flatten(), len(items))

    def shares_of_bags(self, items: Tensor, starts: Tensor) -> Tensor:
        """Category distribution of the items between one start and the next."""
        lengths = torch.cat([starts[1:], starts.new_tensor([len(items)])]) - starts
        rows = torch.arange(len(starts), device=items.device).repeat_interleave(lengths)
        return self._shares(rows, items, len(starts))

    def _shares(self, rows: Tensor, items: Tensor, n_rows: int) -> Tensor:
        """Rows that sum to 1, or to 0 where there is nothing to share."""
        count = self.count[items]
        first = self.start[items] - (count.cumsum(0) - count)
        place = torch.arange(int(count.sum()), device=items.device)
        cell = (rows * self.n_categories).repeat_interleave(count)
        cell += self.category[place + first.repeat_interleave(count)]
        unit = (1 / count.double()).repeat_interleave(count)
        mass = torch.bincount(cell, unit, n_rows * self.n_categories).double()
        known = torch.bincount(rows[count > 0], minlength=n_rows).clamp(min=1)
        return mass.reshape(n_rows, -1) / known.unsqueeze(1)


def _weights(categories: Tensor) -> Tensor:
    """Membership as numbers, with nothing for the padding. Shape: ``(n_items, n_categories)``."""
    _refuse_no_category(categories)
    weight = categories.to(torch.float32, copy=True)
    weight[0] = 0
    return weight


def _users_per_chunk(cells: int) -> int:
    return max(1, _MAX_CELLS // max(1, cells))


def _bags(rows: Tensor, items: Tensor, n_users: int, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give the items of every ``step`` users: one after the other, and where each user's begin."""
    items = items[rows.argsort(stable=True)]
    counts = torch.bincount(rows, minlength=n_users)
    ends = [0, *counts.cumsum(0)[step - 1 :: step].tolist(), len(items)]  # of the chunks
    for first, last, part in zip(ends, ends[1:], counts.split(step)):
        yield items[first:last], part.cumsum(0) - part


def _refuse_no_category(categories: Tensor) -> None:
    if categories.shape[1] == 0:
        raise ValueError("categories has no column: without categories there is no diversity")
