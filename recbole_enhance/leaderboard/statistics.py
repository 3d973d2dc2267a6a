"""Is the method better than its backbone, or is it chance? Pure functions of arrays.

A difference is always method minus backbone, in the metric's own unit and sign. What counts as a
win depends on the metric's direction: 1 where larger is better, -1 where smaller is. Every test is
two-sided. A user who has no value in one of the two runs takes part in nothing.

Reference:
    Sakai. "Statistical Reform in Information Retrieval?" in SIGIR Forum 2014.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import stdtr, stdtrit

ALPHA = 0.05
_EXACT = 50
_SAME = 1e-12  # relative; values that differ by less are equal, but for the order of additions


class UserTest(NamedTuple):
    """A method against its backbone on one metric, over users."""

    users: int  # who have a value in both
    dropped: int  # who have one in one of them only
    mean: float  # of the differences
    t: float
    p_t: float
    p_wilcoxon: float
    d_z: float
    rank_biserial: float
    win: int
    tie: int
    loss: int


class SeedInterval(NamedTuple):
    """The difference of two means over the seeds that both have."""

    n: int
    mean: float
    low: float
    high: float
    p: float


class Spread(NamedTuple):
    """Of some values: how many there are, their mean, and their unbiased standard deviation."""

    n: int
    mean: float
    deviation: float


def spread(values: ArrayLike) -> Spread:
    """Mean and standard deviation of the values that are there.

    Args:
        values: NaN for none. Shape: ``(n,)``.

    Returns:
        The mean is NaN without values, the deviation is NaN below two.

    Example:
        >>> spread([1.0, float("nan"), 3.0])
        Spread(n=2, mean=2.0, deviation=1.4142135623730951)
    """
    array = np.asarray(values, dtype=np.float64)
    known = array[~np.isnan(array)]
    return Spread(
        len(known),
        float(known.mean()) if len(known) else np.nan,
        float(known.std(ddof=1)) if len(known) > 1 else np.nan,
    )


def seed_average(method: np.ndarray, backbone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average each user's values over the seeds in which both runs have one.

    Args:
        method: Values, NaN for none; axis 0 are the seeds. Shape: ``(seeds, users)`` or
            ``(seeds, users, metrics)``.
        backbone: The same of the backbone, seed by seed.

    Returns:
        Both averages; NaN in both where a user has no such seed. Shape: without axis 0.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> method = np.array([[1.0, np.nan], [3.0, 1.0]])
        >>> a, b = seed_average(method, np.array([[0.0, 5.0], [np.nan, np.nan]]))
        >>> a.tolist(), b.tolist()
        ([1.0, nan], [0.0, nan])
    """
    if method.shape != backbone.shape:
        raise ValueError(f"shapes differ: {method.shape} and {backbone.shape}")
    both = ~(np.isnan(method) | np.isnan(backbone))
    count = both.sum(axis=0)
    averages = [
        np.divide(
            np.where(both, values, 0.0).sum(axis=0),
            count,
            out=np.full(count.shape, np.nan),
            where=count > 0,
        )
        for values in (method, backbone)
    ]
    return averages[0], averages[1]


def differences(method: np.ndarray, backbone: np.ndarray) -> np.ndarray:
    """Method minus backbone, exactly 0 where they are equal up to rounding.

    Example:
        >>> differences(np.array([0.1 + 0.2, 1.0]), np.array([0.3, 0.5])).tolist()
        [0.0, 0.5]
    """
    difference = method - backbone
    scale = np.maximum(np.abs(method), np.abs(backbone))
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(difference) <= _SAME * scale, 0.0, difference)


