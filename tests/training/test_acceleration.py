import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recbole_enhance.training import acceleration
from recbole_enhance.training.acceleration import CompressedGraph, compress_graphs, fused


def coordinates(n, m, entries, seed=0):
    generator = torch.Generator().manual_seed(seed)
    place = torch.stack([torch.randint(0, k, (entries,), generator=generator) for k in (n, m)])
    return torch.sparse_coo_tensor(place, torch.randn(entries, generator=generator), (n, m))


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 40), st.integers(0, 99))
def test_products_and_gradients_are_those_of_the_dense_matrix(n, m, entries, seed):
    matrix = coordinates(n, m, entries, seed)
    graph, dense = CompressedGraph(matrix), torch.randn(m, 3, requires_grad=True)
    weight = torch.randn(n, 3)
    for product in (torch.sparse.mm(graph, dense), graph @ dense, torch.mm(graph, dense)):
        expected = matrix.to_dense() @ dense
        torch.testing.assert_close(product, expected, atol=1e-5, rtol=1e-5)
        (gradient,) = torch.autograd.grad((product * weight).sum(), dense)
        torch.testing.assert_close(gradient, matrix.to_dense().T @ weight, atol=1e-5, rtol=1e-5)


def test_gradcheck():
    matrix = coordinates(4, 5, 9).to_dense().double().to_sparse_coo()
    graph = CompressedGraph(matrix)
    dense = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: torch.sparse.mm(graph, x), dense)


def test_a_symmetric_matrix_is_kept_once():
    half = coordinates(6, 6, 8)
    assert (graph := CompressedGraph((half + half.t()).coalesce())).columns is graph.rows
    assert (graph := CompressedGraph(half)).columns is not graph.rows


def test_all_else_sees_the_coordinates():
    matrix = coordinates(4, 4, 6).coalesce()
    graph = CompressedGraph(matrix)
    assert torch.equal(graph.to_dense(), matrix.to_dense())
    assert torch.equal((graph.coalesce() + matrix).to_dense(), 2 * matrix.to_dense())
    assert graph.shape == (4, 4)
    assert torch.equal(torch.sparse.sum(graph), torch.sparse.sum(matrix))
    product = torch.sparse.mm(graph, matrix)  # of two sparse ones: torch's own
    torch.testing.assert_close(product.to_dense(), matrix.to_dense() @ matrix.to_dense())
    assert torch.equal(copy.deepcopy(graph).to_dense(), matrix.to_dense())


def test_only_constant_sparse_attributes_are_replaced():
    net = nn.Sequential(nn.Linear(2, 2))
    net.graph = coordinates(3, 3, 4)
    net[0].inner = coordinates(3, 2, 4)
    net.dense, net.learnt = torch.ones(2), coordinates(3, 3, 4).requires_grad_()
    before = set(net.state_dict())
    assert compress_graphs(net) == 2
    assert isinstance(net.graph, CompressedGraph)
    assert isinstance(net[0].inner, CompressedGraph)
    assert type(net.dense) is type(net.learnt) is torch.Tensor
    assert set(net.state_dict()) == before
    assert compress_graphs(net) == 0


@pytest.mark.parametrize("kind", acceleration._FUSED)
def test_fused_optimisers_take_the_same_steps(kind):
    start, gradients = torch.randn(5, 4), torch.randn(6, 5, 4)
    ends = []
    for fuse in (False, True):
        parameter = nn.Parameter(start.clone())
        optimizer = kind([parameter], lr=0.1, weight_decay=0.01)
        optimizer = fused(optimizer) if fuse else optimizer
        assert bool(optimizer.param_groups[0]["fused"]) is fuse
        assert optimizer.param_groups[0]["weight_decay"] == 0.01
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        ends.append(parameter.detach())
    torch.testing.assert_close(*ends)


def test_an_optimiser_without_a_fused_step_stays():
    optimizer = torch.optim.RMSprop([nn.Parameter(torch.ones(1))])
    assert fused(optimizer) is optimizer
