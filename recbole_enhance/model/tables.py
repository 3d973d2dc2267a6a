"""Recommenders whose score is the dot product of a user's row and an item's row of two tables."""

from collections.abc import Callable
from typing import Any

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_enhance.options.errors import OptionError

Tables = tuple[Tensor, Tensor]
Added = Callable[[Tensor], Tensor] | None  # what a method adds to the scores of items, by items


class TableRecommender(GeneralRecommender):
    """A general recommender over triplets (user, item, negative) in three steps.

    ``enhancer_tables`` gives tables that a method may change, ``enhancer_head`` takes them to the
    space where scores are dot products, ``enhancer_loss`` is the model's loss on the result. A
    plain run passes through the same three, so a method that changes nothing is the model, bit for
    bit.

    Full ranking is one matrix product with tables that are kept from call to call. They are made
    anew once a parameter or a buffer has changed, and never kept while gradients are recorded.
    """

    input_type = InputType.PAIRWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self._kept: tuple[Any, Tables] | None = None

    def enhancer_tables(self) -> Tables:
        """Tables that a method may change. Shape: ``(n_users, d)`` and ``(n_items, d)``."""
        raise NotImplementedError

    def enhancer_head(self, U: Tensor, I: Tensor) -> Tables:
        """Tables whose rows' dot products are the scores, of those of :meth:`enhancer_tables`."""
        return U, I

    def enhancer_loss(
        self,
        U_score: Tensor,
        I_score: Tensor,
        interaction: Any,
        U: Tensor | None = None,
        I: Tensor | None = None,
        added: Added = None,
    ) -> Tensor:
        """The model's loss, its own regularisers included, on given tables.

        Args:
            U_score: Users' table of :meth:`enhancer_head`. Shape: ``(n_users, D)``.
            I_score: Items' table of it. Shape: ``(n_items, D)``.
            interaction: RecBole's batch.
            U: Users' table that the head was given.
            I: Items' table that the head was given.
            added: Gives what a method adds to the scores of items ``(any, batch)`` for the users
                of the batch, of the same shape.

        Returns:
            Shape: ``()``.
        """
        raise NotImplementedError

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Loss of a batch (RecBole's interface). Shape: ``()``."""
        tables = self.enhancer_tables()
        return self.enhancer_loss(*self.enhancer_head(*tables), interaction, *tables)

    def forward(self) -> Tables:
        """Tables whose rows' dot products are the scores, from the current parameters."""
        return self.enhancer_head(*self.enhancer_tables())

    def predict(self, interaction: Any) -> Tensor:
        """Scores of a batch of pairs (RecBole's interface). Shape: ``(batch,)``."""
        users, items = self._tables()
        return (users[interaction[self.USER_ID]] * items[interaction[self.ITEM_ID]]).sum(-1)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores of all items (RecBole's interface). Shape: ``(batch * n_items,)``."""
        users, items = self._tables()
        return (users[interaction[self.USER_ID]] @ items.T).flatten()

    def train(self, mode: bool = True) -> "TableRecommender":
        """Switch the mode; kept tables are dropped, as their memory is wanted elsewhere."""
        self._kept = None
        return super().train(mode)

    def _tables(self) -> Tables:
        if self.training or torch.is_grad_enabled():
            return self.forward()
        # Whatever changes a parameter in place (a step, a loaded state, an attack) counts it.
        now = [(id(t), t._version) for t in (*self.parameters(), *self.buffers())]
        if self._kept is None or self._kept[0] != now:
            self._kept = now, self.forward()
        return self._kept[1]


def triplet(model: Any, interaction: Any) -> tuple[Tensor, Tensor, Tensor]:
    """User, item and negative of each row of a batch. Shape: ``(batch,)`` each."""
    names = (model.USER_ID, model.ITEM_ID, model.NEG_ITEM_ID)
    user, positive, negative = (interaction[name] for name in names)
    return user, positive, negative


def mean_square(*tables: Tensor) -> Tensor:
    """Squared length of a row, its mean over the rows, summed over the tables.

    Args:
        tables: Shape: ``(batch, d)`` each.

    Returns:
        Shape: ``()``.

    Example:
        >>> mean_square(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.ones(1, 2))
        tensor(14.5000)
    """
    return torch.stack([table.square().sum(-1).mean() for table in tables]).sum()


def refuse_too_many(key: str, k: int, model: Any) -> None:
    """Check a number of neighbours against the number of nodes, padding left out.

    Raises:
        ValueError: Naming the option, the value and what there is.
    """
    for side, n in (("users", model.n_users - 1), ("items", model.n_items - 1)):
        if k > n:
            raise OptionError(key, k, f"more than the {n} {side}")
