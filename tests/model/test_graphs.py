import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.model.graphs import (
    interactions,
    mean_graph,
    similarity_graph,
    symmetric_graph,
)
from recbole_enhance.testing.worlds import assemble, toy_options

cases = given(n=st.integers(1, 9), m=st.integers(1, 9), seed=st.integers(0, 10**6))


def random_matrix(n, m, seed):
    dense = (np.random.default_rng(seed).random((n, m)) < 0.4).astype(float)
    return dense, sp.csr_matrix(dense)


@settings(max_examples=60, deadline=None)
@cases
def test_symmetric_graph_is_the_loops(n, m, seed):
    dense, matrix = random_matrix(n, m, seed)
    want = np.zeros((n + m, n + m))
    for u in range(n):
        for i in range(m):
            if dense[u, i]:
                want[u, n + i] = want[n + i, u] = (dense[u].sum() * dense[:, i].sum()) ** -0.5
    got = symmetric_graph(matrix).to_dense()
    assert torch.allclose(got, torch.from_numpy(want).float())
    assert torch.equal(got, got.T)
    assert float(torch.linalg.eigvalsh(got).abs().max()) <= 1 + 1e-5


@settings(max_examples=60, deadline=None)
@cases
def test_mean_graph_is_the_loops(n, m, seed):
    dense, matrix = random_matrix(n, m, seed)
    x = np.random.default_rng(seed).random((m, 3))
    want = [x[row > 0].mean(0) if row.any() else np.zeros(3) for row in dense]
    got = mean_graph(matrix) @ torch.from_numpy(x).float()
    assert torch.allclose(got, torch.tensor(np.array(want)).float(), atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(1, 9),
    m=st.integers(1, 9),
    seed=st.integers(0, 10**6),
    k=st.integers(1, 12),
    chunk=st.integers(1, 10),
)
def test_similarity_graph_is_the_loops(n, m, seed, k, chunk):
    dense, matrix = random_matrix(n, m, seed)
    got = similarity_graph(matrix, k, chunk).to_dense()
    for u in range(n):
        cosines = []
        for v in range(n):
            length = (dense[u].sum() * dense[v].sum()) ** 0.5
            cosines.append(dense[u] @ dense[v] / length if length and u != v else 0.0)
        # Rounded, as the loop divides in another order; of equal ones the first come first.
        order = sorted(range(n), key=lambda v: (-round(cosines[v], 12), v))
        want = {v for v in order[:k] if cosines[v] > 0}
        assert set(got[u].nonzero().flatten().tolist()) == want
    assert not got.diagonal().any()
    assert got.sum(1).max() <= k
    assert set(got.unique().tolist()) <= {0.0, 1.0}


def test_interactions_are_ones_of_training_rows(toy):
    _, loaders = assemble(toy_options(toy, "BPR", show_progress=False))
    train = loaders[0]._dataset
    matrix = interactions(train)
    assert matrix.nnz == len(train)
    assert set(matrix.data) == {1.0}
    pairs = set(zip(train.inter_feat["user_id"].tolist(), train.inter_feat["item_id"].tolist()))
    assert set(zip(*(index.tolist() for index in matrix.nonzero()))) == pairs
    assert matrix[0].nnz == 0


def test_repeated_interactions_count_once():
    class Twice:
        def inter_matrix(self, form):
            return sp.csr_matrix(([1.0, 1.0, 1.0], ([1, 1, 1], [2, 2, 1])), shape=(2, 3))

    assert interactions(Twice()).toarray().tolist() == [[0, 0, 0], [0, 1, 1]]


def test_similarity_holds_one_chunk_at_a_time(monkeypatch):
    largest = []
    lexsort = np.lexsort
    monkeypatch.setattr(np, "lexsort", lambda keys: largest.append(len(keys[0])) or lexsort(keys))
    similarity_graph(random_matrix(100, 20, 0)[1], 3, chunk=8)
    assert len(largest) == 13
    assert 0 < max(largest) <= 8 * 100


@pytest.mark.parametrize("make", [symmetric_graph, mean_graph, lambda x: similarity_graph(x, 2)])
def test_no_interactions_give_empty_graphs(make):
    assert make(sp.csr_matrix((3, 4)))._nnz() == 0
