"""Fairness towards users: does one group get better lists, or other scores, than another?

A group is a code 0, 1, ... per user; -1 is a user whose group is not known, who never counts, as
does no NaN. A group without any value is left out, and with less than two groups there is nothing
to compare: NaN.

The measures of Yao and Huang and differential fairness are read as RecBole-FairRec reads them in
full ranking: the ratings are the held-out interactions, all of them 1, and the predictions the
model's scores of these pairs, as they are. They depend on the scale of the scores, so they compare
runs of one model and not different models. Where the scores are probabilities none exceeds its
rating: over-unfairness is then 0 and the three others are one number.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

# How an error counts, by the measure's name; an error is predicted minus true.
ERRORS: dict[str, Callable[[Tensor], Tensor]] = {
    "value": lambda error: error,
    "absolute": lambda error: error.abs(),
    "under": lambda error: (-error).clamp(min=0),
    "over": lambda error: error.clamp(min=0),
}
_PRIOR = 0.5  # alpha of each of two outcomes: a Dirichlet prior of concentration 1


class GroupRow(NamedTuple):
    """One line of a table by group: a group's mean, or the gap between two groups' means."""

    field: str
    group: str
    users: int
    metric: str
    mean: float
    ci_low: float
    ci_high: float


def activity_groups(lengths: Tensor, n_groups: int) -> tuple[list[str], Tensor]:
    """Group users by the number of their training interactions, into quantiles.

    Users with the same number are in one group, so groups need not be equally large, and there
    are fewer of them if too many users are alike.

    Args:
        lengths: Training interactions of each user. Shape: ``(n_users,)``.
        n_groups: At most this many groups.

    Returns:
        Labels such as ``"5-9"``, from the least active on, and the code of each user, -1 for user
        0, the padding. Shape of the codes: ``(n_users,)``.

    Raises:
        ValueError: If ``n_groups`` is below 1.

    Example:
        >>> labels, codes = activity_groups(torch.tensor([0, 1, 9, 2, 5]), 2)
        >>> labels, codes.tolist()
        (['1-2', '5-9'], [-1, 0, 1, 0, 1])
    """
    if n_groups < 1:
        raise ValueError(f"n_groups={n_groups}: must be above 0")
    real = lengths[1:].long().contiguous()
    ordered = real.sort().values
    below = torch.searchsorted(ordered, real)  # users who are less active
    quantile = below * n_groups // max(len(real), 1)
    codes = torch.cat([quantile.new_full((1,), -1), quantile.unique(return_inverse=True)[1]])
    found = int(codes.max()) + 1  # quantiles that are not empty
    lowest, highest = (
        real.new_zeros(found).scatter_reduce(0, codes[1:], real, end, include_self=False)
        for end in ("amin", "amax")
    )
    labels = [f"{a}-{b}" if a != b else f"{a}" for a, b in zip(lowest.tolist(), highest.tolist())]
    return labels, codes


def group_statistics(values: Tensor, codes: Tensor, n_groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and variance of a per-user metric in each group.

    Args:
        values: The metric; NaN where a user has no value. Shape: ``(users,)``.
        codes: Group of each user, or -1. Shape: ``(users,)``.
        n_groups: Number of groups.

    Returns:
        Users, mean (NaN for an empty group) and unbiased variance (NaN below two users), in
        float64. Shape: three times ``(n_groups,)``.

    Example:
        >>> values, codes = torch.tensor([1.0, 3.0, 5.0, 9.0]), torch.tensor([0, 0, 1, -1])
        >>> [x.tolist() for x in group_statistics(values, codes, 2)]
        [[2, 1], [2.0, 5.0], [2.0, nan]]
    """
    keep = (codes >= 0) & ~values.isnan()
    values, codes = values[keep].double(), codes[keep]
    count = torch.bincount(codes, minlength=n_groups)
    # without any value, bincount gives integers
    mean = torch.bincount(codes, values, n_groups).double() / count
    squares = torch.bincount(codes, (values - mean[codes]) ** 2, n_groups)
    variance = torch.where(count > 1, squares / (count - 1).clamp(min=1), float("nan"))
    return count, mean, variance


