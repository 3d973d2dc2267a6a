import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.experiment.config import Config
from recbole_enhance.model import protomf
from recbole_enhance.model.protomf import (
    batch_regularizer,
    prototype_regularizer,
    sampled_softmax,
    shifted_cosine,
    weighted_bce,
)
from recbole_enhance.testing.worlds import assemble, toy_options

sizes = st.integers(1, 6)


def proto(toy, **options):
    trainer, loaders = assemble(toy_options(toy, "ProtoMF", show_progress=False, **options))
    return trainer.model, loaders


# ---- equations against loops -------------------------------------------------------------------


def slow_sim(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return 1 + dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)))


@settings(max_examples=60, deadline=None)
@given(n=sizes, m=sizes, d=sizes, seed=st.integers(0, 10**6))
def test_shifted_cosine_is_the_loops(n, m, d, seed):
    torch.manual_seed(seed)
    x, p = torch.randn(n, d, dtype=torch.float64), torch.randn(m, d, dtype=torch.float64)
    sim = shifted_cosine(x, p)
    for i in range(n):
        for j in range(m):
            assert float(sim[i, j]) == pytest.approx(slow_sim(x[i].tolist(), p[j].tolist()))
    assert -1e-9 <= float(sim.min()) <= float(sim.max()) <= 2 + 1e-9
    assert torch.allclose(shifted_cosine(3 * x, 0.1 * p), sim)  # directions only
    assert torch.allclose(shifted_cosine(x, x).diagonal(), torch.tensor(2.0, dtype=x.dtype))
    assert torch.allclose(shifted_cosine(x, -x).diagonal(), torch.zeros(n, dtype=x.dtype))


def test_a_row_of_zeros_is_as_far_from_all_and_has_a_finite_gradient():
    x = torch.zeros(1, 3, requires_grad=True)
    sim = shifted_cosine(x, torch.eye(3))
    assert sim.tolist() == [[1, 1, 1]]
    sim.sum().backward()
    assert torch.isfinite(x.grad).all()


@settings(max_examples=60, deadline=None)
@given(n=sizes, m=sizes, seed=st.integers(0, 10**6))
def test_regularizers_are_the_loops(n, m, seed):
    torch.manual_seed(seed)
    times = torch.randint(1, 4, (n,))
    sim = 2 * torch.rand(n, m, dtype=torch.float64)
    batch = [row for row, often in zip(sim.tolist(), times.tolist()) for _ in range(often)]
    to_prototypes = -sum(max(row[j] for row in batch) for j in range(m)) / m
    to_rows = -sum(max(row) for row in batch) / len(batch)
    assert float(prototype_regularizer(sim)) == pytest.approx(to_prototypes)
    assert float(batch_regularizer(sim, times)) == pytest.approx(to_rows)


@settings(max_examples=60, deadline=None)
@given(b=sizes, n=sizes, seed=st.integers(0, 10**6))
def test_losses_are_the_loops(b, n, seed):
    torch.manual_seed(seed)
    pos = 3 * torch.randn(b, dtype=torch.float64)
    neg = 3 * torch.randn(n, b, dtype=torch.float64)
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    bce = softmax = 0.0
    for row in range(b):
        x, others = float(pos[row]), neg[:, row].tolist()
        bce -= n * math.log(sigmoid(x)) + sum(math.log(1 - sigmoid(y)) for y in others)
        softmax -= math.log(math.exp(x) / (math.exp(x) + sum(math.exp(y) for y in others)))
    assert float(weighted_bce(pos, neg)) == pytest.approx(bce / (b * (1 + n)))
    assert float(sampled_softmax(pos, neg)) == pytest.approx(softmax / b)
    # torch's own loss with the weights that the authors' code gives it
    scores = torch.cat([pos.unsqueeze(0), neg])
    label = torch.zeros_like(scores)
    label[0] = 1
    weight = torch.ones_like(scores)
    weight[0] = n
    want = nn.functional.binary_cross_entropy_with_logits(scores, label, weight)
    assert torch.allclose(weighted_bce(pos, neg), want)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: shifted_cosine(x, x[:2] + 1),
        lambda x: prototype_regularizer(shifted_cosine(x, x.detach()[:2])),
        lambda x: weighted_bce(x[:, 0], x[:, 1:].T),
        lambda x: sampled_softmax(x[:, 0], x[:, 1:].T),
    ],
)
def test_gradients_are_those_of_finite_differences(function):
    torch.manual_seed(0)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)


# ---- the model ---------------------------------------------------------------------------------


def test_ui_scores_are_the_sum_of_two_terms(toy):
    """x = u*^T W_t t + (W_u u)^T t*, one pair at a time."""
    model, _ = proto(toy, protomf_user_prototypes=5, protomf_item_prototypes=7)
    users, items = (table.detach() for table in model.forward())
    assert users.shape == (model.n_users, 12)
    assert items.shape == (model.n_items, 12)
    p_u, p_t = model.user_prototypes.tolist(), model.item_prototypes.tolist()
    for user, item in ((1, 1), (3, 9), (20, 40)):
        u, t = model.user_embedding.weight[user], model.item_embedding.weight[item]
        u_star = torch.tensor([slow_sim(u.tolist(), p) for p in p_u])
        t_star = torch.tensor([slow_sim(t.tolist(), p) for p in p_t])
        first = u_star @ (model.item_projection.weight @ t)
        second = (model.user_projection.weight @ u) @ t_star
        want = (first + second).item()
        assert float(users[user] @ items[item]) == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize(("variant", "width"), [("u", 5), ("i", 7)])
