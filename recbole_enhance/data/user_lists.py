"""Items of each user in compressed rows: histories to mask, positives to find, draws to refuse."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Optional

import numpy as np
import torch
from recbole.data.dataset import Dataset
from torch import Tensor

_FAR_APART = 16  # pairs for each that is looked up, from which on they are worth sorting
_CELLS = 2**25  # of a table of all pairs, one byte each, which is looked up at once
LISTS = "_lists"  # attribute of interactions, and no column of them


class UserLists:
    """Which items each user has, each pair once, users and items in rising order.

    Args:
        users: User id of each interaction. Shape: ``(interactions,)``.
        items: Item id of each interaction. Shape: ``(interactions,)``.
        n_users: Number of user ids, padding included.
        n_items: Number of item ids, padding included.

    Attributes:
        counts: Items of each user. Shape: ``(n_users,)``.

    Example:
        >>> lists = UserLists(torch.tensor([1, 2, 1]), torch.tensor([3, 1, 2]), 3, 4)
        >>> lists.of(torch.tensor([2, 1]))
        (tensor([0, 1, 1]), tensor([1, 2, 3]))
        >>> lists.holds(torch.tensor([1, 2]), torch.tensor([3, 3])).tolist()
        [True, False]
    """

    def __init__(self, users: Tensor, items: Tensor, n_users: int, n_items: int) -> None:
        self._use(once(pair_keys(users.numpy(), items.numpy(), n_items)), n_users, n_items)

    def _use(self, keys: np.ndarray, n_users: int, n_items: int) -> None:
        self.n_items, self._keys = n_items, torch.from_numpy(keys)
        stops = np.searchsorted(keys, np.arange(1, n_users + 1) * n_items)
        self.counts = torch.from_numpy(np.diff(stops, prepend=0))
        self._start = torch.from_numpy(stops) - self.counts

    @property
    def keys(self) -> np.ndarray:
        """The pairs by their numbers, see :func:`pair_keys`, each once. Shape: ``(pairs,)``."""
        return self._keys.numpy()

    @classmethod
    def of_keys(cls, keys: np.ndarray, n_users: int, n_items: int) -> "UserLists":
        """Make lists of :attr:`keys`."""
        lists = cls.__new__(cls)
        lists._use(keys, n_users, n_items)
        return lists

    @classmethod
    def of_datasets(
        cls, datasets: Sequence[Any], without: Optional["UserLists"] = None
    ) -> "UserLists":
        """Read RecBole's built datasets; a sequential one also holds the items before its rows.

        Args:
            datasets: Parts of one dataset.
            without: Pairs to leave out.
        """
        parts = [cls._of_part(dataset) for dataset in datasets]
        if len(parts) == 1 and without is None:
            return parts[0]
        keys = parts[0]._keys
        for more in parts[1:]:
            new = more._keys[~among(more._keys, keys)].numpy()
            known = keys.numpy()
            keys = torch.from_numpy(np.insert(known, np.searchsorted(known, new), new))
        if without is not None:
            keys = keys[~among(keys, without._keys)]
        return cls.of_keys(keys.numpy(), datasets[0].user_num, datasets[0].item_num)

    @classmethod
    def _of_part(cls, dataset: Any) -> "UserLists":
        """Lists of one part; several loaders ask for those of training."""
        if getattr(type(dataset), "inter_matrix", None) is not Dataset.inter_matrix:
            matrix = dataset.inter_matrix(form="coo")
            users, items = (torch.from_numpy(ids).long() for ids in (matrix.row, matrix.col))
            return cls(users, items, dataset.user_num, dataset.item_num)
        features = dataset.inter_feat
        users, items = features[dataset.uid_field], features[dataset.iid_field]
        # Whatever changes a column gives it another number or takes another one.
        of = (users._version, items._version, dataset.user_num, dataset.item_num)
        known = vars(features).get(LISTS)
        if known is None or known[0] is not users or known[1] is not items or known[2] != of:
            known = users, items, of, cls(users, items, dataset.user_num, dataset.item_num)
            setattr(features, LISTS, known)
        return known[3]

    def of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Items of some users.

        Args:
            users: User ids. Shape: ``(rows,)``.

        Returns:
            Row in ``users`` and item of each pair. Shape: ``(pairs,)`` both.
        """
        counts = self.counts[users]
        rows = torch.repeat_interleave(torch.arange(len(users)), counts)
        offset = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
        return rows, self._keys[self._start[users][rows] + offset] % self.n_items

    @cached_property
    def _table(self) -> Tensor:
        """Whether each user has each item. Shape: ``(n_users * n_items,)``."""
        table = torch.zeros(len(self.counts) * self.n_items, dtype=torch.bool)
        table[self._keys] = True
        return table

    def holds(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each user has the item beside it. Shape of all three: any."""
        keys = users * self.n_items + items
        return self._holds(keys.flatten()).view(keys.shape)

    def _holds(self, keys: Tensor) -> Tensor:
        if len(self.counts) * self.n_items <= _CELLS:
            return self._table.index_select(0, keys)
        if _FAR_APART * len(keys) > len(self._keys):
            return among(keys, self._keys)
        ordered, order = keys.sort()  # so that one look-up finds in the cache what the last read
        found = among(ordered, self._keys)
        return torch.empty_like(found).scatter_(0, order, found)


def pair_keys(users: np.ndarray, items: np.ndarray, n_items: int) -> np.ndarray:
    """One number for each pair of a user and an item, rising.

    Args:
        users: Ids. Shape: ``(pairs,)``.
        items: Ids. Shape: ``(pairs,)``.
        n_items: Number of item ids, padding included.

    Example:
        >>> pair_keys(np.array([2, 1]), np.array([0, 3]), 4).tolist()
        [7, 8]
    """
    keys = users.astype(np.int64)
    keys *= n_items
    keys += items
    keys.sort()  # numpy's is several times as fast as torch's, and needs no room
    return keys


def among(numbers: Tensor, others: Tensor) -> Tensor:
    """Which numbers are among others, which are sorted. Shape: that of the numbers.

    Example:
        >>> among(torch.tensor([5, 2, 9]), torch.tensor([2, 3, 3, 5])).tolist()
        [True, True, False]
    """
    if not len(others):
        return torch.zeros_like(numbers, dtype=torch.bool)
    return others[torch.searchsorted(others, numbers).clamp(max=len(others) - 1)] == numbers


def once(keys: np.ndarray) -> np.ndarray:
    """Sorted numbers ``(n,)`` without repetitions; the same array if there are none.

    Example:
        >>> once(np.array([2, 3, 3, 5])).tolist()
        [2, 3, 5]
    """
    new = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return keys if new.all() else keys[new]
