"""Negative items, drawn for many rows in one vectorised pass and drawn again where refused."""

from typing import Any, Callable

import torch
from torch import Tensor

from recbole_enhance.data.user_lists import UserLists

DISTRIBUTIONS = ("uniform", "popularity")


def draw(
    n: int, propose: Callable[[int], Tensor], refuse: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Draw by rejection.

    Args:
        n: Rows.
        propose: Number of rows -> a draw for each.
        refuse: Row numbers and their draws -> True where another draw is needed. Each row must
            have a draw that is not refused.

    Returns:
        One draw per row, of the proposal's law without what is refused. Shape: ``(n,)``.
    """
    drawn, rows = propose(n), torch.arange(n)
    while len(rows):
        rows = rows[refuse(rows, drawn[rows])]
        drawn[rows] = propose(len(rows))
    return drawn


def uniform_outside(used: UserLists, users: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each user an item that the user does not have.

    Args:
        used: What the users have.
        users: User of each row; none may have all items. Shape: ``(rows,)``.
        generator: Source of randomness, on the CPU.

    Returns:
        Item ids, uniform over the user's others, padding never. Shape: ``(rows,)``.
    """
    return draw(
        len(users),
        lambda n: torch.randint(1, used.n_items, (n,), generator=generator),
        lambda rows, items: used.holds(users[rows], items),
    )


class NegativeSampler:
    r"""Draws items that the user has not in training.

    As RecBole's ``Sampler`` in the training phase: :math:`p(j | u) \propto q_j` over the items that
    are not the user's, with :math:`q` uniform, or :math:`q_j = c_j^\alpha` by the number of
    training interactions. Where RecBole's ``repeatable`` is true (sequential models), only the
    positive itself is refused.

    Args:
        dataset: The built training part.
        distribution: ``uniform`` or ``popularity``.
        alpha: Exponent of the popularity.
        repeatable: Refuse the positive only.

    Raises:
        ValueError: If a user has all the items that can be drawn.
    """

    def __init__(
        self, dataset: Any, distribution: str, alpha: float = 1.0, repeatable: bool = False
    ) -> None:
        if distribution not in DISTRIBUTIONS:
            raise ValueError(
                f"train_neg_sample_args.distribution={distribution}: one of "
                f"{', '.join(DISTRIBUTIONS)}, or none"
            )
        self.n_items = dataset.item_num
        counts = torch.bincount(dataset.inter_feat[dataset.iid_field], minlength=self.n_items)
        drawable = counts > 0 if distribution == "popularity" else torch.ones_like(counts) > 0
        drawable[0] = False  # padding
        self._last = int(drawable.nonzero()[-1])
        self.cdf = (
            (counts.double().pow(alpha) * drawable).cumsum(0)
            if distribution == "popularity"
            else None
        )
        self.used = None if repeatable else UserLists.of_datasets([dataset])
        self._refuse_full_users(dataset, drawable)

    def _refuse_full_users(self, dataset: Any, drawable: Tensor) -> None:
        users, n = torch.arange(dataset.user_num), int(drawable.sum())
        if self.used is None:
            full = torch.zeros(0) if n > 1 else torch.ones(1)
        else:
            rows, items = self.used.of(users)
            full = torch.bincount(rows[drawable[items]], minlength=len(users)) >= n
        if bool((full > 0).any()):
            raise ValueError(
                f"train_neg_sample_args: {int((full > 0).sum())} users have all {n} items that can "
                "be drawn as negatives; filter them with user_inter_num_interval"
            )

    def draw(
        self, users: Tensor, positives: Tensor, num: int, generator: torch.Generator
    ) -> Tensor:
        """Draw negatives; those of one row are independent and may repeat, as in RecBole.

        Args:
            users: User of each row. Shape: ``(rows,)``.
            positives: Item of each row. Shape: ``(rows,)``.
            num: Negatives per row.
            generator: Source of randomness, on the CPU.

        Returns:
            Item ids. Shape: ``(num, rows)``.
        """
        users, positives = users.repeat(num), positives.repeat(num)

        def refuse(rows: Tensor, items: Tensor) -> Tensor:
            if self.used is None:
                return items == positives[rows]
            return self.used.holds(users[rows], items)

        return draw(len(users), lambda n: self._propose(n, generator), refuse).view(num, -1)

    def _propose(self, n: int, generator: torch.Generator) -> Tensor:
        if self.cdf is None:
            return torch.randint(1, self.n_items, (n,), generator=generator)
        place = torch.rand(n, generator=generator, dtype=torch.float64) * self.cdf[-1]
        # The next larger sum: an item without weight adds none, and so is never found.
        return torch.searchsorted(self.cdf, place, right=True).clamp(max=self._last)
