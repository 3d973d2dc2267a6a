import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.model.graphs import interactions
from recbole_enhance.model.transgnn import EncoderLayer, attend, nearest_rows
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options


def trans(toy, **options):
    trainer, loaders = assemble(toy_options(toy, "TransGNN", show_progress=False, **options))
    return trainer.model, trainer, loaders


def sampled(toy, k=5, **options):
    return trans(toy, transgnn_variant="sampled", transgnn_neighbours=k, **options)


# ---- equations against loops -------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 9), k=st.integers(1, 8), cells=st.integers(1, 90), seed=st.integers(0, 10**6)
)
def test_nearest_rows_are_the_loops(n, k, cells, seed):
    k = min(k, n - 1)
    torch.manual_seed(seed)
    x = torch.randn(n, 4, dtype=torch.float64)
    found = nearest_rows(x, k, cells)
    assert found.shape == (n, k)
    for u in range(1, n):
        cosine = {
            v: float(x[u] @ x[v]) / (float(x[u].norm()) * float(x[v].norm()))
            for v in range(1, n)
            if v != u
        }
        assert found[u].tolist() == [u, *sorted(cosine, key=lambda v: -cosine[v])[: k - 1]]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 5),
    k=st.integers(1, 4),
    heads=st.integers(1, 3),
    c=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_attention_is_the_loops(n, k, heads, c, seed):
    torch.manual_seed(seed)
    q, key, v = (torch.randn(n, heads, c, dtype=torch.float64) for _ in range(3))
    among = torch.randint(0, n, (n, k))
    found = attend(q, key, v, among)
    for node in range(n):
        for h in range(heads):
            logits = [float(q[node, h] @ key[j, h]) / math.sqrt(c) for j in among[node].tolist()]
            total = sum(math.exp(x) for x in logits)
            want = sum(math.exp(x) / total * v[j, h] for x, j in zip(logits, among[node].tolist()))
            assert torch.allclose(found[node, h], want)


def copied(layer, d, heads):
    """Torch's own layer, called as the released code calls its own, with the same parameters."""
    torchs = nn.TransformerEncoderLayer(d, heads, 4 * d, dropout=0.0, batch_first=False).double()
    torchs.load_state_dict(
        {
            "self_attn.in_proj_weight": layer.input.weight,
            "self_attn.in_proj_bias": layer.input.bias,
            "self_attn.out_proj.weight": layer.output.weight,
            "self_attn.out_proj.bias": layer.output.bias,
            "linear1.weight": layer.hidden.weight,
            "linear1.bias": layer.hidden.bias,
            "linear2.weight": layer.back.weight,
            "linear2.bias": layer.back.bias,
            "norm1.weight": layer.norm1.weight,
            "norm1.bias": layer.norm1.bias,
            "norm2.weight": layer.norm2.weight,
            "norm2.bias": layer.norm2.bias,
        }
    )
    return torchs


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = EncoderLayer(8, 4, 0.0).double()
    for parameter in layer.parameters():  # biases are zero at the start
        nn.init.normal_(parameter, std=0.3)
    return layer


def test_the_released_layer_is_torchs_over_sequences_of_one(layer):
    x = torch.randn(6, 8, dtype=torch.float64)
    want = copied(layer, 8, 4)(x.unsqueeze(0)).squeeze(0)
    assert torch.allclose(layer(x), want)


def test_the_sampled_layer_is_torchs_first_place_of_a_sequence(layer):
    """A node's query over its neighbours is the first row of torch's attention over [node, ...]."""
    x = torch.randn(6, 8, dtype=torch.float64)
    among = nearest_rows(x, 4)
    sequences = x[among].transpose(0, 1)  # (k, n, d): itself first
    want = copied(layer, 8, 4)(sequences)[0]
    assert torch.allclose(layer(x, among), want)


def test_attention_to_oneself_is_the_released_layer_bit_for_bit(layer):
    x = torch.randn(6, 8, dtype=torch.float64)
    assert torch.equal(layer(x, torch.arange(6).unsqueeze(1)), layer(x))
    layer.dropout.p = 0.3  # of the attention's one weight too, as in the released code
    torch.manual_seed(5)
    one = layer(x, torch.arange(6).unsqueeze(1))
    torch.manual_seed(5)
    assert torch.equal(layer(x), one)
    assert not torch.allclose(one, layer.eval()(x))


def test_gradients_are_those_of_finite_differences(layer):
    x = torch.randn(4, 8, dtype=torch.float64, requires_grad=True)
    among = torch.tensor([[0, 1], [1, 3], [2, 0], [3, 2]])
    assert torch.autograd.gradcheck(lambda x: layer(x, among), x)
    assert torch.autograd.gradcheck(layer, x)


# ---- the model ---------------------------------------------------------------------------------


def test_tables_are_the_equations_on_a_dense_graph(toy):
    model, _, loaders = trans(toy, transgnn_blocks=3)
    model.eval()
    r = torch.from_numpy(interactions(loaders[0]._dataset).toarray()).float()
    n, m = r.shape
    a = torch.zeros(n + m, n + m)
    a[:n, n:], a[n:, :n] = r, r.T
    degree = a.sum(1)
    scale = torch.where(degree > 0, degree, torch.inf) ** -0.5
    a = scale[:, None] * a * scale
    e = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    total = e
    for _ in range(3):
        message = a @ e
        e = torch.cat(
            [
                message[:n] + model.user_encoder(message[:n]),
                message[n:] + model.item_encoder(message[n:]),
            ]
        )
        total = total + e
    users, items = model.enhancer_tables()
    assert torch.allclose(users, total[:n], atol=1e-4)
    assert torch.allclose(items, total[n:], atol=1e-4)


