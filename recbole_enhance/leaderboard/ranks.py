"""Several rows at once: their average ranks over users, and rows that no other row beats.

The blocks of the test are the users of one dataset, each with its seed-averaged value: they are the
sample that the tests of method against backbone take too. Seeds of one dataset are not independent
blocks (Demšar 2006, 3.2), and one or two datasets are too few. So a diagram is about one dataset.

Reference:
    Demšar. "Statistical Comparisons of Classifiers over Multiple Data Sets." in JMLR 2006.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from recbole_enhance.leaderboard.statistics import ALPHA

_DECIMALS = 12


class Ranking(NamedTuple):
    """What a critical-difference diagram draws."""

    ranks: np.ndarray  # average rank of each row, 1 is best. Shape: (rows,)
    users: int
    p_friedman: float
    distance: float  # ranks further apart than this differ
    groups: list[tuple[int, ...]]  # rows that do not differ, by place in the order of ranks


def ranking(values: np.ndarray, direction: int) -> Ranking:
    """Rank the rows for each user, and say which average ranks differ (Friedman, Nemenyi).

    Args:
        values: Each row's seed-averaged value of each user. A user without a value in one row is
            left out. Shape: ``(users, rows)``.
        direction: 1 if larger is better, -1 if smaller is.

    Raises:
        ValueError: If there are less than three rows, or less than two users.

    Example:
        >>> result = ranking(np.array([[3.0, 2.0, 1.0], [5.0, 4.0, 4.0]]), direction=1)
        >>> result.ranks.tolist(), result.users
        ([1.0, 2.25, 2.75], 2)
    """
    values = values[~np.isnan(values).any(axis=1)]
    n, k = values.shape
    if k < 3 or n < 2:
        raise ValueError(f"{k} rows and {n} users: three rows and two users are needed")
    # Values that differ by the order of additions only are equal.
    ranks = stats.rankdata(-direction * values.round(_DECIMALS), axis=1)
    means = ranks.mean(axis=0)
    distance = nemenyi_distance(k, n)
    return Ranking(means, n, friedman(ranks), distance, cliques(means, distance))


def friedman(ranks: np.ndarray) -> float:
    r"""Friedman's test that all rows rank alike, with corrected ties.

    .. math:: \chi^2 = \frac{(k - 1) \sum_j (R_j - n (k + 1) / 2)^2}
              {\sum_{ij} r_{ij}^2 - n k (k + 1)^2 / 4}

    Args:
        ranks: Of the rows, for each user, ties averaged. Shape: ``(users, rows)``.

    Returns:
        p by the chi-square distribution with k - 1 degrees; 1 if every user ranks all alike.

    Example:
        >>> round(friedman(np.array([[1.0, 2, 3], [1, 3, 2], [1, 2, 3]])), 4)
        0.097
    """
    n, k = ranks.shape
    spread = float((ranks**2).sum() - n * k * (k + 1) ** 2 / 4)
    if spread <= 0:
        return 1.0
    between = float(((ranks.sum(axis=0) - n * (k + 1) / 2) ** 2).sum())
    return float(stats.chi2.sf((k - 1) * between / spread, k - 1))


def nemenyi_distance(rows: int, users: int, alpha: float = ALPHA) -> float:
    r"""Critical difference of average ranks.

    .. math:: \mathrm{CD} = \frac{q_\alpha}{\sqrt 2} \sqrt{\frac{k (k + 1)}{6 n}}

    Args:
        rows: k.
        users: n.
        alpha: Level of the family of all pairs.

    Returns:
        In ranks. q is that of the studentised range with infinite degrees of freedom.

    Example:
        >>> round(nemenyi_distance(4, 14), 2)  # Demšar 2006, p. 15
        1.25
    """
    q = stats.studentized_range.ppf(1 - alpha, rows, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(rows * (rows + 1) / (6 * users)))


def cliques(ranks: np.ndarray, distance: float) -> list[tuple[int, ...]]:
    """Runs of rows whose average ranks lie within the critical difference, none inside another.

    Args:
        ranks: Average ranks. Shape: ``(rows,)``.
        distance: The critical difference.

    Returns:
        For each group the row numbers, best rank first; only groups of two and more.

    Example:
        >>> cliques(np.array([1.0, 3.0, 1.5, 2.2]), 1.0)
        [(0, 2), (2, 3), (3, 1)]
    """
    order = np.argsort(ranks, kind="stable")
    ordered = ranks[order]
    ends = np.searchsorted(ordered, ordered + distance, side="right")
    groups, reached = [], 0
    for start, end in enumerate(ends):  # over rows of a table
        if end > reached and end - start > 1:
            groups.append(tuple(int(row) for row in order[start:end]))
        reached = max(reached, int(end))
    return groups


def pareto_front(points: np.ndarray, directions: Sequence[int]) -> np.ndarray:
    """Mark the points that no other beats: at least as good in all, better in one.

    Args:
        points: NaN for a value that is missing; such a point is on no front. Shape: ``(n, 2)``.
        directions: 1 if larger is better, -1 if smaller is, for each column.

    Returns:
        True on the front. Shape: ``(n,)``.

    Example:
        >>> pareto_front(np.array([[1.0, 3.0], [2.0, 2.0], [1.0, 2.0]]), (1, 1)).tolist()
        [True, True, False]
    """
    good = points * np.asarray(directions)
    with np.errstate(invalid="ignore"):
        at_least = (good[None, :, :] >= good[:, None, :]).all(axis=2)  # (n, n): column beats row
        better = (good[None, :, :] > good[:, None, :]).any(axis=2)
    front: np.ndarray = ~(at_least & better).any(axis=1) & ~np.isnan(points).any(axis=1)
    return front


def best_rows(
    means: Sequence[float], direction: int, decimals: int = 4
) -> tuple[list[int], list[int]]:
    """Rows that are best and second best; rows that print alike share the place.

    Args:
        means: Of the rows, NaN for none.
        direction: 1 if larger is better, -1 if smaller is, 0 if neither: then none is best.
        decimals: As many as are printed.

    Example:
        >>> best_rows([0.1, 0.3, 0.3, float("nan"), 0.2], 1), best_rows([1.0, 2.0], -1)
        (([1, 2], [4]), ([0], [1]))
    """
    if not direction:
        return [], []
    printed = np.round(np.asarray(means, float), decimals) * direction
    levels = np.unique(printed[~np.isnan(printed)])[::-1]
    places = [np.flatnonzero(printed == level).tolist() for level in levels[:2]]
    places += [[], []]
    return places[0], places[1]
