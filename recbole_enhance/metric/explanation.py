"""Quality and stability of feature explanations, one value per explained pair of user and item.

An explanation is a ranking of feature columns, best first, filled up with -1; a pair without one is
a row of -1 and counts 0, so that failures are not averaged away. Beside each mean stands one over
the explained pairs only, which is what CountER reports.
For @k, cut the ranking: ``f1(ranking[:, :5], truth)``.
"""

import torch
from torch import Tensor


def feature_hits(ranking: Tensor, truth: Tensor) -> Tensor:
    """Mark the explaining features that are true.

    Args:
        ranking: Feature columns, best first, then -1. Shape: ``(pairs, k)``.
        truth: True where the pair's review mentions the feature. Shape: ``(pairs, F)``.

    Returns:
        Shape: ``(pairs, k)``.

    Example:
        >>> feature_hits(torch.tensor([[2, 0, -1]]), torch.tensor([[False, True, True]])).tolist()
        [[True, False, False]]
    """
    return truth.gather(1, ranking.clamp(min=0)) & (ranking >= 0)


def precision(ranking: Tensor, truth: Tensor) -> Tensor:
    r"""Share of the explanation that is true, :math:`|E \cap G| / |E|`.

    Args:
        ranking: See :func:`feature_hits`.
        truth: See :func:`feature_hits`.

    Returns:
        Values in [0, 1], larger is better; 0 without an explanation. Shape: ``(pairs,)``.

    Example:
        >>> precision(torch.tensor([[1, 0, -1]]), torch.tensor([[False, True, True]])).tolist()
        [0.5]
    """
    size = (ranking >= 0).sum(1).clamp(min=1)
    return feature_hits(ranking, truth).sum(1).double() / size


def recall(ranking: Tensor, truth: Tensor) -> Tensor:
    r"""Share of the truth that the explanation names, :math:`|E \cap G| / |G|`.

    Args:
        ranking: See :func:`feature_hits`.
        truth: See :func:`feature_hits`.

    Returns:
        Values in [0, 1], larger is better; NaN where nothing is true. Shape: ``(pairs,)``.

    Example:
        >>> recall(torch.tensor([[1, 0, -1]]), torch.tensor([[False, True, True]])).tolist()
        [0.5]
    """
    return feature_hits(ranking, truth).sum(1).double() / truth.sum(1)


def f1(ranking: Tensor, truth: Tensor) -> Tensor:
    r"""Harmonic mean of :func:`precision` and :func:`recall`, :math:`2PR / (P + R)`.

    Args:
        ranking: See :func:`feature_hits`.
        truth: See :func:`feature_hits`.

    Returns:
        Values in [0, 1], larger is better; 0 if nothing is hit, NaN where nothing is true.
        Shape: ``(pairs,)``.

    Example:
        >>> f1(torch.tensor([[1, 0, -1]]), torch.tensor([[False, True, True]])).tolist()
        [0.5]
    """
    # 2PR / (P + R) = 2 |E n G| / (|E| + |G|)
    size = (ranking >= 0).sum(1) + truth.sum(1)
    value = 2.0 * feature_hits(ranking, truth).sum(1).double() / size
    return value.masked_fill(~truth.any(1), torch.nan)


def ndcg(ranking: Tensor, truth: Tensor) -> Tensor:
    r"""Discounted gain of the true features over that of a perfect ranking.

    .. math:: \frac{\sum_{r \le \min(k, |E|)} \delta(E_r \in G) / \log_2(r + 1)}
        {\sum_{r \le \min(k, |G|)} 1 / \log_2(r + 1)}

    Args:
        ranking: See :func:`feature_hits`.
        truth: See :func:`feature_hits`.

    Returns:
        Values in [0, 1], larger is better; NaN where nothing is true. Shape: ``(pairs,)``.

    Example:
        >>> round(ndcg(torch.tensor([[0, 1]]), torch.tensor([[False, True]])).item(), 4)
        0.6309
    """
    k = ranking.shape[1]
    ranks = torch.arange(1, k + 1, dtype=torch.float64, device=ranking.device)
    discount = 1 / torch.log2(ranks + 1)  # (k,)
    ideal = torch.cat([discount.new_zeros(1), discount.cumsum(0)])
    size = truth.sum(1)
    value = (feature_hits(ranking, truth) * discount).sum(1) / ideal[size.clamp(max=k)]
    return value.masked_fill(size == 0, torch.nan)


def coverage(ranking: Tensor) -> Tensor:
    """1 where there is an explanation, else 0.

    Args:
        ranking: See :func:`feature_hits`.

    Returns:
        Shape: ``(pairs,)``.

    Example:
        >>> coverage(torch.tensor([[4, -1], [-1, -1]])).tolist()
        [1.0, 0.0]
    """
    return (ranking >= 0).any(1).double()