def user_test(method: np.ndarray, backbone: np.ndarray, direction: int) -> UserTest:
    """Compare two runs on the users that both have.

    Args:
        method: One value per user, NaN for none. Shape: ``(users,)``.
        backbone: The same users in the same order. Shape: ``(users,)``.
        direction: 1 if larger is better, -1 if smaller is.

    Example:
        >>> method = np.array([1.0, 2.0, 3.0, np.nan])
        >>> result = user_test(method, np.array([0.0, 2.0, 1.0, 0.0]), direction=-1)
        >>> result.users, result.dropped, result.mean, (result.win, result.tie, result.loss)
        (3, 1, 1.0, (0, 1, 2))
    """
    difference = differences(method, backbone)
    dropped = int(np.count_nonzero(np.isnan(method) != np.isnan(backbone)))
    difference = difference[~np.isnan(difference)]
    t, p_t = paired_t(difference)
    return UserTest(
        len(difference),
        dropped,
        float(difference.mean()) if len(difference) else np.nan,
        t,
        p_t,
        wilcoxon(difference),
        cohen_dz(difference),
        rank_biserial(difference),
        *win_tie_loss(difference, direction),
    )


def paired_t(difference: np.ndarray) -> tuple[float, float]:
    r"""Student's t-test that paired differences have mean 0.

    .. math:: t = \bar d / (s_d / \sqrt n), \quad p = 2 F_{n-1}(-|t|)

    Args:
        difference: Differences without NaN. Shape: ``(n,)``.

    Returns:
        t and the two-sided p. All differences 0: 0 and 1. All the same but not 0: infinity and 0,
        since no spread leaves no doubt. NaN for less than two differences.

    Example:
        >>> t, p = paired_t(np.array([1.0, 2.0, 3.0]))
        >>> round(t, 4), round(p, 4)
        (3.4641, 0.0742)
    """
    n = len(difference)
    if n < 2:
        return np.nan, np.nan
    return _t_test(float(difference.mean()), _deviation(difference) / np.sqrt(n), n)