def group_gap(values: Tensor, codes: Tensor, n_groups: int) -> Tensor:
    r"""Difference of the largest and the smallest group mean.

    .. math:: \mathrm{Gap} = \max_g \bar m_g - \min_g \bar m_g

    Args:
        values: The metric; NaN where a user has no value. Shape: ``(users,)``.
        codes: Group of each user, or -1. Shape: ``(users,)``.
        n_groups: Number of groups.

    Returns:
        A scalar of at least 0, in the metric's unit, float64, smaller is fairer; NaN with less
        than two groups.

    Reference:
        Li, Chen, Fu, Ge, Zhang. "User-oriented Fairness in Recommendation." in WWW 2021, for
        two groups.

    Example:
        >>> group_gap(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1]), 3).item()
        3.0
    """
    means = _known_means(values, codes, n_groups)
    if len(means) < 2:
        return means.new_tensor(float("nan"))
    return means.max() - means.min()


def group_mad(values: Tensor, codes: Tensor, n_groups: int) -> Tensor:
    r"""Mean absolute difference of the group means over all pairs of groups (MAD).

    .. math:: \mathrm{MAD} = \frac{2}{G (G - 1)} \sum_{g < h} |\bar m_g - \bar m_h|

    Args:
        values: The metric; NaN where a user has no value. Shape: ``(users,)``.
        codes: Group of each user, or -1. Shape: ``(users,)``.
        n_groups: Number of groups.

    Returns:
        A scalar of at least 0 and at most the gap, float64, smaller is fairer; NaN with less than
        two groups.

    Reference:
        Zhu, Hu, Caverlee. "Fairness-Aware Tensor-Based Recommendation." in CIKM 2018, for two
        groups; its mean over pairs for more.

    Example:
        >>> group_mad(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 1, 2]), 3).item()
        2.0
    """
    means = _known_means(values, codes, n_groups).sort().values
    n = len(means)
    if n < 2:
        return means.new_tensor(float("nan"))
    rank = torch.arange(1, n + 1, device=means.device)
    return (2 * ((2 * rank - n - 1) * means).sum() / (n * (n - 1))).clamp(min=0)


def group_table(
    metrics: Mapping[str, Tensor],
    field: str,
    codes: Tensor,
    labels: Sequence[str],
    confidence: float = 0.95,
) -> list[GroupRow]:
    r"""Means by group with their confidence, and the gap with its own.

    The interval of a mean is Student's, :math:`\bar m_g \pm t_{n_g - 1} s_g / \sqrt{n_g}`. The
    last row of a metric is the gap of the two groups with the largest and the smallest mean,
    with Welch's interval. As these two are picked by looking, among more than two groups the
    interval is too short.

    Args:
        metrics: Name, such as ``"ndcg@20"``, to the users' values, NaN where a user has none. A
            column for each k is a metric of its own. Shape of each: ``(users,)``.
        field: Name of the attribute.
        codes: Group of each user, or -1. Shape: ``(users,)``.
        labels: Name of each group.
        confidence: Coverage of the intervals.

    Returns:
        One row for each group and metric, then one for the gap, whose ``group`` is
        ``"gap: <largest> - <smallest>"`` and whose ``mean`` is the difference; no such row with
        less than two groups. A limit that cannot be told (one user, none) is NaN.

    Reference:
        Welch. "The Generalization of 'Student's' Problem when Several Different Population
        Variances are Involved." in Biometrika 1947.

    Example:
        >>> values = {"recall@1": torch.tensor([0.0, 1.0, 1.0, 1.0])}
        >>> rows = group_table(values, "gender", torch.tensor([0, 0, 1, 1]), ["F", "M"])
        >>> [(row.group, row.users, row.mean) for row in rows]
        [('F', 2, 0.5), ('M', 2, 1.0), ('gap: M - F', 4, 0.5)]
        >>> round(rows[2].ci_low, 2), round(rows[2].ci_high, 2)
        (-5.85, 6.85)
    """
    rows = []
    for name, values in metrics.items():
        count, mean, variance = group_statistics(values, codes, len(labels))
        error = variance / count  # (groups,): squared standard error of the mean
        half = _half_width(error, (count - 1).double(), confidence)
        for label, n, m, h in zip(labels, count.tolist(), mean.tolist(), half.tolist()):
            rows.append(GroupRow(field, label, n, name, m, m - h, m + h))
        known = count.nonzero().flatten()
        if len(known) > 1:
            order = known[mean[known].argsort(descending=True, stable=True)]
            pair = order[[0, -1]]  # the largest and the smallest mean
            gap, half_gap = _welch(count[pair], mean[pair], error[pair], confidence)
            group = "gap: " + " - ".join(labels[g] for g in pair.tolist())
            users = int(count[pair].sum())
            rows.append(GroupRow(field, group, users, name, gap, gap - half_gap, gap + half_gap))
    return rows


