import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.interaction import Interaction
from torch import nn

from recbole_enhance.experiment.config import Config
from recbole_enhance.model.graphs import interactions
from recbole_enhance.model.multigccf import MultiGCCF, Side
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options
from recbole_enhance.training.acceleration import CompressedGraph


def multi(toy, **options):
    trainer, loaders = assemble(toy_options(toy, "MultiGCCF", show_progress=False, **options))
    return trainer.model, loaders


# ---- equations against loops -------------------------------------------------------------------


def side(d, n_layers, seed):
    torch.manual_seed(seed)
    return Side(d, n_layers).double()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 5), m=st.integers(1, 5), d=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_a_layer_and_the_fusion_are_the_loops(n, m, d, seed):
    one = side(d, 1, seed)
    own, others = (torch.randn(rows, d, dtype=torch.float64) for rows in (n, m))
    linked = torch.rand(n, m) < 0.5
    graph = linked.double() / linked.sum(1, keepdim=True).clamp(min=1)
    similar = (torch.rand(n, n) < 0.5).double()
    h = one.convolve(0, own, others, graph.to_sparse(), 0.0)
    e = one.fuse(h, own, similar.to_sparse())
    q, w = one.neighbour[0].weight.T, one.merge[0].weight.T  # x Q, as the paper writes it
    for u in range(n):
        neighbours = [others[i] @ q for i in range(m) if linked[u, i]]
        mean = sum(neighbours) / len(neighbours) if neighbours else torch.zeros(d).double()
        message = torch.tanh(mean)
        want = torch.tanh(torch.cat([own[u], message]) @ w)
        assert torch.allclose(h[u], want)
        z = sum(
            (own[v] @ one.similar.weight.T for v in range(n) if similar[u, v]),
            torch.zeros(d).double(),
        )
        want = want + torch.tanh(z) + torch.tanh(own[u] @ one.skip.weight.T)
        assert torch.allclose(e[u], want)
    assert e.abs().max() <= 3


def test_gradients_are_those_of_finite_differences():
    one = side(3, 1, 0)
    graph = torch.tensor([[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]]).double().to_sparse()
    similar = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 0, 0]]).double().to_sparse()

    def fused(own, others):
        return one.fuse(one.convolve(0, own, others, graph, 0.0), own, similar)

    own, others = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (3, 2))
    assert torch.autograd.gradcheck(fused, (own, others))


# ---- the model ---------------------------------------------------------------------------------


def test_tables_are_the_equations_on_dense_graphs(toy):
    model, loaders = multi(toy, multigccf_layers=3)
    model.eval()
    r = torch.from_numpy(interactions(loaders[0]._dataset).toarray()).float()
    means = [x / x.sum(1, keepdim=True).clamp(min=1) for x in (r, r.T)]
    similar = [_top_cosine(x, 10) for x in (r, r.T)]
    ego = [model.user_embedding.weight, model.item_embedding.weight]
    sides, h = [model.user_side, model.item_side], list(ego)
    for layer in range(3):
        below = list(h)
        for s in (0, 1):
            n = torch.tanh(means[s] @ below[1 - s] @ sides[s].neighbour[layer].weight.T)
            h[s] = torch.tanh(torch.cat([below[s], n], 1) @ sides[s].merge[layer].weight.T)
    for s, table in enumerate(model.enhancer_tables()):
        z = torch.tanh(similar[s] @ (ego[s] @ sides[s].similar.weight.T))
        want = h[s] + z + torch.tanh(ego[s] @ sides[s].skip.weight.T)
        assert torch.allclose(table, want, atol=1e-5)


def _top_cosine(x, k):
    x = x.double()
    length = x.norm(dim=1)
    cosine = x @ x.T / length.unsqueeze(1).clamp(min=1) / length.clamp(min=1)
    graph = torch.zeros(len(x), len(x))
    for u in range(len(x)):
        order = sorted(
            (v for v in range(len(x)) if v != u), key=lambda v: (-round(float(cosine[u, v]), 12), v)
        )
        graph[u, [v for v in order[:k] if cosine[u, v] > 0]] = 1
    return graph


def test_its_graphs_multiply_in_compressed_rows(toy):
    model, _ = multi(toy)
    graphs = [model.user_mean, model.item_mean, model.user_similar, model.item_similar]
    assert all(isinstance(graph, CompressedGraph) for graph in graphs)
    for graph in graphs[2:]:
        dense = graph.to_dense()
        assert not dense.diagonal().any()
        assert dense.sum(1).max() <= 10


def test_a_user_without_neighbours_has_finite_rows(toy):
    """Padding is one: no message, no similar user."""
    model, _ = multi(toy, multigccf_layers=1)
    model.eval()
    users, _ = model.enhancer_tables()
    e, one = model.user_embedding.weight[0], model.user_side
    alone = torch.tanh(torch.cat([e, torch.zeros(8)]) @ one.merge[0].weight.T)
    assert torch.allclose(users[0], alone + torch.tanh(e @ one.skip.weight.T), atol=1e-6)