def test_half_models_have_prototypes_on_one_side(toy, variant, width):
    options = {"protomf_user_prototypes": 5, "protomf_item_prototypes": 7}
    model, _ = proto(toy, protomf_variant=variant, **options)
    users, items = model.forward()
    assert users.shape[1] == items.shape[1] == width
    if variant == "u":
        assert torch.equal(
            users, shifted_cosine(model.user_embedding.weight, model.user_prototypes)
        )
        assert items is model.item_embedding.weight
        assert not hasattr(model, "item_prototypes")
    else:
        assert torch.equal(
            items, shifted_cosine(model.item_embedding.weight, model.item_prototypes)
        )
        assert users is model.user_embedding.weight
        assert not hasattr(model, "user_prototypes")


@pytest.mark.parametrize("variant", ["ui", "u", "i"])
@pytest.mark.parametrize("loss", ["bpr", "bce", "sampled_softmax"])
def test_the_loss_is_its_parts_by_brute_force(toy, variant, loss, monkeypatch):
    weights = {"user_proto": 0.3, "user_batch": 0.5, "item_proto": 0.7, "item_batch": 1.1}
    model, loaders = proto(
        toy,
        protomf_variant=variant,
        protomf_loss=loss,
        protomf_negatives=3,
        **{f"protomf_{name}_weight": value for name, value in weights.items()},
    )
    batch = next(iter(loaders[0]))
    drawn = []
    draw = protomf.ProtoMF._negatives

    def spy(self, *args):
        drawn.append(draw(self, *args))
        return drawn[-1]

    monkeypatch.setattr(protomf.ProtoMF, "_negatives", spy)
    found = model.calculate_loss(batch).detach()
    user, pos = batch["user_id"], batch["item_id"]
    neg = drawn[0]
    assert len(neg) == (1 if loss == "bpr" else 3)
    assert torch.equal(neg[0], batch["neg_item_id"])
    users, items = (table.detach() for table in model.forward())
    score = lambda i: (users[user] * items[i]).sum(1)  # noqa: E731
    x, y = score(pos), torch.stack([score(row) for row in neg])
    want = {
        "bpr": lambda: -(1e-10 + torch.sigmoid(x - y[0])).log().mean(),
        "bce": lambda: weighted_bce(x, y),
        "sampled_softmax": lambda: sampled_softmax(x, y),
    }[loss]()
    every = torch.cat([pos, *neg])
    sides = []
    if variant != "i":
        sides.append(("user", model.user_embedding.weight[user], model.user_prototypes))
    if variant != "u":
        sides.append(("item", model.item_embedding.weight[every], model.item_prototypes))
    for side, rows, prototypes in sides:
        sim = 1 + nn.functional.cosine_similarity(rows.unsqueeze(1), prototypes, dim=-1)
        want = want - weights[f"{side}_proto"] * sim.max(0).values.mean()
        want = want - weights[f"{side}_batch"] * sim.max(1).values.mean()
    assert float(found) == pytest.approx(want.item(), rel=1e-5)


def test_drawn_negatives_are_no_positives_and_leave_other_randomness_alone(toy):
    options = {"protomf_loss": "sampled_softmax", "protomf_negatives": 30}
    model, loaders = proto(toy, **options)
    train = UserLists.of_datasets([loaders[0]._dataset])
    batch = next(iter(loaders[0]))
    args = batch["user_id"], batch["item_id"], batch["neg_item_id"]
    twin = copy.deepcopy(model)
    before = torch.get_rng_state(), loaders[0].generator.get_state()
    negatives = model._negatives(*args)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(loaders[0].generator.get_state(), before[1])
    assert negatives.shape == (30, len(batch))
    assert not train.holds(batch["user_id"].repeat(30), negatives.flatten()).any()
    assert negatives.min() > 0
    assert torch.equal(twin._negatives(*args), negatives)  # a copy goes on as the model would
    again = model._negatives(*args)
    assert not torch.equal(again, negatives)  # and the model goes on
    fresh, _ = proto(toy, **options)
    fresh.load_state_dict(twin.state_dict())
    assert torch.equal(fresh._negatives(*args), again)  # state_dict holds where it is


def test_popular_negatives_are_popular(toy):
    options = {
        "protomf_loss": "sampled_softmax",
        "protomf_negatives": 40,
        "protomf_negative_distribution": "popularity",
    }
    model, loaders = proto(toy, **options)
    counts = torch.bincount(loaders[0]._dataset.inter_feat["item_id"], minlength=model.n_items)
    drawn = torch.zeros(model.n_items)
    for batch in loaders[0]:
        negatives = model._negatives(batch["user_id"], batch["item_id"], batch["neg_item_id"])
        drawn += torch.bincount(negatives[1:].flatten(), minlength=model.n_items)
    assert torch.corrcoef(torch.stack([drawn[1:], counts[1:].float()]))[0, 1] > 0.5
    assert drawn[counts == 0].sum() == 0


def test_pair_loss_draws_nothing(toy):
    model, _ = proto(toy)
    assert model.sampler is None
    assert not list(model.buffers())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("protomf_variant", "iu"),
        ("protomf_loss", "hinge"),
        ("protomf_user_prototypes", 0),
        ("protomf_item_prototypes", 2.5),
        ("protomf_negatives", 0),
        ("embedding_size", 0),
        ("protomf_negative_distribution", "zipf"),
        ("protomf_user_proto_weight", -1),
        ("protomf_user_batch_weight", "much"),
        ("protomf_item_proto_weight", -0.1),
        ("protomf_item_batch_weight", None),
    ],
)
def test_it_refuses_what_cannot_work_in_one_line(toy, option, value):
    with pytest.raises(ValueError, match=rf"^{option}={value}: [^\n]+$"):
        Config(config_dict=toy_options(toy, "ProtoMF", **{option: value}))