def non_parity(scores: Tensor, codes: Tensor, n_groups: int) -> Tensor:
    r"""Difference of the groups' mean scores.

    .. math:: U_{\mathrm{par}} = |E_g[y] - E_{\neg g}[y]|

    For more than two groups, the standard deviation (over groups) of their means, as in
    RecBole-FairRec; for two, that would be half of the difference.

    Args:
        scores: Scores of the held-out pairs. Shape: ``(positives,)``.
        codes: Group of each pair's user, or -1. Shape: ``(positives,)``.
        n_groups: Number of groups.

    Returns:
        A scalar of at least 0, in units of the score, float64, smaller is fairer; NaN with less
        than two groups.

    Reference:
        Yao, Huang. "Beyond Parity: Fairness Objectives for Collaborative Filtering." in NIPS
        2017; RecBole-FairRec, ``NonParityUnfairness``.

    Example:
        >>> non_parity(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1]), 2).item()
        3.0
    """
    means = _known_means(scores, codes, n_groups)
    if len(means) < 2:
        return means.new_tensor(float("nan"))
    return (means[0] - means[1]).abs() if len(means) == 2 else means.std(correction=0)


def unfairness(
    kind: str, scores: Tensor, items: Tensor, codes: Tensor, n_groups: int, n_items: int
) -> Tensor:
    r"""How differently the scores of an item miss its ratings, from group to group.

    .. math:: U = \frac{1}{n} \sum_{j=1}^{n} \big| f(E_g[y]_j - E_g[r]_j) -
        f(E_{\neg g}[y]_j - E_{\neg g}[r]_j) \big|

    with f(x) = x (value), :math:`|x|` (absolute), :math:`\max(0, -x)` (under) or
    :math:`\max(0, x)` (over). The n items are those with a held-out pair. As in RecBole-FairRec,
    a group that has none of an item counts with error 0 there (its tiny smoothing of the counts,
    which makes it so, is left out). For more than two groups, the largest value over all pairs
    of groups; RecBole-FairRec refuses them.

    Args:
        kind: ``value``, ``absolute``, ``under`` or ``over``.
        scores: Scores of the held-out pairs, whose ratings are 1. Shape: ``(positives,)``.
        items: Item of each pair. Shape: ``(positives,)``.
        codes: Group of each pair's user, or -1. Shape: ``(positives,)``.
        n_groups: Number of groups.
        n_items: Number of item ids, padding included.

    Returns:
        A scalar of at least 0, in units of the score, float64, smaller is fairer; NaN with less
        than two groups.

    Raises:
        ValueError: If there is no such kind.

    Reference:
        Yao, Huang. "Beyond Parity: Fairness Objectives for Collaborative Filtering." in NIPS
        2017; RecBole-FairRec, ``ValueUnfairness`` and its three siblings.

    Example:
        >>> scores, items = torch.tensor([2.0, 0.5, 1.5]), torch.tensor([1, 1, 2])
        >>> args = scores, items, torch.tensor([0, 1, 1]), 2, 3
        >>> [unfairness(kind, *args).item() for kind in ("value", "absolute", "under", "over")]
        [1.0, 0.5, 0.25, 0.75]
    """
    if kind not in ERRORS:
        raise ValueError(f"kind={kind}: one of {', '.join(ERRORS)}")
    count, total = _sums_by_item(scores, items, codes, n_groups, n_items)
    if len(count) < 2:
        return total.new_tensor(float("nan"))
    error = ERRORS[kind]((total - count) / count.clamp(min=1))  # (groups, items): E[y] - E[r]
    # a group against those after it: all pairs at once would be (groups, groups, items)
    pairs = [(error[g + 1 :] - error[g]).abs().mean(1).max() for g in range(len(error) - 1)]
    return torch.stack(pairs).max()


