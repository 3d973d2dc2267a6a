"""Fairness towards items: how much of the users' attention each group of items gets.

A group is a code 0, 1, ... per item (0 head and 1 tail, where ``popularity_groups`` made them);
item 0, the padding, has -1 and never counts.
"""

import torch
from torch import Tensor


def exposure_by_group(items: Tensor, item_group: Tensor, n_groups: int) -> Tensor:
    r"""Share of the exposure that goes to each group of items.

    .. math:: E(g) = \frac{\sum_u \sum_r d(r) \, \delta(i_r \in g)}{\sum_u \sum_r d(r)},
        \qquad d(r) = 1 / \log_2(r + 1)

    Args:
        items: Recommended item ids, best first. Shape: ``(users, k)``.
        item_group: Group of each item, -1 for none. Shape: ``(n_items,)``.
        n_groups: Number of groups.

    Returns:
        Shares that sum to 1, float64; NaN if nothing is recommended. Shape: ``(n_groups,)``.

    Reference:
        Singh, Joachims. "Fairness of Exposure in Rankings." in KDD 2018.

    Example:
        >>> items, group = torch.tensor([[1, 0], [2, 0], [2, 0], [2, 0]]), torch.tensor([-1, 0, 1])
        >>> exposure_by_group(items, group, 2).tolist()
        [0.25, 0.75]
    """
    ranks = torch.arange(1, items.shape[1] + 1, dtype=torch.float64, device=items.device)
    discount = (1 / (ranks + 1).log2()).expand(items.shape)  # (users, k)
    group = item_group[items]
    keep = (group >= 0) & (items != 0)
    exposure = torch.bincount(group[keep], discount[keep], n_groups).double()
    return exposure / exposure.sum()


def exposure_ratio(items: Tensor, item_group: Tensor, n_groups: int) -> Tensor:
    r"""Exposure per item of the least exposed group over that of the most exposed.

    .. math:: \mathrm{ER@k} = \min_g \frac{E(g)}{|g|} \; / \; \max_g \frac{E(g)}{|g|}

    Args:
        items: Recommended item ids, best first. Shape: ``(users, k)``.
        item_group: Group of each item, -1 for none. Shape: ``(n_items,)``.
        n_groups: Number of groups.

    Returns:
        A scalar in [0, 1], float64, larger is fairer: 1 if an item of any group is equally
        exposed; NaN with less than two groups that have items, or if nothing is recommended.

    Reference:
        Demographic parity of Singh, Joachims. "Fairness of Exposure in Rankings." in KDD 2018,
        as the ratio of the extremes.

    Example:
        >>> items, group = torch.tensor([[1], [2], [3], [3]]), torch.tensor([-1, 0, 0, 1])
        >>> exposure_ratio(items, group, 2).item()
        0.5
    """
    size = _sizes(item_group[1:], n_groups)
    mean = (exposure_by_group(items, item_group, n_groups) / size)[size > 0]
    return mean.min() / mean.max() if len(mean) > 1 else mean.new_tensor(float("nan"))


def popularity_rsp(items: Tensor, history_i: Tensor, item_group: Tensor, n_groups: int) -> Tensor:
    r"""Ranking-based statistical parity of groups of items (PopRSP with head and tail).

    .. math:: \mathrm{RSP@k} = \frac{\mathrm{std}_g P(R@k|g)}{\mathrm{mean}_g P(R@k|g)}, \qquad
        P(R@k|g) = \frac{\sum_u \sum_{i \in \hat R_k(u)} \delta(i \in g)}
        {\sum_u \sum_{i \in I \setminus I_u^+} \delta(i \in g)}

    :math:`I_u^+` is the user's training history: P is the chance that an item of the group which
    could be recommended is.

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        history_i: Items of the training interactions of these users, each pair of user and item
            once. Shape: ``(interactions,)``.
        item_group: Group of each item, -1 for none. Shape: ``(n_items,)``.
        n_groups: Number of groups.

    Returns:
        A scalar of at least 0 (at most 1 for two groups), float64, smaller is fairer; NaN with
        less than two groups that can be recommended, or if nothing is recommended.

    Reference:
        Zhu, Wang, Caverlee. "Measuring and Mitigating Item Under-Recommendation Bias in
        Personalized Ranking Systems." in SIGIR 2020. The deviation is that of the population.

    Example:
        >>> items, group = torch.tensor([[1], [1], [1], [2]]), torch.tensor([-1, 0, 1])
        >>> popularity_rsp(items, torch.tensor([2]), group, 2).item()
        0.38461538461538464
    """
    shown = _sizes(item_group[items[items != 0]], n_groups)
    seen = _sizes(item_group[history_i], n_groups)
    candidates = len(items) * _sizes(item_group[1:], n_groups) - seen
    return _variation(shown, candidates)


def popularity_reo(
    items: Tensor, relevant: Tensor, positive_i: Tensor, item_group: Tensor, n_groups: int
) -> Tensor:
    r"""Ranking-based equal opportunity of groups of items (PopREO with head and tail).

    .. math:: \mathrm{REO@k} = \frac{\mathrm{std}_g P(R@k|g, y{=}1)}
        {\mathrm{mean}_g P(R@k|g, y{=}1)}, \qquad P(R@k|g, y{=}1) = \frac{\sum_u \sum_{i \in
        \hat R_k(u) \cap R(u)} \delta(i \in g)}{\sum_u \sum_{i \in R(u)} \delta(i \in g)}

    P is the chance that an item of the group which its user likes is recommended: the recall of
    the group.

    Args:
        items: Recommended item ids. Shape: ``(users, k)``.
        relevant: True where the item is held out for the user. Shape: ``(users, k)``.
        positive_i: Item id of each held-out item of these users. Shape: ``(positives,)``.
        item_group: Group of each item, -1 for none. Shape: ``(n_items,)``.
        n_groups: Number of groups.

    Returns:
        A scalar of at least 0 (at most 1 for two groups), float64, smaller is fairer; NaN with
        less than two groups that are held out, or without any hit.

    Reference:
        Zhu, Wang, Caverlee. "Measuring and Mitigating Item Under-Recommendation Bias in
        Personalized Ranking Systems." in SIGIR 2020. The deviation is that of the population.

    Example:
        >>> items, group = torch.tensor([[1], [1], [2], [1]]), torch.tensor([-1, 0, 1])
        >>> relevant = torch.tensor([[True], [True], [True], [False]])
        >>> popularity_reo(items, relevant, torch.tensor([1, 1, 2, 2]), group, 2).item()
        0.3333333333333333
    """
    hit = _sizes(item_group[items[relevant & (items != 0)]], n_groups)
    return _variation(hit, _sizes(item_group[positive_i], n_groups))


def _sizes(groups: Tensor, n_groups: int) -> Tensor:
    """How many belong to each group. Shape: ``(n_groups,)``."""
    return torch.bincount(groups[groups >= 0], minlength=n_groups)


def _variation(part: Tensor, whole: Tensor) -> Tensor:
    """Coefficient of variation of the groups' shares; a group of nothing is left out."""
    share = part[whole > 0].double() / whole[whole > 0]
    if len(share) < 2:
        return share.new_tensor(float("nan"))
    return share.std(correction=0) / share.mean()
