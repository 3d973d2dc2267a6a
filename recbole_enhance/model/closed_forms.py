"""ItemKNN, EASE and SLIMElastic of RecBole with the same values, in less time and memory.

Each is a mix-in before RecBole's class (:mod:`~.model.faster`). Their matrices follow from the data
and the options, and are computed when a model is built: a model file does not hold them.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.linalg import lapack
from torch import Tensor

from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.storage import resources

_CELLS = 1 << 22  # of the blocks of rows that are made dense
_ENTRIES = 1 << 24  # of a block of sparse products
_DENSE = 4  # a row with more than this part of its cells filled is made dense at once
# Above this bound of the condition, an inverse in float32 keeps fewer than four digits.
_MOST_CONDITION = 1e3


class _Linear(GeneralRecommender):
    """Scores that are a product of two matrices, of which one is the history's."""

    def __init__(self, config: Any, dataset: Any) -> None:
        GeneralRecommender.__init__(self, config, dataset)
        self.interaction_matrix = dataset.inter_matrix(form="csr").astype(np.float32)
        self.build(config)

    def build(self, config: Any) -> None:
        """Compute what is learnt from :attr:`interaction_matrix`."""
        raise NotImplementedError

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores of all items. Shape: ``(users, n_items)``."""
        raise NotImplementedError

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Nothing is trained (RecBole's interface)."""
        return torch.nn.Parameter(torch.zeros(1))

    def other_parameter(self) -> dict[str, Any]:
        """What a model file holds beside the parameters: nothing."""
        return {}

    def load_other_parameter(self, para: Any) -> None:
        """Ignore what earlier versions and RecBole saved: it was just computed again."""

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores of all items (RecBole's interface). Shape: ``(batch * n_items,)``."""
        users = interaction[self.USER_ID].cpu().numpy()
        return torch.from_numpy(self.scores(users).reshape(-1)).to(self.device)

    def predict(self, interaction: Any) -> Tensor:
        """Scores of pairs (RecBole's interface). Shape: ``(batch,)``."""
        users = interaction[self.USER_ID].cpu().numpy()
        items = interaction[self.ITEM_ID].cpu().numpy()
        own, row = np.unique(users, return_inverse=True)
        found = np.empty(len(users), dtype=np.float32)
        step = max(1, _CELLS // self.n_items)
        for start in range(0, len(own), step):
            mine = (row >= start) & (row < start + step)
            found[mine] = self.scores(own[start : start + step])[row[mine] - start, items[mine]]
        return torch.from_numpy(found).to(self.device)


class Neighbours(_Linear):
    """ItemKNN: sparse products by blocks of items, and the k best of each.

    Of equal similarities at the k-th place RecBole takes whichever numpy's partition of the dense
    row leaves there. These are the same ones: the rows with such a choice are made dense for it.

    Attributes:
        item_similarity: With ``knn_method: item``. Shape: ``(n_items, n_items)``.
        user_similarity: With ``knn_method: user``. Shape: ``(n_users, n_users)``.
    """

    def build(self, config: Any) -> None:
        """Find the neighbours."""
        by_user = config["knn_method"] == "user"
        shrink = config["shrink"] or 0.0
        matrix = self.interaction_matrix
        near = nearest(matrix.T.tocsr() if by_user else matrix, config["k"], shrink)
        if by_user:
            self.user_similarity = near
        else:
            self.item_similarity = near.T.tocsr()
        self.fake_loss = torch.nn.Parameter(torch.zeros(1))

    def scores(self, users: np.ndarray) -> np.ndarray:
        """As of the base class."""
        if hasattr(self, "user_similarity"):
            product = self.user_similarity[users] @ self.interaction_matrix
        else:
            product = self.interaction_matrix[users] @ self.item_similarity
        found: np.ndarray = product.toarray()
        return found


class Ridge(_Linear):
    """EASE by a Cholesky factor, which is inverted where it stands.

    In float32, as RecBole's, where the condition of the Gram matrix allows it, else in float64.

    Attributes:
        item_similarity: Shape: ``(n_items, n_items)``.
    """

    def build(self, config: Any) -> None:
        """Invert the Gram matrix.

        Raises:
            InputError: If it does not fit into memory.
            OptionError: If it has no inverse.
        """
        self.dummy_param = torch.nn.Parameter(torch.zeros(1))
        self.item_similarity = ridge_weights(self.interaction_matrix, config["reg_weight"])

    def scores(self, users: np.ndarray) -> np.ndarray:
        """As of the base class."""
        found: np.ndarray = self.interaction_matrix[users] @ self.item_similarity
        return found


class ElasticNets(_Linear):
    """SLIMElastic without sklearn's copies and checks of the matrix for each of its columns.

    The same coordinate descent in the same order of columns, with the same random numbers.

    Attributes:
        item_similarity: Shape: ``(n_items, n_items)``.
    """

    def build(self, config: Any) -> None:
        """Fit a net for each item."""
        names = ("alpha", "l1_ratio", "positive_only", "hide_item")
        self.dummy_param = torch.nn.Parameter(torch.zeros(1))
        self.item_similarity = elastic_nets(
            self.interaction_matrix, *(config[name] for name in names)
        )

    def scores(self, users: np.ndarray) -> np.ndarray:
        """As of the base class."""
        found: np.ndarray = (self.interaction_matrix[users] @ self.item_similarity).toarray()
        return found


def nearest(matrix: sp.csr_matrix, k: int, shrink: float) -> sp.csr_matrix:
    """Cosines of each column with the k nearest others; equal to RecBole's ``ComputeSimilarity``.

    Args:
        matrix: Non-negative, float32. Shape: ``(rows, columns)``.
        k: Most neighbours of a column.
        shrink: Added to the product of the norms.

    Returns:
        A row for each column of ``matrix``. Shape: ``(columns, columns)``.
    """
    n, k = matrix.shape[1], min(k, matrix.shape[1])
    norms = np.sqrt(np.asarray(matrix.power(2).sum(axis=0)).ravel())
    rows = matrix.T.tocsr()
    # Entries that a column's products can have: those of the rows in which it stands.
    most = rows @ np.diff(matrix.indptr).astype(np.int64)
    ends = np.concatenate([[0], most.clip(max=n).cumsum()])
    parts, start = [], 0
    while start < n:
        stop = int(np.searchsorted(ends, ends[start] + _ENTRIES, side="right")) - 1
        stop = min(max(stop, start + 1), n)
        block = rows[start:stop] @ matrix
        row = np.repeat(np.arange(start, stop), np.diff(block.indptr))
        # In float32 and in RecBole's order, so that equal cosines are equal there and here.
        norm = norms[row]
        norm *= norms[block.indices]
        norm += np.float32(shrink)
        norm += np.float32(1e-6)
        block.data *= 1 / norm
        block.data[row == block.indices] = 0
        block.eliminate_zeros()
        parts.append(_k_best(block, k))
        start = stop
    near = sp.vstack(parts, format="csr")
    near.sort_indices()
    return near


def _k_best(block: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest entries of each row, which are positive."""
    counts = np.diff(block.indptr)
    heavy = (counts > k).nonzero()[0]
    heavy = heavy[np.argsort(counts[heavy], kind="stable")]
    packed = heavy[counts[heavy] * _DENSE < block.shape[1]]
    dense = [heavy[len(packed) :]]
    keep = np.ones(block.nnz, dtype=bool)
    for rows in _chunks(packed, counts[packed]):
        place = np.arange(counts[rows[-1]])
        inside = place < counts[rows, None]
        entry = np.where(inside, block.indptr[rows, None] + place, 0)
        value = np.where(inside, -block.data[entry], 0)
        order = np.argpartition(value, (k - 1, k), axis=1)
        left = np.take_along_axis(inside, order[:, k:], 1)
        keep[np.take_along_axis(entry, order[:, k:], 1)[left]] = False
        ends = np.take_along_axis(value, order[:, k - 1 : k + 1], 1)
        dense.append(rows[ends[:, 0] == ends[:, 1]])
    tied = np.concatenate(dense)
    for rows in _chunks(tied, np.full(len(tied), block.shape[1])):
        value = block[rows].toarray()
        best = np.argpartition(np.negative(value, out=value), k - 1, axis=1)[:, :k]
        chosen = np.zeros(value.shape, dtype=bool)
        np.put_along_axis(chosen, best, True, 1)
        own = counts[rows]
        row = np.repeat(np.arange(len(rows)), own)
        entry = np.arange(len(row)) + np.repeat(block.indptr[rows] - own.cumsum() + own, own)
        keep[entry] = chosen[row, block.indices[entry]]
    block.data[~keep] = 0
    block.eliminate_zeros()
    return block


def _chunks(rows: np.ndarray, widths: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of rising widths, as many at a time as have some cells at the widest's width."""
    start = 0
    while start < len(rows):
        stop = start + max(1, _CELLS // int(widths[start]))
        stop = start + max(1, _CELLS // int(widths[min(stop, len(rows)) - 1]))
        yield rows[start:stop]
        start = stop


def ridge_weights(matrix: sp.csr_matrix, reg_weight: float) -> np.ndarray:
    """EASE's weights, in the memory of one square matrix.

    Args:
        matrix: float32. Shape: ``(users, n_items)``.
        reg_weight: Added to the diagonal of the Gram matrix.

    Returns:
        float32, zero on the diagonal. Shape: ``(n_items, n_items)``.

    Raises:
        InputError: If the matrix does not fit into memory.
        OptionError: If ``reg_weight`` leaves it without an inverse.
    """
    n, columns = matrix.shape[1], matrix.T.tocsr()
    # Its largest row sum bounds the largest eigenvalue; the smallest is at least reg_weight.
    bound = float((columns @ (matrix @ np.ones(n))).max()) + reg_weight
    single = reg_weight > 0 and bound / reg_weight <= _MOST_CONDITION
    kind = np.float32 if single else np.float64
    try:
        resources.refuse_beyond_memory(int(1.2 * n * n * np.dtype(kind).itemsize))
    except resources.BeyondMemoryError as error:
        raise InputError(
            f"EASE inverts a matrix of {n:,} x {n:,} items in {np.dtype(kind).name} and {error}; "
            "item_num_interval leaves fewer items"
        ) from error
    gram = np.empty((n, n), dtype=kind)
    step = max(1, _CELLS // n)
    for start in range(0, n, step):
        gram[start : start + step] = (columns[start : start + step] @ matrix).toarray()
    gram[np.diag_indices(n)] += reg_weight
    factor, inverse = (lapack.spotrf, lapack.spotri) if single else (lapack.dpotrf, lapack.dpotri)
    # LAPACK's columns are numpy's rows: what it calls the lower triangle is the upper one here.
    failed = factor(gram.T, lower=1, clean=0, overwrite_a=1)[1]
    failed = failed or inverse(gram.T, lower=1, overwrite_c=1)[1]
    if failed:
        raise OptionError(
            "reg_weight", reg_weight, "the Gram matrix has no inverse; must be larger"
        )
    for start in range(0, n, step):
        stop = min(start + step, n)
        gram[start:stop, :start] = gram[:start, start:stop].T
        square = gram[start:stop, start:stop]
        square[:] = np.triu(square) + np.triu(square, 1).T
    gram /= -gram.diagonal()
    np.fill_diagonal(gram, 0)
    return gram if single else gram.astype(np.float32)


def elastic_nets(
    matrix: sp.csr_matrix, alpha: float, l1_ratio: float, positive: bool, hide: bool
) -> sp.csr_matrix:
    """SLIM's coefficients: each column told by the others.

    Args:
        matrix: float32. Shape: ``(users, n_items)``.
        alpha: As sklearn's ``ElasticNet``.
        l1_ratio: As sklearn's.
        positive: Whether coefficients are at least 0.
        hide: Whether a column is left out of what tells it.

    Returns:
        Shape: ``(n_items, n_items)``, a column for each item.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import ElasticNet

    columns = matrix.tocsc(copy=True)
    columns.sort_indices()
    net = ElasticNet(
        alpha=alpha,
        l1_ratio=l1_ratio,
        positive=positive,
        fit_intercept=False,
        copy_X=False,
        selection="random",
        max_iter=100,
        tol=1e-4,
    )
    target = np.zeros(matrix.shape[0], dtype=np.float32)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=ConvergenceWarning)
        for start, end in zip(columns.indptr[:-1], columns.indptr[1:]):
            users, own = columns.indices[start:end], columns.data[start:end].copy()
            target[users] = own
            if hide:  # zeros that stand there are no entries for the descent
                columns.data[start:end] = 0
            net.fit(columns, target, check_input=False)
            found.append(net.sparse_coef_)
            columns.data[start:end] = own
            target[users] = 0
    return sp.vstack(found).T.tocsr()
