"""Chronological histories of the training interactions, as one list of all chains' players."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Chains(NamedTuple):
    """Histories of some users, oldest first.

    Attributes:
        row: Chain of each player, rising. Shape: ``(players,)``.
        item: Item of each player. Shape: ``(players,)``.
        lengths: Players of each chain. Shape: ``(chains,)``.
    """

    row: Tensor
    item: Tensor
    lengths: Tensor

    @property
    def starts(self) -> Tensor:
        """First player of each chain. Shape: ``(chains,)``."""
        return self.lengths.cumsum(0) - self.lengths

    @property
    def ages(self) -> Tensor:
        """How many players of its chain are younger than each. Shape: ``(players,)``."""
        number = torch.arange(len(self.row), device=self.row.device)
        return self.lengths.cumsum(0).index_select(0, self.row) - 1 - number

    def places(self, longest: int) -> Tensor:
        """Place of each player in flattened rows of ``longest``. Shape: ``(players,)``."""
        number = torch.arange(len(self.row), device=self.row.device)
        offset = torch.arange(len(self.lengths), device=self.row.device) * longest - self.starts
        return number + offset.index_select(0, self.row)

    def without(self, refused: Tensor) -> "Chains":
        """Take players out; the ones beside them become neighbours.

        Args:
            refused: True for who leaves. Shape: ``(players,)``.
        """
        stay = (~refused).nonzero().squeeze(1)
        row = self.row.index_select(0, stay)
        lengths = torch.bincount(row, minlength=len(self.lengths))
        return Chains(row, self.item.index_select(0, stay), lengths)


class Histories(nn.Module):
    """Which items each user has in training, in the order of time.

    Args:
        users: User of each interaction. Shape: ``(interactions,)``.
        items: Item of each. Shape: ``(interactions,)``.
        times: Of each; None takes the order of the rows. Shape: ``(interactions,)``.
        n_users: Number of user ids, padding included.
        n_items: Number of item ids, if :meth:`audience` is to be asked.

    Example:
        >>> users, items = torch.tensor([1, 2, 1]), torch.tensor([5, 6, 7])
        >>> histories = Histories(users, items, torch.tensor([9.0, 1.0, 3.0]), 3)
        >>> histories.last(torch.tensor([1]), 2).item
        tensor([7, 5])
    """

    items: Tensor
    counts: Tensor
    ends: Tensor

    def __init__(
        self, users: Tensor, items: Tensor, times: Any, n_users: int, n_items: int = 0
    ) -> None:
        super().__init__()
        self.turned = Histories(items, users, None, n_items) if n_items else None
        if times is not None:
            order = times.argsort(stable=True)
            users, items = users[order], items[order]
        order = users.argsort(stable=True)
        counts = torch.bincount(users, minlength=n_users)
        self.register_buffer("items", items[order], persistent=False)
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("ends", counts.cumsum(0), persistent=False)

    def dense(self, many: int) -> bool:
        """Whether half of the users or more have more than this many items."""
        lengths = self.counts[self.counts > 0]
        return len(lengths) > 0 and bool(2 * (lengths > many).sum() >= len(lengths))

    @classmethod
    def of_parts(cls, parts: Sequence[Any], order_field: str) -> "Histories":
        """Histories of built parts of one dataset, such as the training part alone.

        Args:
            parts: RecBole's datasets, the earlier one first.
            order_field: Column that numbers the rows of the file, for data without times.
        """
        dataset, columns = parts[0], [part.inter_feat.interaction for part in parts]
        order = dataset.time_field if dataset.time_field in columns[0] else order_field
        users, items = (
            torch.cat([column[field] for column in columns])
            for field in (dataset.uid_field, dataset.iid_field)
        )
        times = torch.cat([c[order] for c in columns]) if order in columns[0] else None
        return cls(users, items, times, dataset.user_num, dataset.item_num)

    def last(self, users: Tensor, longest: int) -> Chains:
        """The last items of users.

        Args:
            users: Shape: ``(chains,)``.
            longest: At most so many of each.
        """
        lengths = self.counts.index_select(0, users).clamp(max=longest)
        row = torch.repeat_interleave(lengths)
        begin = self.ends.index_select(0, users) - lengths.cumsum(0)
        place = begin.index_select(0, row) + torch.arange(len(row), device=row.device)
        return Chains(row, self.items.index_select(0, place), lengths)

    def last_without(
        self, users: Tensor, longest: int, without: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The last items of users as padded rows, the newest first.

        Args:
            users: Shape: ``(rows,)``.
            longest: At most so many of each.
            without: Item that leaves each row, however often it is there: an older one takes its
                place. Shape: ``(rows,)``.

        Returns:
            Items, 0 for padding, and whether a place holds a player. Shapes: ``(rows, width)``,
            where width is ``longest``, or one more with ``without``.
        """
        width = longest + (without is not None)
        back = torch.arange(width, device=users.device)
        there = back < self.counts.index_select(0, users).unsqueeze(1)
        place = (self.ends.index_select(0, users).unsqueeze(1) - 1 - back).clamp(min=0)
        items = self.items.index_select(0, place.flatten()).view(place.shape)
        if without is not None:
            there &= items != without.unsqueeze(1)
            there &= there.cumsum(1) <= longest
        return items * there, there

    def audience(self, items: Tensor) -> Chains:
        """All users of items: the chains are the items', the players users.

        Args:
            items: Shape: ``(chains,)``.
        """
        assert self.turned is not None
        return self.turned.last(items, len(self.items))

    def popularity(self, n_items: int) -> Tensor:
        """Interactions of each item. Shape: ``(n_items,)``."""
        return torch.bincount(self.items, minlength=n_items)


