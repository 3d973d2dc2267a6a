"""Negative items for many rows, drawn in one vectorised pass and redrawn where rejected."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.options.errors import InputError, OptionError

DISTRIBUTIONS = ("uniform", "popularity")
MOST_ROUNDS = 100  # of redrawing: a user may be left with items of next to no probability
_CELLS = 2**24  # 128 MB of probabilities for some rows


def draw(
    n: int,
    propose: Callable[[Tensor], Tensor],
    refuse: Callable[[Tensor, Tensor], Tensor],
    at_last: Callable[[Tensor], Tensor],
) -> tuple[Tensor, int]:
    """Draw by rejection.

    Args:
        n: Rows.
        propose: Row numbers -> a draw for each.
        refuse: Row numbers and their draws -> True where another draw is needed. Each row must
            have a draw that is not refused.
        at_last: Row numbers that were refused :data:`MOST_ROUNDS` times -> a draw for each, of the
            same law without what is refused.

    Returns:
        One draw per row, of the proposal's law without what is refused, and how often some were
        drawn again. Shape: ``(n,)``.
    """
    rows = torch.arange(n)
    drawn = propose(rows)
    for rounds in range(MOST_ROUNDS):
        rows = rows[refuse(rows, drawn.index_select(0, rows))]
        if not len(rows):
            return drawn, rounds
        drawn[rows] = propose(rows)
    rows = rows[refuse(rows, drawn[rows])]
    drawn[rows] = at_last(rows)
    return drawn, MOST_ROUNDS


def outside(
    used: UserLists, users: Tensor, law: Callable[[Tensor], Tensor], generator: torch.Generator
) -> Tensor:
    """Draw for each user an item that the user does not have, at the cost of one look at all items.

    Args:
        used: What the users have.
        users: User of each row; none may have all items of the law. Shape: ``(rows,)``.
        law: Row numbers -> weights of the items, ``(rows, n_items)`` or ``(n_items,)``.
        generator: Source of randomness, on the CPU.

    Returns:
        Item ids. Shape: ``(rows,)``.
    """
    blocks = []
    for rows in torch.arange(len(users)).split(max(1, _CELLS // used.n_items)):
        weights = law(rows).double().expand(len(rows), -1).clone()
        weights[used.of(users[rows])] = 0.0
        weights[:, 0] = 0.0  # padding
        cdf = weights.cumsum(1)
        place = torch.rand(len(rows), 1, generator=generator, dtype=torch.float64) * cdf[:, -1:]
        last = (weights > 0).long().mul(torch.arange(used.n_items)).amax(1, keepdim=True)
        blocks.append(torch.searchsorted(cdf, place, right=True).minimum(last).squeeze(1))
    return torch.cat(blocks) if blocks else users


def uniform_outside(used: UserLists, users: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each user an item that the user does not have.

    Args:
        used: What the users have.
        users: User of each row; none may have all items. Shape: ``(rows,)``.
        generator: Source of randomness, on the CPU.

    Returns:
        Item ids, uniform over the user's others, padding never. Shape: ``(rows,)``.
    """
    items, _ = draw(
        len(users),
        lambda rows: torch.randint(1, used.n_items, (len(rows),), generator=generator),
        lambda rows, items: used.holds(users[rows], items),
        lambda rows: outside(used, users[rows], lambda _: torch.ones(used.n_items), generator),
    )
    return items


