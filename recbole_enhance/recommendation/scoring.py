"""Scores of all items for users of a run's data, by the model of the run, whatever its kind."""

import contextlib
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.utils import ModelType
from torch import Tensor

from recbole_enhance.data.loaders import join
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.model.history import reading
from recbole_enhance.options.errors import InputError
from recbole_enhance.recommendation.histories import parts_seen, seen_items, sequences_of


def is_sequential(run: Any) -> bool:
    """Whether the model of a run reads a history at each prediction."""
    return run.config["MODEL_TYPE"] == ModelType.SEQUENTIAL


def dataset_of(run: Any) -> Any:
    """The built part whose tokens and columns are used: they are the same in all."""
    return run.test_data._dataset


def scores_of(run: Any, rows: Interaction, seen: tuple[Tensor, Tensor] | None) -> Tensor:
    """Scores as the run's own evaluation computes them.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        rows: Users, or their histories, with their columns. Shape: ``(rows, ...)``.
        seen: Row and item of what is not listed, which gets -inf. Shape: ``(pairs,)`` both.

    Returns:
        -inf for padding. Shape: ``(rows, n_items)``.

    Raises:
        InputError: If the model reads columns of an interaction, which nobody has before it.
    """
    trainer, dataset = run.trainer, dataset_of(run)
    if trainer.model.training:  # only then: RVRec forgets its tables
        trainer.model.eval()
    trainer.tot_item_num = dataset.item_num
    if trainer.item_tensor is None:
        trainer.item_tensor = dataset.get_item_feature().to(trainer.device)
    try:
        return trainer._full_sort_batch_eval((rows, seen, None, None))[1]
    except KeyError as error:
        column = str(error).strip("'\"")
        if column not in dataset.field2type:
            raise
        raise InputError(
            f"{type(trainer.model).__name__} reads the column {column} of an interaction, which "
            "is unknown before it happens; train a run whose load_col does not have it"
        ) from None


class KnownUsers:
    """Users of a run's data.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        history: See :data:`~.histories.HISTORIES`: what is left out of the lists, and what a model
            reads that reads histories: a sequential one, and others with ``read_known``. The rest
            know of users what training told them.
        filter_seen: Whether what users have is left out.
        read_known: In place of the run's option; None keeps that.

    Attributes:
        can: Whether there is something to score a user by. Shape: ``(n_users,)``.
        reading: Makes a context in which the model reads what it reads of these users.
        reads: Whether that is more than their training interactions, for no sequential model.
    """

    how: str | None = None

    def __init__(
        self,
        run: Any,
        history: str = "all",
        filter_seen: bool = True,
        read_known: bool | None = None,
    ) -> None:
        self._run, self._dataset = run, dataset_of(run)
        self._seen: UserLists | None = None
        self._sequences = sequences_of(run, history) if is_sequential(run) else None
        self.can = torch.ones(self._dataset.user_num, dtype=torch.bool)
        if self._sequences is not None:
            self.can = self._sequences.lengths > 0
        self.can[0] = False
        if filter_seen and self._sequences is not None:
            self._seen = self._sequences.seen(self._dataset.iid_field, self._dataset.item_num)
        elif filter_seen:
            self._seen = seen_items(run, history)
        reads = run.config["read_known"] if read_known is None else read_known
        known = reading(run.config, run.trainer.model, parts_seen(run, history) if reads else ())
        self.reads, self.reading = known is not None, known or contextlib.nullcontext

    def rows(self, users: Tensor, ids: Tensor | None = None) -> Interaction:
        """What the model reads of users.

        Args:
            users: Shape: ``(rows,)``.
            ids: What stands in the column of users in their place. Shape: ``(rows,)``.
        """
        ids = users if ids is None else ids
        if self._sequences is None:
            return join(self._dataset, Interaction({self._dataset.uid_field: ids}))
        transform = self._run.test_data.transform
        return self._sequences.rows(self._dataset, users, ids, transform)

    @torch.no_grad()
    def scores(self, users: Tensor) -> Tensor:
        """Scores of all items.

        Args:
            users: Ids. Shape: ``(rows,)``.

        Returns:
            -inf for padding and for what is left out. Shape: ``(rows, n_items)``.
        """
        seen = None if self._seen is None else self._seen.of(users)
        with self.reading():
            return scores_of(self._run, self.rows(users), seen)

    def of_train(self, users: Tensor) -> Tensor | None:
        """The users themselves, by whose training the lists of some runs are re-ranked."""
        return users

    def tokens(self, users: Tensor) -> Any:
        """Names of users in the data, as an array."""
        return self._dataset.id2token(self._dataset.uid_field, users.numpy())
