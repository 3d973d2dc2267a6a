"""Scores for users who are not in training, from their histories.

There are three ways; the first one that the model allows is taken:

``exact``
    The model computes its scores from a history: sequential models, item-based ones, autoencoders.
    It is given the new history. This is checked: some users of the run are scored in this way from
    their own histories, and must get the scores that the run gives them.
``fold-in``
    The score is a product of a user's and an item's vector: the user's is fitted, see
    :mod:`.fold_in`. RVRec adds what it computes from the history, exactly.
otherwise
    The model is refused by name.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_enhance.data.loaders import join
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.enhancer.rvrec.histories import Histories
from recbole_enhance.model.history import CHECKED, READERS, Reader, binary, lent, same_scores
from recbole_enhance.options.errors import InputError
from recbole_enhance.recommendation.fold_in import fold_in
from recbole_enhance.recommendation.histories import Sequences, refuse_lists
from recbole_enhance.recommendation.scoring import (
    KnownUsers,
    dataset_of,
    is_sequential,
    scores_of,
)
from recbole_enhance.recommendation.vectors import item_vectors

EXACT, FOLD_IN = "exact", "fold-in"


class NewUsers:
    """Users who come with a history.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        names: Of the users. Shape: ``(users,)``.
        sequences: Their interactions; users count from 0.
        filter_seen: Whether what they have is left out.

    Attributes:
        how: :data:`EXACT` or :data:`FOLD_IN`.

    Raises:
        InputError: If the model can do neither.
    """

    def __init__(
        self, run: Any, names: np.ndarray, sequences: Sequences, filter_seen: bool = True
    ) -> None:
        dataset = dataset_of(run)
        owned = sequences.seen(dataset.iid_field, dataset.item_num)
        self._names, self._seen = names, owned if filter_seen else None
        self.how, self._score = _way(run, sequences, owned)

    @torch.no_grad()
    def scores(self, users: Tensor) -> Tensor:
        """Scores of all items.

        Args:
            users: Numbers of the users. Shape: ``(rows,)``.

        Returns:
            -inf for padding and for what is left out. Shape: ``(rows, n_items)``.
        """
        return self._score(users, None if self._seen is None else self._seen.of(users))

    def of_train(self, users: Tensor) -> Tensor | None:
        """None, as new users have no ids of training."""
        return None

    def tokens(self, users: Tensor) -> Any:
        """Their names, as an array."""
        return self._names[users.numpy()]


_Score = Callable[[Tensor, "tuple[Tensor, Tensor] | None"], Tensor]


def _way(run: Any, sequences: Sequences, owned: UserLists) -> tuple[str, _Score]:
    """Whether histories are read or folded in, and the function that scores by them."""
    model = run.trainer.model
    own = KnownUsers(run, "train", filter_seen=False)
    known = own.can.nonzero().squeeze(1)
    known = known[torch.linspace(0, len(known) - 1, min(CHECKED, len(known))).long()]
    if is_sequential(run):
        refuse_lists(run)
        nobody = own.rows(known, torch.zeros_like(known))
        if same_scores(partial(scores_of, run, nobody, None), partial(own.scores, known)):
            return EXACT, partial(_of_sequences, run, sequences)
        raise _refused(model, "its score depends on what training has learnt about the user")
    matrix = run.train_data._dataset.inter_matrix(form="csr")
    for reader in _READERS:
        made = reader(model, binary(matrix[known.numpy()]))
        if made is not None and same_scores(
            partial(_scores_with, run, made, len(known), None), partial(own.scores, known)
        ):
            return EXACT, partial(_read, run, owned, reader)
    if _has_item_query(model):
        return FOLD_IN, partial(_rvrec_scores, run, sequences, owned)
    with contextlib.suppress(InputError):
        vectors = item_vectors(run, own)
        if vectors.is_score:
            return FOLD_IN, partial(_folded, run, owned, vectors)
    raise _refused(
        model, "its score is neither computed from a history nor a product with a user's vector"
    )


def _of_sequences(run: Any, sequences: Sequences, users: Tensor, seen: Any) -> Tensor:
    nobody = torch.zeros_like(users)
    rows = sequences.rows(dataset_of(run), users, nobody, run.test_data.transform)
    return scores_of(run, rows, seen)


def _refused(model: Any, why: str) -> InputError:
    return InputError(f"histories: {type(model).__name__} cannot recommend to new users: {why}")


# ---- models that read a history --------------------------------------------------------------


def _of_nothing(model: Any, rows: scipy.sparse.csr_matrix) -> dict[str, Any]:
    """Pop: the same for all."""
    return {}


_READERS: tuple[Reader, ...] = (*READERS, _of_nothing)


def _read(run: Any, owned: UserLists, reader: Reader, users: Tensor, seen: Any) -> Tensor:
    made = reader(run.trainer.model, _matrix_of(run, owned, users))
    assert made is not None
    return _scores_with(run, made, len(users), seen)


def _scores_with(run: Any, made: dict[str, Any], n_rows: int, seen: Any) -> Tensor:
    """Scores of rows 0, 1, ... of what the model is given for as long as this takes.

    ``made`` without entries scores padding, whom training has not seen.
    """
    dataset = dataset_of(run)
    users = torch.arange(n_rows) if made else torch.zeros(n_rows, dtype=torch.long)
    ids = join(dataset, Interaction({dataset.uid_field: users.clamp(max=dataset.user_num - 1)}))
    ids[dataset.uid_field] = users
    with lent(run.trainer.model, made):
        return scores_of(run, ids, seen)


def _matrix_of(run: Any, owned: UserLists, users: Tensor) -> scipy.sparse.csr_matrix:
    """Histories as 0 and 1. Shape: ``(rows, n_items)``."""
    row, item = owned.of(users)
    shape = len(users), dataset_of(run).item_num
    return binary(scipy.sparse.csr_matrix((np.ones(len(row)), (row, item)), shape=shape))


# ---- models whose score is a product -----------------------------------------------------------


def _folded(run: Any, owned: UserLists, vectors: Any, users: Tensor, seen: Any) -> Tensor:
    own = _fitted(run, owned, vectors.items, users)
    scores = own @ vectors.items.to(own.dtype).T
    if vectors.bias is not None:
        scores = scores + vectors.bias
    scores[:, 0] = -torch.inf
    if seen is not None:
        scores[seen] = -torch.inf
    return scores


def _fitted(run: Any, owned: UserLists, items: Tensor, users: Tensor) -> Tensor:
    row, item = owned.of(users)
    device = items.device
    return fold_in(items, row.to(device), item.to(device), len(users), run.config["seed"])


def _has_item_query(model: Any) -> bool:
    return hasattr(model, "rvrec") and model.rvrec_on and model.rvrec.item_query


def _rvrec_scores(
    run: Any, sequences: Sequences, owned: UserLists, users: Tensor, seen: Any
) -> Tensor:
    """RVRec by the item query: the user's vector is fitted, the history is read as it is."""
    model, dataset = run.trainer.model, dataset_of(run)
    items = model.scoring_tables()[1]
    own = _fitted(run, owned, items, users)
    row, item = sequences.of(users, dataset.iid_field)
    histories = Histories(row, item, None, len(users)).to(items.device)
    with lent(model, {"_scoring": (own, items)}), model.reading(histories):
        return scores_of(run, Interaction({dataset.uid_field: torch.arange(len(users))}), seen)
