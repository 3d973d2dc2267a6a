"""Graphs of users and items, from training rows alone."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


def interactions(dataset: Any) -> sp.csr_matrix:
    """The matrix of users and items, 1 for each pair of a user and an item.

    Args:
        dataset: The built training part, which is all that RecBole gives a model.

    Returns:
        Shape: ``(n_users, n_items)``, row and column 0 empty.
    """
    matrix = dataset.inter_matrix(form="csr").astype(np.float64)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def coordinates(matrix: Any) -> Tensor:
    """A sparse matrix of scipy as a sorted (coalesced) float32 COO tensor, of the same shape."""
    matrix = matrix.tocoo()
    index = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
    values = torch.from_numpy(matrix.data.astype(np.float32))
    return torch.sparse_coo_tensor(index, values, matrix.shape, check_invariants=True).coalesce()


def symmetric_graph(matrix: Any) -> Tensor:
    r"""The bipartite graph :math:`D^{-1/2} A D^{-1/2}`, without self-loops.

    Args:
        matrix: Interactions. Shape: ``(n_users, n_items)``.

    Returns:
        Users first, then items. Shape: ``(n_users + n_items,) * 2``.

    Example:
        >>> symmetric_graph(sp.csr_matrix([[1.0, 1.0]])).to_dense()[0]
        tensor([0.0000, 0.7071, 0.7071])
    """
    adjacency = sp.bmat([[None, matrix], [matrix.T, None]])
    degree = np.asarray(adjacency.sum(1)).ravel()
    scale = sp.diags(np.where(degree > 0, degree, np.inf) ** -0.5)
    return coordinates(scale @ adjacency @ scale)


def mean_graph(matrix: Any) -> Tensor:
    """Takes the mean over each row's neighbours, and 0 where there are none.

    Args:
        matrix: Interactions. Shape: ``(n, m)``.

    Returns:
        Shape: ``(n, m)``.
    """
    degree = np.asarray(matrix.sum(1)).ravel()
    return coordinates(sp.diags(1 / np.maximum(degree, 1)) @ matrix)


def similarity_graph(matrix: Any, k: int, chunk: int = 512) -> Tensor:
    """The k rows most similar to each row by the cosine of their interactions.

    Rows without a common interaction are no neighbours; of equally similar ones the first are.

    Args:
        matrix: Interactions. Shape: ``(n, m)``.
        k: Neighbours of a row, at most.
        chunk: Rows compared with all others at once.

    Returns:
        Ones, the diagonal 0; not symmetric. Shape: ``(n, n)``.

    Example:
        >>> rows = sp.csr_matrix([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
        >>> similarity_graph(rows, 1).to_dense().int().tolist()
        [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    """
    n = matrix.shape[0]
    # A row's own length does not change its ranking, and so equal cosines are equal floats.
    length = np.sqrt(np.maximum(np.asarray(matrix.sum(1)).ravel(), 1))
    scaled = (sp.diags(1 / length) @ matrix).T.tocsr()
    parts = [np.zeros((2, 0), dtype=np.int64)]
    for start in range(0, n, chunk):
        block = (matrix[start : start + chunk] @ scaled).tocoo()  # holds positive ones only
        row, column = block.row.astype(np.int64) + start, block.col.astype(np.int64)
        order = np.lexsort((column, -block.data, row))
        order = order[row[order] != column[order]]
        row, column = row[order], column[order]
        first = np.searchsorted(row, row)
        chosen = np.arange(len(row)) - first < k
        parts.append(np.stack([row[chosen], column[chosen]]))
    index = torch.from_numpy(np.concatenate(parts, axis=1))
    values = torch.ones(index.shape[1])
    return torch.sparse_coo_tensor(index, values, (n, n), check_invariants=True).coalesce()
