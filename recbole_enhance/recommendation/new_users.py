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
from collections.abc import Callable, Iterator
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
from recbole_enhance.options.errors import InputError
from recbole_enhance.recommendation.fold_in import fold_in
from recbole_enhance.recommendation.histories import Sequences, refuse_lists
from recbole_enhance.recommendation.scoring import (
    KnownUsers,
    dataset_of,
    is_sequential,
    scores_of,
)
from recbole_enhance.recommendation.vectors import close, item_vectors

EXACT, FOLD_IN = "exact", "fold-in"
_CHECKED = 32  # users of the run whose scores must come out again

# Gives a model attributes made of histories: (model, histories as 0 and 1) -> name -> value.
_Reader = Callable[[Any, scipy.sparse.csr_matrix], "dict[str, Any] | None"]


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
    known = known[torch.linspace(0, len(known) - 1, min(_CHECKED, len(known))).long()]
    if is_sequential(run):
        refuse_lists(run)
        nobody = own.rows(known, torch.zeros_like(known))
        if _same(partial(scores_of, run, nobody, None), partial(own.scores, known)):
            return EXACT, partial(_of_sequences, run, sequences)
        raise _refused(model, "its score depends on what training has learnt about the user")
    matrix = run.train_data._dataset.inter_matrix(form="csr")
    for reader in _READERS:
        made = reader(model, _binary(matrix[known.numpy()]))
        if made is not None and _same(
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


def _same(one: Callable[[], Tensor], other: Callable[[], Tensor]) -> bool:
    """Whether two ways to score give the same, with the same random numbers where they draw."""
    scores = []
    for way in (other, one):
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            state = np.random.get_state()
            np.random.seed(0)
            try:
                scores.append(way()[:, 1:])
            finally:
                np.random.set_state(state)
    return close(scores[1], scores[0])


# ---- models that read a history --------------------------------------------------------------


def _of_autoencoder(model: Any, rows: scipy.sparse.csr_matrix) -> dict[str, Any] | None:
    if not hasattr(model, "get_rating_matrix"):
        return None

    def matrix(users: Tensor) -> Tensor:
        return torch.from_numpy(rows[users.cpu().numpy()].toarray()).to(model.device)

    return {"get_rating_matrix": matrix}


def _of_similarity(model: Any, rows: scipy.sparse.csr_matrix) -> dict[str, Any] | None:
    """EASE, SLIM: the product of a history and similarities, at each prediction."""
    if not hasattr(model, "interaction_matrix") or not hasattr(model, "item_similarity"):
        return None
    return {"interaction_matrix": rows.asformat(model.interaction_matrix.format)}


def _of_neighbours(model: Any, rows: scipy.sparse.csr_matrix) -> dict[str, Any] | None:
    """ItemKNN: the same product, made once for all users."""
    if not hasattr(model, "pred_mat") or rows.shape[1] != model.w.shape[0]:
        return None
    return {"pred_mat": rows.dot(model.w).tolil()}


def _of_histories(model: Any, rows: scipy.sparse.csr_matrix) -> dict[str, Any] | None:
    """NAIS: padded rows of items."""
    if not hasattr(model, "history_item_matrix") or not hasattr(model, "history_lens"):
        return None
    lengths = torch.from_numpy(np.diff(rows.indptr)).long()
    items = torch.zeros(len(lengths), max(int(lengths.max()), 1), dtype=torch.long)
    items[torch.arange(items.shape[1]) < lengths.unsqueeze(1)] = torch.from_numpy(
        rows.indices.astype(np.int64)
    )
    return {
        "history_item_matrix": items.to(model.device),
        "history_lens": lengths.to(model.device),
    }


def _of_nothing(model: Any, rows: scipy.sparse.csr_matrix) -> dict[str, Any]:
    """Pop: the same for all."""
    return {}


_READERS: tuple[_Reader, ...] = (
    _of_autoencoder,
    _of_similarity,
    _of_neighbours,
    _of_histories,
    _of_nothing,
)


def _read(run: Any, owned: UserLists, reader: _Reader, users: Tensor, seen: Any) -> Tensor:
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
    with _lent(run.trainer.model, made):
        return scores_of(run, ids, seen)


@contextlib.contextmanager
def _lent(thing: Any, attributes: dict[str, Any]) -> Iterator[None]:
    """Set attributes for as long as the block takes."""
    before = {name: vars(thing)[name] for name in attributes if name in vars(thing)}
    vars(thing).update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            del vars(thing)[name]
        vars(thing).update(before)


def _matrix_of(run: Any, owned: UserLists, users: Tensor) -> scipy.sparse.csr_matrix:
    """Histories as 0 and 1. Shape: ``(rows, n_items)``."""
    row, item = owned.of(users)
    shape = len(users), dataset_of(run).item_num
    return _binary(scipy.sparse.csr_matrix((np.ones(len(row)), (row, item)), shape=shape))


def _binary(matrix: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    matrix = matrix.astype(np.float32)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


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
    with _lent(model, {"_scoring": (own, items)}), _lent_module(model.rvrec, histories):
        return scores_of(run, Interaction({dataset.uid_field: torch.arange(len(users))}), seen)


@contextlib.contextmanager
def _lent_module(network: Any, histories: Histories) -> Iterator[None]:
    before, network.histories = network.histories, histories
    try:
        yield
    finally:
        network.histories = before