def differential_fairness(
    probabilities: Tensor, items: Tensor, codes: Tensor, n_groups: int, n_items: int
) -> Tensor:
    r"""Mean over items of the smallest :math:`\epsilon` that bounds the groups' ratios.

    .. math:: e^{-\epsilon_i} \le \frac{\hat p_{g}(i)}{\hat p_{h}(i)} \le e^{\epsilon_i}, \quad
        e^{-\epsilon_i} \le \frac{1 - \hat p_{g}(i)}{1 - \hat p_{h}(i)} \le e^{\epsilon_i}, \qquad
        \hat p_g(i) = \frac{\sum_{u \in g} \hat y_{ui} + \alpha}{N_g(i) + 2 \alpha}

    for all groups g and h, with :math:`\alpha = 1/2`; :math:`N_g(i)` is the number of the item's
    held-out pairs in the group. This is the formula that RecBole-FairRec states; its code tests
    the first pair of bounds only, and takes one over the number of items for :math:`\alpha` and 1
    for :math:`2 \alpha`, so that an item unknown to one group decides the value.

    Args:
        probabilities: Predicted probability of each held-out pair. Shape: ``(positives,)``.
        items: Item of each pair. Shape: ``(positives,)``.
        codes: Group of each pair's user, or -1. Shape: ``(positives,)``.
        n_groups: Number of groups.
        n_items: Number of item ids, padding included.

    Returns:
        A scalar of at least 0, float64, smaller is fairer; NaN with less than two groups.

    Raises:
        ValueError: If a probability is not in [0, 1].

    Reference:
        Foulds, Islam, Keya, Pan. "An Intersectional Definition of Fairness." in ICDE 2020; for
        recommendation, Islam, Keya, Zeng, Pan, Foulds. "Debiasing Career Recommendations with
        Neural Fair Collaborative Filtering." in WWW 2021.

    Example:
        >>> p, codes = torch.tensor([1.0, 0.0]), torch.tensor([0, 1])
        >>> round(differential_fairness(p, torch.tensor([1, 1]), codes, 2, 2).exp().item(), 12)
        3.0
    """
    if bool(((probabilities < 0) | (probabilities > 1)).any()):
        raise ValueError("a probability is not in [0, 1]: with scores, take their sigmoid")
    count, total = _sums_by_item(probabilities, items, codes, n_groups, n_items)
    if len(count) < 2:
        return total.new_tensor(float("nan"))
    p = (total + _PRIOR) / (count + 2 * _PRIOR)  # (groups, items)
    bounds = torch.stack([p.log(), (1 - p).log()])
    return (bounds.amax(1) - bounds.amin(1)).amax(0).mean()


def _known_means(values: Tensor, codes: Tensor, n_groups: int) -> Tensor:
    """Means of the groups that have a value."""
    count, mean, _ = group_statistics(values, codes, n_groups)
    return mean[count > 0]


def _sums_by_item(
    scores: Tensor, items: Tensor, codes: Tensor, n_groups: int, n_items: int
) -> tuple[Tensor, Tensor]:
    """Number and sum of the scores, of the groups and the items that have any.

    Shape: twice ``(groups, items)``.
    """
    keep = (codes >= 0) & (items > 0)
    cell = codes[keep] * n_items + items[keep]
    count = torch.bincount(cell, minlength=n_groups * n_items).reshape(n_groups, n_items)
    total = torch.bincount(cell, scores[keep].double(), n_groups * n_items).double()
    total = total.reshape_as(count)
    groups, present = count.any(1), count.any(0)
    return count[groups][:, present], total[groups][:, present]


def _welch(count: Tensor, mean: Tensor, error: Tensor, confidence: float) -> tuple[float, float]:
    """Difference of two means, and half of its interval by Welch and Satterthwaite."""
    freedom = error.sum() ** 2 / (error**2 / (count - 1)).sum()
    freedom = freedom.nan_to_num(1.0)  # two variances of 0 leave no doubt, whatever the freedom
    return (mean[0] - mean[1]).item(), _half_width(error.sum(), freedom, confidence).item()


def _half_width(error: Tensor, freedom: Tensor, confidence: float) -> Tensor:
    """Half of Student's interval, from the squared standard error and the degrees of freedom."""
    t = torch.as_tensor(stdtrit(freedom.cpu().numpy(), (1 + confidence) / 2))
    return torch.where(freedom > 0, t.to(error.device) * error.sqrt(), float("nan"))