class NegativeSampler:
    r"""Draws items that the user does not have in training.

    As RecBole's ``Sampler`` in the training phase: :math:`p(j | u) \propto q_j` over the items that
    are not the user's, with :math:`q` uniform, or :math:`q_j = c_j^\alpha` by the number of
    training interactions. Where RecBole's ``repeatable`` is true (sequential models), only the
    positive itself is refused.

    Args:
        dataset: The built training part.
        distribution: ``uniform`` or ``popularity``.
        alpha: Exponent of the popularity.
        repeatable: Refuse the positive only.
        weights: Weight of each item, in place of the distribution's. Shape: ``(n_items,)``.
        used: What each user has, in place of the training interactions.
        option: What asks for negatives, for the message.

    Attributes:
        per_batch: Whether a loader has to ask anew for each batch, not once an epoch.
        rounds: How often some draws of the last call were drawn again.

    Raises:
        ValueError: If a user has all the items that can be drawn.
    """

    per_batch = False

    def __init__(
        self,
        dataset: Any,
        distribution: str,
        alpha: float = 1.0,
        repeatable: bool = False,
        weights: Tensor | None = None,
        used: UserLists | None = None,
        option: str = "train_neg_sample_args",
    ) -> None:
        if distribution not in DISTRIBUTIONS:
            raise OptionError(
                f"{option}.distribution",
                distribution,
                f"one of {', '.join(DISTRIBUTIONS)}, or none",
            )
        self.n_items = dataset.item_num
        if weights is None and distribution == "popularity":
            counts = item_counts(dataset)
            weights = counts.double().pow(alpha) * (counts > 0)
        self.weights = torch.ones(self.n_items) if weights is None else weights.double().clone()
        self.weights[0] = 0.0  # padding
        drawable = self.weights > 0
        self._last = int(drawable.nonzero()[-1])
        self.cdf = None if weights is None else self.weights.cumsum(0)
        self.used = None
        if not repeatable:
            self.used = UserLists.of_datasets([dataset]) if used is None else used
        self.rounds = 0
        self._log_rest: Tensor | None = None
        self._refuse_full_users(dataset, drawable, option)

    def _refuse_full_users(self, dataset: Any, drawable: Tensor, option: str) -> None:
        users, n = torch.arange(dataset.user_num), int(drawable.sum())
        if self.used is None:
            full = torch.zeros(0) if n > 1 else torch.ones(1)
        elif int(self.used.counts.max()) < n:  # no user can have all
            return
        else:
            rows, items = self.used.of(users)
            full = torch.bincount(rows[drawable[items]], minlength=len(users)) >= n
        if bool((full > 0).any()):
            raise InputError(
                f"{option}: {int((full > 0).sum())} users have all {n} items that can "
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
                return items == positives.index_select(0, rows)
            return self.used.holds(users.index_select(0, rows), items)

        def at_last(rows: Tensor) -> Tensor:
            used, own = self.used, users[rows]
            if used is None:
                own = torch.arange(len(rows))
                used = UserLists(own, positives[rows], len(rows), self.n_items)
            return outside(used, own, lambda _: self.weights, generator)

        items, self.rounds = draw(
            len(users), lambda rows: self._propose(len(rows), generator), refuse, at_last
        )
        return items.view(num, -1)

    def _propose(self, n: int, generator: torch.Generator) -> Tensor:
        if self.cdf is None:
            return torch.randint(1, self.n_items, (n,), generator=generator)
        place = torch.rand(n, generator=generator, dtype=torch.float64) * self.cdf[-1]
        # The next larger sum: an item without weight adds none, and so is never found.
        return torch.searchsorted(self.cdf, place, right=True).clamp(max=self._last)

    def log_q(self, users: Tensor, items: Tensor) -> Tensor:
        r"""Log-probability of draws, :math:`\log q_j - \log \sum_{k \notin I_u} q_k`.

        Args:
            users: User of each row. Shape: ``(rows,)``.
            items: What was drawn for it, so an item that the user has not. Shape: ``(rows,)``.

        Returns:
            At most 0. Shape: ``(rows,)``.
        """
        assert self.used is not None  # else the law depends on the positive
        if self._log_rest is None:
            everyone = torch.arange(len(self.used.counts))
            row, item = self.used.of(everyone)
            weights = self.weights.double()
            mass = torch.zeros(len(everyone)).double().index_add_(0, row, weights[item])
            self._log_rest = (weights.sum() - mass).log()
        return self.weights[items].double().log() - self._log_rest[users]


def item_counts(dataset: Any) -> Tensor:
    """Interactions of each item in a built part, the training one alone. Shape: ``(n_items,)``."""
    return torch.bincount(dataset.inter_feat[dataset.iid_field], minlength=dataset.item_num)