def target_rank(scores: Tensor, place: Tensor, target: Tensor) -> Tensor:
    """Number of candidates that stand before the target.

    Args:
        scores: -inf where there is no candidate. Shape: ``(pairs, candidates)``.
        place: Of equal scores, the one with the smallest stands first. Without features a model
            may score all candidates alike, and then the target must not lead. Shape: as ``scores``.
        target: Column of the target. Shape: ``(pairs,)``.

    Returns:
        From 0. Shape: ``(pairs,)``.

    Example:
        >>> scores, place = torch.tensor([[0.1, 0.9, 0.1]]), torch.tensor([[1, 2, 0]])
        >>> target_rank(scores, place, torch.tensor([0])).tolist()
        [2]
        >>> target_rank(scores, place, torch.tensor([2])).tolist()
        [1]
    """
    at = target.unsqueeze(1)
    own, own_place = scores.gather(1, at), place.gather(1, at)
    return ((scores > own) | (scores == own) & (place < own_place)).sum(1)


def necessity(rank_without: Tensor, k: int) -> Tensor:
    """PN: 1 where the item leaves the list once its explanation is taken from all candidates.

    Args:
        rank_without: :func:`target_rank` without the features of the explanation.
            Shape: ``(pairs,)``.
        k: Length of the list.

    Returns:
        0 or 1, larger is better. Shape: ``(pairs,)``.

    Reference:
        Tan et al. "Counterfactual Explainable Recommendation." in CIKM 2021.

    Example:
        >>> necessity(torch.tensor([0, 5]), k=5).tolist()
        [0.0, 1.0]
    """
    return (rank_without >= k).double()


def sufficiency(rank_only: Tensor, k: int) -> Tensor:
    """PS: 1 where the item stays in the list by the features of its explanation alone.

    Args:
        rank_only: :func:`target_rank` with only these features. Shape: ``(pairs,)``.
        k: Length of the list.

    Returns:
        0 or 1, larger is better. Shape: ``(pairs,)``.

    Reference:
        Tan et al. "Counterfactual Explainable Recommendation." in CIKM 2021.

    Example:
        >>> sufficiency(torch.tensor([0, 5]), k=5).tolist()
        [1.0, 0.0]
    """
    return (rank_only < k).double()


def f_ns(pn: float, ps: float) -> float:
    r"""Harmonic mean of necessity and sufficiency, :math:`2 PN PS / (PN + PS)`; 0 if both are 0.

    Example:
        >>> f_ns(1.0, 0.5)
        0.6666666666666666
    """
    return 2 * pn * ps / (pn + ps) if pn + ps > 0 else 0.0


def _members(ranking: Tensor, n_columns: int) -> Tensor:
    """Membership of each column in the ranking. Shape: ``(pairs, n_columns)``."""
    member = torch.zeros(len(ranking), n_columns + 1, dtype=torch.bool, device=ranking.device)
    return member.scatter_(1, ranking + 1, True)[:, 1:]


def jaccard(first: Tensor, second: Tensor, n_columns: int) -> Tensor:
    r"""Agreement of two sets, :math:`|E \cap E'| / |E \cup E'|`.

    Args:
        first: Columns, then -1. Shape: ``(pairs, k)``.
        second: Columns, then -1. Shape: ``(pairs, k')``.
        n_columns: Larger than any column.

    Returns:
        Values in [0, 1]; 1 if both are empty, 0 if one is. Shape: ``(pairs,)``.

    Example:
        >>> jaccard(torch.tensor([[1, 2], [-1, -1]]), torch.tensor([[2], [-1]]), 3).tolist()
        [0.5, 1.0]
    """
    a, b = _members(first, n_columns), _members(second, n_columns)
    union = (a | b).sum(1)
    return torch.where(union > 0, (a & b).sum(1).double() / union.clamp(min=1), 1.0)


def rank_biased_overlap(first: Tensor, second: Tensor, p: float = 0.9) -> Tensor:
    r"""Agreement of two rankings in which the top counts most.

    .. math:: \sum_{d=1}^{D} w_d \frac{|A_{:d} \cap B_{:d}|}{\max(|A_{:d}|, |B_{:d}|)},
        \quad w_d = p^{d-1} / \textstyle\sum_{e \le D} p^{e-1}

    with D the longer of the two lengths, so that equal rankings give 1.

    Args:
        first: Columns, best first, then -1. Shape: ``(pairs, k)``.
        second: Shape: ``(pairs, k)``.
        p: Persistence in (0, 1]; smaller is more top-heavy.

    Returns:
        Values in [0, 1]; 1 if both are empty, 0 if one is. Shape: ``(pairs,)``.

    Reference:
        Webber et al. "A Similarity Measure for Indefinite Rankings." in TOIS 2010, truncated.

    Example:
        >>> rank_biased_overlap(torch.tensor([[1, 2]]), torch.tensor([[2, 1]]), p=1.0).tolist()
        [0.5]
    """
    k = first.shape[1]
    same = (first.unsqueeze(2) == second.unsqueeze(1)) & (first >= 0).unsqueeze(2)
    overlap = same.cumsum(1).cumsum(2).diagonal(dim1=1, dim2=2).double()  # (pairs, k): of A_d, B_d
    lengths = torch.maximum((first >= 0).sum(1), (second >= 0).sum(1)).unsqueeze(1)
    depth = torch.arange(1, k + 1, device=first.device)
    a, b = (first >= 0).cumsum(1), (second >= 0).cumsum(1)
    weight = p ** (depth - 1).double() * (depth <= lengths)
    agreement = overlap / torch.maximum(a, b).clamp(min=1)
    value = (weight * agreement).sum(1) / weight.sum(1).clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(lengths.squeeze(1) > 0, value, 1.0)
