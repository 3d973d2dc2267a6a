"""Which rows go to which part: by ratios, leave-one-out or a point in time, as RecBole splits.

A split says how many rows of each group go to each part, first rows to the first part.
"""

from collections.abc import Sequence

import numpy as np

from recbole_enhance.data.rows import by_first_appearance, stable_order


def groups_of(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows by group, in the order of the groups' first rows, and the sizes of the groups.

    Args:
        ids: At least 0. Shape: ``(rows,)``.

    Returns:
        Row numbers and sizes. Shape: ``(rows,)``, ``(groups,)``.

    Example:
        >>> [x.tolist() for x in groups_of(np.array([7, 3, 7, 7]))]
        [[0, 2, 3, 1], [3, 1]]
    """
    group, known = by_first_appearance(ids)
    return stable_order(group), np.bincount(ids, minlength=1)[known]


def by_ratio(sizes: np.ndarray, ratios: Sequence[float]) -> np.ndarray:
    """Share the rows of each group out by ratios; all but the first part are rounded down.

    Args:
        sizes: Rows of each group. Shape: ``(groups,)``.
        ratios: Of the parts, of any sum.

    Returns:
        Rows of each part and group. Shape: ``(parts, groups)``.

    Example:
        >>> by_ratio(np.array([10, 3]), [0.8, 0.1, 0.1]).tolist()
        [[8, 1], [1, 1], [1, 1]]
    """
    share = np.array(ratios, dtype=float)[:, None] / sum(ratios)
    parts = (share * sizes).astype(np.int64)
    parts[0] = sizes - parts[1:].sum(0)
    more = np.ones(len(sizes), dtype=bool)
    for part in range(len(share) - 1, 0, -1):  # a part that would be empty takes one
        more &= parts[0] > 1
        taken = more & (share[part] * sizes > 0) & (share[part] * sizes < 1)
        parts[part] += taken
        parts[0] -= taken
    return parts


def last_ones(sizes: np.ndarray, mode: str) -> np.ndarray:
    """Hold out the last row or two of each group, but for its first.

    Args:
        sizes: Rows of each group. Shape: ``(groups,)``.
        mode: RecBole's ``valid_and_test``, ``valid_only`` or ``test_only``.

    Returns:
        As of :func:`by_ratio`, three parts.

    Example:
        >>> last_ones(np.array([5, 2, 1]), "valid_and_test").tolist()
        [[3, 1, 1], [1, 0, 0], [1, 1, 0]]
    """
    test = np.minimum(1, sizes - 1)
    valid = np.minimum(2, sizes - 1) - test
    none = np.zeros_like(sizes)
    if mode == "valid_only":
        valid, test = test, none
    elif mode == "test_only":
        valid = none
    return np.stack([sizes - valid - test, valid, test])


def by_moment(
    sizes: np.ndarray, before: np.ndarray, share: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Test what comes after a moment, validate on the last rows before it.

    Args:
        sizes: Rows of each group. Shape: ``(groups,)``.
        before: Of them, those that are not after the moment, which stand first.
        share: Of training, validation and test; their sum is 1.

    Returns:
        As of :func:`by_ratio`.

    Example:
        >>> by_moment(np.array([5, 2]), np.array([4, 2]), [0.5, 0.25, 0.25]).tolist()
        [[2, 1], [2, 1], [1, 0]]
    """
    training = (before * (share[0] / (1 - share[2]))).astype(np.int64)
    return np.stack([training, before - training, sizes - before])


def in_parts(rows: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows by part, so that each part is a slice.

    Args:
        rows: Row numbers by group. Shape: ``(rows,)``.
        sizes: As of :func:`by_ratio`.

    Returns:
        Row numbers, within a part as they were, and where the parts end. Shape: ``(rows,)``,
        ``(parts,)``.

    Example:
        >>> [x.tolist() for x in in_parts(np.array([4, 2, 0, 1, 3]), np.array([[2, 1], [1, 1]]))]
        [[4, 2, 1, 0, 3], [3, 5]]
    """
    n_parts, n_groups = sizes.shape
    part = np.repeat(np.tile(np.arange(n_parts, dtype=np.int8), n_groups), sizes.T.ravel())
    return np.concatenate([rows[part == n] for n in range(n_parts)]), sizes.sum(1).cumsum()
