"""Triplets that TIL looks at after its step on trial."""

from collections.abc import Sequence
from typing import Any

import torch
from recbole.data.interaction import Interaction

from recbole_enhance.data.negatives import uniform_outside
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.options.errors import InputError


class Triplets:
    """Draws outer batches: positives with replacement, and a uniform negative for each.

    Args:
        positives: Dataset whose interactions are drawn.
        known: Datasets whose items are no negatives; of which ``positives`` is one.
        prefix: Of the negative's column.

    Raises:
        InputError: If nothing can be drawn.
    """

    def __init__(self, positives: Any, known: Sequence[Any], prefix: str) -> None:
        self.used = UserLists.of_datasets(known)
        rows = positives.inter_feat
        self._user, self._item = positives.uid_field, positives.iid_field
        self._negative = prefix + self._item
        free = self.used.counts[rows[self._user]] < self.used.n_items - 1
        self._users, self._items = rows[self._user][free], rows[self._item][free]
        if not len(self._users):
            raise InputError("til_outer: there is no interaction of a user who has a negative")

    def draw(self, n: int, generator: torch.Generator) -> Interaction:
        """Draw ``n`` triplets."""
        row = torch.randint(len(self._users), (n,), generator=generator)
        users = self._users[row]
        negatives = uniform_outside(self.used, users, generator)
        return Interaction(
            {self._user: users, self._item: self._items[row], self._negative: negatives}
        )