def recency(age: Tensor, decay: float) -> Tensor | None:
    r"""Weights of players by their age, :math:`e^{-\delta a}`, before any query.

    Args:
        age: How many players are between each and what is predicted. Shape: any.
        decay: Delta, not below 0.

    Returns:
        None where all weigh the same. Shape: as ``age``.

    Example:
        >>> recency(torch.tensor([0, 1]), 0.7)
        tensor([1.0000, 0.4966])
    """
    return None if decay == 0 else torch.exp(-decay * age)


def younger(there: Tensor) -> Tensor:
    """How many players are younger than each, of rows that begin with the newest.

    Args:
        there: Of :meth:`Histories.last_without`. Shape: ``(rows, players)``.

    Returns:
        Anything of padding. Shape: as ``there``.

    Example:
        >>> younger(torch.tensor([[True, False, True]]))
        tensor([[0, 0, 1]])
    """
    return (there.cumsum(1) - 1).clamp(min=0)


def gaps(there: Tensor) -> Tensor:
    """How many places are between each player and the positive that was taken out.

    Ages count from the newest player, and a positive of training has players on both sides.

    Args:
        there: Of :meth:`Histories.last_without` with items that leave: the first place that is
            False was the positive's, or is older than all of a row. Shape: ``(rows, players)``.

    Returns:
        Less the smallest of the row; anything of padding. Shape: as ``there``.

    Example:
        >>> gaps(torch.tensor([[True, False, True, True], [True, True, True, False]]))
        tensor([[0, 0, 0, 1],
                [2, 1, 0, 0]])
    """
    places = torch.arange(there.shape[1], device=there.device)
    positive = there.logical_not().int().argmax(1, keepdim=True)
    gap = (places - positive).abs()
    smallest = gap.masked_fill(~there, there.shape[1]).amin(1, keepdim=True)
    return (gap - smallest).clamp(min=0)


def unique_ids(n: int, *ids: Tensor) -> tuple[Tensor, Tensor]:
    """Ids that occur, and where each stands among them.

    Args:
        n: Number of ids there are.
        ids: Of any length. Shape: ``(any,)``.

    Returns:
        Rising ids, and the place of each id in them (of others: anything). Shapes: ``(unique,)``
        and ``(n,)``.

    Example:
        >>> found, place = unique_ids(5, torch.tensor([3, 1, 3]))
        >>> found, place[torch.tensor([3, 1])]
        (tensor([1, 3]), tensor([1, 0]))
    """
    seen = torch.zeros(n, dtype=torch.bool, device=ids[0].device)
    for part in ids:
        seen[part] = True
    return seen.nonzero().squeeze(1), seen.long().cumsum(0) - 1