def wilcoxon(difference: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; differences of 0 are left out.

    Args:
        difference: Differences without NaN. Shape: ``(n,)``.

    Returns:
        p; 1 if all differences are 0, NaN for less than two differences. Exact up to 50 differences
        of different sizes, else by the normal approximation with corrected ties.

    Example:
        >>> wilcoxon(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 0.0]))
        0.0625
    """
    if len(difference) < 2:
        return np.nan
    unequal = difference[difference != 0]
    if not len(unequal):
        return 1.0
    exact = len(unequal) <= _EXACT and len(np.unique(np.abs(unequal))) == len(unequal)
    # What scipy chooses itself for a dozen tied ones walks through all signs: slow, hardly better.
    return float(stats.wilcoxon(unequal, method="exact" if exact else "approx").pvalue)


def cohen_dz(difference: np.ndarray) -> float:
    """Mean of the differences in units of their standard deviation.

    Args:
        difference: Differences without NaN. Shape: ``(n,)``.

    Returns:
        0.2 is called small, 0.5 medium, 0.8 large (Cohen 1988). 0 if all are 0, infinite if they
        are the same otherwise, NaN for less than two.

    Example:
        >>> cohen_dz(np.array([1.0, 2.0, 3.0]))
        2.0
    """
    if len(difference) < 2:
        return np.nan
    mean, deviation = float(difference.mean()), _deviation(difference)
    if deviation == 0:
        return 0.0 if mean == 0 else float(np.copysign(np.inf, mean))
    return mean / deviation


def rank_biserial(difference: np.ndarray) -> float:
    r"""Matched-pairs rank-biserial correlation, the effect size of Wilcoxon's test.

    .. math:: r = (W^+ - W^-) / (W^+ + W^-)

    Args:
        difference: Differences without NaN. Shape: ``(n,)``.

    Returns:
        In [-1, 1]: 1 if no difference is below 0. 0 if all are 0, NaN if there is none.

    Reference:
        Kerby. "The Simple Difference Formula." in Comprehensive Psychology 2014.

    Example:
        >>> rank_biserial(np.array([3.0, -1.0, 2.0, 0.0]))  # (3 + 2 - 1) / 6
        0.6666666666666666
    """
    if not len(difference):
        return np.nan
    unequal = difference[difference != 0]
    if not len(unequal):
        return 0.0
    ranks = stats.rankdata(np.abs(unequal))
    return float((ranks * np.sign(unequal)).sum() / ranks.sum())


def win_tie_loss(difference: np.ndarray, direction: int) -> tuple[int, int, int]:
    """Count the users for whom the method is better, equal and worse.

    Args:
        difference: Differences without NaN. Shape: ``(n,)``.
        direction: 1 if larger is better, -1 if smaller is.

    Example:
        >>> win_tie_loss(np.array([0.5, 0.0, -0.5, -1.0]), direction=-1)
        (2, 1, 1)
    """
    better = np.sign(difference) * direction
    return tuple(int(np.count_nonzero(better == sign)) for sign in (1, 0, -1))  # type: ignore


def seed_interval(
    difference: np.ndarray, unit: float = 0.0, level: float = 1 - ALPHA
) -> SeedInterval:
    r"""Student's interval of the mean difference over seeds.

    .. math:: \bar d \pm t_{n-1} \, \sqrt{(s_d^2 + u^2 / 6) / n}

    Both values of a difference were rounded, which adds :math:`u^2 / 12` of variance each: without
    it, few seeds that happen to round alike would leave no doubt.

    Args:
        difference: Method minus backbone with the same seed, NaN for none. Shape: ``(seeds,)``.
        unit: What the values were rounded to, u.
        level: Of the interval.

    Returns:
        Seeds, mean, both ends, and the two-sided p of the same t-test; ends and p are NaN for one
        seed.

    Example:
        >>> result = seed_interval(np.array([1.0, 2.0, 3.0]))
        >>> result.n, round(result.low, 3), round(result.high, 3)
        (3, -0.484, 4.484)
    """
    difference = difference[~np.isnan(difference)]
    n = len(difference)
    mean = float(difference.mean()) if n else np.nan
    if n < 2:
        return SeedInterval(n, mean, np.nan, np.nan, np.nan)
    error = np.hypot(_deviation(difference), unit / np.sqrt(6)) / np.sqrt(n)
    half = stdtrit(n - 1, (1 + level) / 2) * error
    return SeedInterval(n, mean, float(mean - half), float(mean + half), _t_test(mean, error, n)[1])


def corrected(p: np.ndarray, method: str) -> np.ndarray:
    """Correct a family of p-values; those that are NaN are no part of it.

    Args:
        p: Two-sided p-values. Shape: any.
        method: ``holm`` (chance of one false finding) or ``fdr_bh`` (share of false findings).

    Returns:
        Corrected p-values, NaN where there was none. Shape: that of ``p``.

    Reference:
        Holm. "A Simple Sequentially Rejective Multiple Test Procedure." 1979.

        Benjamini, Hochberg. "Controlling the False Discovery Rate." 1995.

    Example:
        >>> corrected(np.array([0.01, np.nan, 0.04, 0.03]), "holm").tolist()
        [0.03, nan, 0.06, 0.06]
    """
    from statsmodels.stats.multitest import multipletests

    result = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        result[known] = multipletests(p[known], alpha=ALPHA, method=method)[1]
    return result


def _t_test(mean: float, error: float, n: int) -> tuple[float, float]:
    """Student's t and its two-sided p, of n values whose mean has this standard error."""
    if error == 0:
        return (0.0, 1.0) if mean == 0 else (float(np.copysign(np.inf, mean)), 0.0)
    t = mean / error
    return float(t), float(2 * stdtr(n - 1, -abs(t)))


def _deviation(difference: np.ndarray) -> float:
    """Standard deviation, exactly 0 where all are the same: numpy's mean may round them apart."""
    if len(difference) and (difference == difference[0]).all():
        return 0.0
    return float(difference.std(ddof=1))