def test_released_rows_read_no_other_users_row_within_the_encoder(toy):
    """The defect of the released code, kept on purpose and by name."""
    model, _, _ = trans(toy)
    model.eval()
    x = torch.randn(model.n_users, 8)
    other = torch.randn(model.n_users, 8)
    other[7] = x[7]
    among = torch.randint(1, model.n_users, (model.n_users, 4))
    assert torch.allclose(model.user_encoder(x)[7], model.user_encoder(other)[7], atol=1e-6)
    attended = [model.user_encoder(rows, among)[7] for rows in (x, other)]
    assert not torch.allclose(*attended, atol=1e-3)


def test_one_neighbour_is_the_released_variant(toy):
    one, _, loaders = sampled(toy, k=1)
    released, _, _ = trans(toy)
    for mine, other in zip(one.eval().enhancer_tables(), released.eval().enhancer_tables()):
        assert torch.equal(mine, other)
    batch = next(iter(loaders[0]))
    assert torch.equal(one.calculate_loss(batch), released.calculate_loss(batch))


def test_the_loss_is_bpr_and_the_batchs_lengths(toy):
    model, _, loaders = trans(toy, transgnn_reg_weight=0.1)
    model.eval()
    batch = next(iter(loaders[0]))
    users, items = model.enhancer_tables()
    want = 0.0
    for user, pos, neg in zip(batch["user_id"], batch["item_id"], batch["neg_item_id"]):
        margin = (users[user] @ (items[pos] - items[neg])).item()
        want -= math.log(1e-6 + 1 / (1 + math.exp(-margin)))
        for row in (
            model.user_embedding.weight[user],
            model.item_embedding.weight[pos],
            model.item_embedding.weight[neg],
        ):
            want += 0.1 * row.square().sum().item()
    assert model.calculate_loss(batch).item() == pytest.approx(want / len(batch), rel=1e-4)


def test_neighbours_are_looked_for_before_each_epoch(toy):
    model, trainer, loaders = sampled(toy, learning_rate=0.05)

    def now():
        ego = torch.cat([model.user_embedding.weight, model.item_embedding.weight]).detach()
        mixed = ego + model.graph.to_dense() @ ego
        return nearest_rows(mixed[: model.n_users], 5), nearest_rows(mixed[model.n_users :], 5)

    def same(one, two):
        return torch.equal(one[0][1:], two[0][1:]) and torch.equal(one[1][1:], two[1][1:])

    first = now()
    assert same((model.user_among, model.item_among), first)
    trainer._train_epoch(loaders[0], 0)
    assert same((model.user_among, model.item_among), first)  # the epoch's, not the step's
    second = now()
    assert not same(first, second)
    trainer._train_epoch(loaders[0], 1)
    assert same((model.user_among, model.item_among), second)


def test_the_model_file_holds_the_neighbours_of_its_epoch(toy):
    result = run_toy(toy, "TransGNN", transgnn_variant="sampled", transgnn_neighbours=5)
    model = load_run(result["run_dir"]).trainer.model
    kept = model.user_among.clone()
    model.begin_epoch()
    assert not torch.equal(kept, model.user_among)  # those of the parameters after the epoch
    assert "user_among" in model.state_dict()


def test_a_wrapped_model_is_told_of_the_epoch(toy):
    model, trainer, loaders = sampled(toy, learning_rate=0.05)

    class Wrapper(nn.Module):
        def __init__(self, backbone):
            super().__init__()
            self.backbone = backbone
            self.calculate_loss = backbone.calculate_loss

    trainer.model = Wrapper(model)
    trainer._train_epoch(loaders[0], 0)
    before = model.user_among.clone()
    trainer._train_epoch(loaders[0], 1)
    assert not torch.equal(before, model.user_among)


def test_permuted_users_permute_the_layer(layer):
    x = torch.randn(6, 8, dtype=torch.float64)
    order = torch.tensor([0, 3, 1, 5, 4, 2])
    moved = layer(x[order], nearest_rows(x[order], 4))
    # Row 0 is nobody's neighbour, so its place is kept.
    assert torch.allclose(moved[1:], layer(x, nearest_rows(x, 4))[order][1:])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("transgnn_variant", "paper"),
        ("transgnn_blocks", 0),
        ("transgnn_heads", 3),
        ("transgnn_heads", 0),
        ("transgnn_neighbours", 0),
        ("transgnn_dropout", 1.0),
        ("transgnn_dropout", -0.1),
        ("transgnn_reg_weight", -1.0),
        ("embedding_size", 0),
    ],
)
def test_it_refuses_what_cannot_work_in_one_line(toy, option, value):
    with pytest.raises(ValueError, match=rf"^{option}={value}: must [^\n]+$"):
        Config(config_dict=toy_options(toy, "TransGNN", **{option: value}))


def test_more_neighbours_than_nodes_are_refused(toy):
    said = r"^transgnn_neighbours=49: more than the 48 items \(config_dict\)$"
    with pytest.raises(ValueError, match=said):
        sampled(toy, k=49)
    sampled(toy, k=48)


def test_a_copy_is_a_model_of_its_own(toy):
    model, _, _ = sampled(toy)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        model.user_embedding.weight.mul_(torch.randn_like(model.user_embedding.weight))
    model.begin_epoch()
    assert not torch.equal(model.user_among, twin.user_among)
