"""LightGCN's propagation in one piece against RecBole's, and against numeric derivatives."""

import pytest
import torch
from recbole.model.general_recommender import LightGCN
from recbole.utils import init_seed
from torch.autograd import gradcheck, gradgradcheck

from recbole_enhance.model.faster import faster
from recbole_enhance.model.propagation import GraphMean
from recbole_enhance.testing.worlds import assemble, toy_options
from recbole_enhance.training.acceleration import CompressedGraph


def built(toy, fast, **options):
    options = {"show_progress": False, "embedding_size": 8, **options}
    trainer, (data, *_) = assemble(toy_options(toy, "LightGCN", fast=fast, **options))
    return trainer, data


@pytest.mark.parametrize("layers", [1, 2, 3, 6])
@pytest.mark.parametrize("compressed", [True, False])
def test_values_and_gradients_are_recboles(toy, layers, compressed):
    """To the last bit, unless the sum is of so many layers that torch adds in another order."""
    trainer, data = built(toy, True, n_layers=layers)
    model, batch = trainer.model, next(iter(data))
    assert isinstance(model, GraphMean)
    if not compressed:
        model.norm_adj_matrix = model.norm_adj_matrix.matrix
    found = []
    for forward in (model.forward, lambda: LightGCN.forward(model)):
        model.forward = forward
        model.zero_grad()
        loss = model.calculate_loss(batch)
        loss.backward()
        tables = [part.detach() for part in model.forward()]
        found.append([loss.detach(), *tables, *(p.grad for p in model.parameters())])
    for ours, theirs in zip(*found, strict=True):
        if layers <= 3:
            assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layers", [1, 3])
def test_derivatives_are_the_numeric_ones_forwards_backwards_and_twice(toy, layers):
    model = built(toy, False, n_layers=layers)[0].model.double()
    graph = model.norm_adj_matrix.double().coalesce()
    model.norm_adj_matrix = graph
    assert torch.equal(graph.to_dense(), graph.to_dense().T)
    tables = [torch.randn(n, 2, dtype=torch.float64) for n in (model.n_users, model.n_items)]
    tables = [table.requires_grad_() for table in tables]

    def means(users, items):
        model.user_embedding.weight, model.item_embedding.weight = users, items
        return GraphMean.forward(model)

    for name in ("user_embedding", "item_embedding"):
        del getattr(model, name)._parameters["weight"]
    assert gradcheck(means, tables, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(means, tables, fast_mode=True)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_graph_that_is_not_symmetric_has_its_own_gradient(toy, compressed):
    """As of a class that has its own normalisation."""
    model, batch = (lambda pair: (pair[0].model, next(iter(pair[1]))))(built(toy, False))
    matrix = model.norm_adj_matrix.coalesce()
    row, values = matrix.indices()[0], matrix.values()
    matrix = torch.sparse_coo_tensor(matrix.indices(), values * (1 + row % 3), matrix.shape)
    model.norm_adj_matrix = CompressedGraph(matrix) if compressed else matrix
    found = []
    for forward in (LightGCN.forward, GraphMean.forward):
        model.forward = lambda forward=forward: forward(model)
        model.zero_grad()
        model.calculate_loss(batch).backward()
        found.append([p.grad for p in model.parameters()])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_training_is_recboles(toy):
    tables = []
    for own in (True, False):
        trainer, data = built(toy, True)
        if not own:
            trainer.model.forward = lambda model=trainer.model: LightGCN.forward(model)
        init_seed(1, True)
        for epoch in range(2):
            trainer._train_epoch(data, epoch)
        tables.append(trainer.model.user_embedding.weight.detach())
    assert torch.equal(*tables)


def test_a_model_with_its_own_propagation_keeps_it():
    class Own(LightGCN):
        def forward(self):
            raise NotImplementedError

    class Start(LightGCN):
        def get_ego_embeddings(self):
            raise NotImplementedError

    assert faster(Own) is Own
    assert faster(Start) is Start
    assert issubclass(faster(LightGCN), GraphMean)
