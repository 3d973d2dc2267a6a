"""What models that compute scores from a user's history are given to read.

Item-based models and autoencoders keep the histories of training in an attribute. Other histories
are put there for as long as they are read. A model of one's own has the same by two methods:
``histories_known(parts)``, and ``reading(histories)``, a context in which they are read.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
import torch
from recbole.utils import ModelType
from torch import Tensor

logger = logging.getLogger("recbole_enhance")
# Gives a model attributes made of histories: (model, histories as 0 and 1) -> name -> value.
Reader = Callable[[Any, scipy.sparse.csr_matrix], "dict[str, Any] | None"]
CHECKED = 32  # users of the run whose scores must come out again
_CLOSE, _ROUNDING = 1e-4, 1e-6  # of the range of scores, and of the largest


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


READERS: tuple[Reader, ...] = (_of_autoencoder, _of_similarity, _of_neighbours, _of_histories)


@contextlib.contextmanager
def lent(thing: Any, attributes: dict[str, Any]) -> Iterator[None]:
    """Set attributes for as long as the block takes.

    Args:
        thing: Any object.
        attributes: Name -> value.
    """
    before = {name: vars(thing)[name] for name in attributes if name in vars(thing)}
    vars(thing).update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            del vars(thing)[name]
        vars(thing).update(before)


def binary(matrix: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """Histories as 0 and 1, each item once.

    Args:
        matrix: Any counts of interactions. Shape: ``(rows, n_items)``.
    """
    matrix = matrix.astype(np.float32)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def close(one: Tensor, other: Tensor) -> bool:
    """Whether scores are the same, up to rounding. Shape of both: ``(rows, items)``."""
    one, other = one.double(), other.double()
    allowed = max(_CLOSE * float(other.max() - other.min()), _ROUNDING * float(other.abs().max()))
    return bool((one - other).abs().max() <= allowed)


def same_scores(one: Callable[[], Tensor], other: Callable[[], Tensor]) -> bool:
    """Whether two ways to score give the same, with the same random numbers where they draw.

    Args:
        one: Returns scores of all items; padding does not count. Shape: ``(rows, n_items)``.
        other: As ``one``.
    """
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


def reading(
    config: Any, model: Any, parts: Sequence[Any]
) -> Callable[[], AbstractContextManager[None]] | None:
    """How to rank by all that is known of users, which ``read_known`` asks for.

    Args:
        config: The run's settings.
        model: A trained model.
        parts: RecBole's built datasets that are known, the training part first.

    Returns:
        Makes a context in which the model ranks by them. None for the training part alone, for a
        sequential model, which is given histories anyway, and for a model that computes no score
        from a history.
    """
    if len(parts) < 2 or config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        return None
    found = _reading(model, parts)
    if found is None:
        logger.info(
            "read_known: %s computes no score from a history: its lists know of users what "
            "training told it",
            config["label"],
        )
    return found


def _reading(model: Any, parts: Sequence[Any]) -> Callable[[], AbstractContextManager[None]] | None:
    if hasattr(model, "histories_known"):
        known = model.histories_known(parts)
        return None if known is None else partial(model.reading, known)
    reader = _reader_of(model, _matrix(parts[:1]))
    made = None if reader is None else reader(model, _matrix(parts))
    return None if made is None else partial(lent, model, made)


def _reader_of(model: Any, training: scipy.sparse.csr_matrix) -> Reader | None:
    """The reader that gives some users the scores of others with the others' histories."""
    users = np.flatnonzero(np.diff(training.indptr))
    users = users[np.linspace(0, len(users) - 1, min(CHECKED, len(users))).astype(int)]
    of_others = np.arange(training.shape[0])
    of_others[users] = np.roll(users, 1)
    some = torch.from_numpy(users).to(model.device)

    def scores(users: Tensor, made: dict[str, Any]) -> Tensor:
        with lent(model, made):
            found: Tensor = model.full_sort_predict({model.USER_ID: users})
        return found.view(len(users), -1)

    was = model.training
    model.eval()
    try:
        for reader in READERS:
            made = reader(model, training[of_others])
            if made is not None and same_scores(
                partial(scores, some, made), partial(scores, some.roll(1), {})
            ):
                return reader
    finally:
        model.train(was)
    return None


def _matrix(parts: Sequence[Any]) -> scipy.sparse.csr_matrix:
    return binary(sum(part.inter_matrix(form="csr") for part in parts).tocsr())
