"""Items of each user in compressed rows: histories to mask, positives to find, draws to refuse."""

from collections.abc import Sequence
from typing import Any, Optional

import torch
from torch import Tensor


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
        self.n_items = n_items
        self._keys = torch.unique(users.long() * n_items + items.long())  # sorted
        self._items = self._keys % n_items
        self.counts = torch.bincount(self._keys // n_items, minlength=n_users)
        self._start = self.counts.cumsum(0) - self.counts

    @classmethod
    def of_datasets(
        cls, datasets: Sequence[Any], without: Optional["UserLists"] = None
    ) -> "UserLists":
        """Read RecBole's built datasets; a sequential one also holds the items before its rows.

        Args:
            datasets: Parts of one dataset.
            without: Pairs to leave out.
        """
        matrices = [dataset.inter_matrix(form="coo") for dataset in datasets]
        users = torch.cat([torch.from_numpy(matrix.row).long() for matrix in matrices])
        items = torch.cat([torch.from_numpy(matrix.col).long() for matrix in matrices])
        if without is not None:
            keep = ~without.holds(users, items)
            users, items = users[keep], items[keep]
        return cls(users, items, datasets[0].user_num, datasets[0].item_num)

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
        return rows, self._items[self._start[users][rows] + offset]

    def holds(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each user has the item beside it. Shape of all three: ``(pairs,)``."""
        keys = users * self.n_items + items
        if not len(self._keys):
            return torch.zeros_like(keys, dtype=torch.bool)
        place = torch.searchsorted(self._keys, keys).clamp(max=len(self._keys) - 1)
        return self._keys[place] == keys