def test_without_q_and_m_a_row_depends_on_its_own_embedding_only(toy):
    model, _ = multi(toy)
    model.eval()
    with torch.no_grad():
        for one in (model.user_side, model.item_side):
            one.similar.weight.zero_()
            for layer in one.neighbour:
                layer.weight.zero_()
        before, _ = model.enhancer_tables()
        kept = model.user_embedding.weight[5].clone()
        nn.init.normal_(model.user_embedding.weight)
        nn.init.normal_(model.item_embedding.weight)
        model.user_embedding.weight[5] = kept
        after, _ = model.enhancer_tables()
    assert torch.allclose(before[5], after[5], atol=1e-6)
    assert not torch.allclose(before[6], after[6], atol=1e-2)


def test_users_and_items_have_weights_of_their_own(toy):
    model, _ = multi(toy)
    model.eval()
    batch = Interaction({"user_id": torch.arange(1, 20), "item_id": torch.arange(1, 20)})
    with torch.no_grad():
        before = model.predict(batch)
        model.user_side, model.item_side = model.item_side, model.user_side
        model.train(False)
        assert not torch.allclose(before, model.predict(batch), atol=1e-3)


class Part:
    """A dataset as far as the model looks at it."""

    def __init__(self, matrix):
        self.matrix = matrix

    def num(self, field):
        return self.matrix.shape[0 if field == "user_id" else 1]

    def inter_matrix(self, form):
        return self.matrix.asformat(form)


def test_permuted_items_permute_the_tables(toy):
    config = Config(config_dict=toy_options(toy, "MultiGCCF", multigccf_neighbours=40))
    # 40 neighbours: no ties are cut off, which the order of the ids would decide.
    matrix = interactions(multi(toy)[1][0]._dataset)[:, :41]
    model = MultiGCCF(config, Part(matrix)).eval()
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(40)])
    moved = MultiGCCF(config, Part(matrix[:, order.numpy()])).eval()
    state = dict(model.state_dict())
    state["item_embedding.weight"] = state["item_embedding.weight"][order]
    moved.load_state_dict(state)
    for one, other, rows in zip(
        model.enhancer_tables(), moved.enhancer_tables(), (slice(None), order)
    ):
        assert torch.allclose(one[rows], other, atol=1e-5)


def test_the_loss_is_its_parts_by_brute_force(toy):
    options = {"multigccf_reg_weight": 0.01, "multigccf_output_weight": 0.1}
    model, loaders = multi(toy, **options)
    model.eval()
    batch = next(iter(loaders[0]))
    users, items = (table.detach() for table in model.enhancer_tables())
    want = 0.0
    for u, i, j in zip(batch["user_id"], batch["item_id"], batch["neg_item_id"]):
        margin = (users[u] @ (items[i] - items[j])).item()
        want += math.log(1 + math.exp(-margin))
        want += 0.1 * sum(row.square().sum().item() for row in (users[u], items[i], items[j]))
        ego = model.user_embedding.weight[u], *(model.item_embedding.weight[x] for x in (i, j))
        want += 0.01 * sum(row.square().sum().item() for row in ego)
    want /= len(batch)
    for name, weight in model.named_parameters():
        if "embedding" not in name:
            want += 0.01 * weight.square().sum().item()
    assert model.calculate_loss(batch).item() == pytest.approx(want, rel=1e-4)


def test_messages_drop_out_in_training_only(toy):
    model, _ = multi(toy, multigccf_dropout=0.5)
    one, two = model.enhancer_tables()[0], model.enhancer_tables()[0]
    assert not torch.equal(one, two)
    model.eval()
    assert torch.equal(model.enhancer_tables()[0], model.enhancer_tables()[0])
    model, _ = multi(toy, multigccf_dropout=0.0)
    trained = model.enhancer_tables()[0]
    assert torch.equal(trained, model.eval().enhancer_tables()[0])


def test_dvr_under_equal_values_is_the_model_bit_for_bit(toy):
    """No policy and no fit: DVR's own step, with weights that never come to differ."""
    plain = run_toy(toy, "MultiGCCF", saved=False, epochs=2)
    options = {"dvr_warmup_epochs": 2, "dvr_policy_learning_rate": 0}
    valued = run_toy(toy, "DVR", saved=False, epochs=2, backbone="MultiGCCF", **options)
    assert plain["test_result"] == valued["test_result"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("multigccf_layers", 0),
        ("multigccf_neighbours", 0),
        ("multigccf_dropout", 1.0),
        ("multigccf_dropout", -0.5),
        ("multigccf_reg_weight", -1.0),
        ("multigccf_output_weight", -1.0),
        ("embedding_size", 0),
    ],
)
def test_it_refuses_what_cannot_work_in_one_line(toy, option, value):
    with pytest.raises(ValueError, match=rf"^{option}={value}: must [^\n]+$"):
        Config(config_dict=toy_options(toy, "MultiGCCF", **{option: value}))


def test_more_neighbours_than_nodes_are_refused(toy):
    said = r"^multigccf_neighbours=49: more than the 48 items \(config_dict\)$"
    with pytest.raises(ValueError, match=said):
        multi(toy, multigccf_neighbours=49)


def test_scores_are_bounded(toy):
    model, _ = multi(toy)
    model.eval()
    with torch.no_grad():
        nn.init.normal_(model.user_embedding.weight, std=100)
        scores = model.full_sort_predict(Interaction({"user_id": torch.arange(1, 9)}))
    assert np.abs(scores.numpy()).max() <= 9 * 8
