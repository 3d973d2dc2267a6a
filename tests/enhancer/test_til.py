import contextlib
import csv
import doctest
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from contract import Contract
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.model.general_recommender.bpr import BPR
from recbole.model.general_recommender.neumf import NeuMF
from recbole.utils import InputType
from worlds import N_ITEMS, assemble, run_toy, toy_options

from recbole_enhance.config import Config
from recbole_enhance.enhancer import importance, lookahead
from recbole_enhance.enhancer.importance import WeightNet
from recbole_enhance.enhancer.til import BACKBONES, TILTrainer
from recbole_enhance.enhancer.til_backbones import adapt
from recbole_enhance.model import MODELS
from recbole_enhance.quick_start import resume_run

HERE = tuple(name for name in BACKBONES if name != "NCL"  # needs faiss
             and (name != "MultiGCCF" or name in MODELS))  # fmt: skip
SOME = ("BPR", "NeuMF", "LightGCN", "NGCF", "DGCF")
NOW = {"til_warmup_epochs": 0, "til_clusters": 5}
OPTIONS = {
    "ui": {},
    "mi": {"til_mode": "mi"},
    "released": {"til_released": True, "til_mode": "mi"},
    "double": {"til_hypergradient": "double"},
    "norm over all parameters": {"til_weights": "norm", "til_lookahead": "all"},
    "clip on fresh triplets": {"til_weights": "clip", "til_outer": "fresh"},
    "valid": {"til_outer": "valid", "til_mode": "mi", "til_hypergradient": "double"},
}
NEUTRAL = {name: options for name, options in OPTIONS.items() if name != "released"}


class TestContract(Contract):
    method = "TIL"
    backbones = HERE
    refused = ("MultiDAE", "SASRec", "Pop", "NNCF", "ConvNCF", "SGL", "FM", "EASE", "LINE", "EFM")

    def options_of(self, backbone):
        return NOW


def trainer_on(toy, backbone="BPR", model="TIL", **options):
    """A trainer that is ready for its first epoch, and its loaders."""
    own = {"backbone": backbone, **NOW} if model == "TIL" else {}
    options = {**own, "epochs": 0, "show_progress": False, **options}
    trainer, loaders = assemble(toy_options(toy, model, **options))
    trainer.fit(*loaders[:2])
    return trainer, loaders


def to_double(trainer):
    """Let a trainer calculate in double precision."""
    model = trainer.model.double()
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
                setattr(module, name, value.double())
    trainer.net.double()
    trainer.centres = trainer.centres.double()
    trainer.displaced = lookahead.Displaced(trainer.looked, model.buffers())


def weighted(trainer, batch, seed=0):
    """One weighted loss with its gradient, before the optimiser's step."""
    trainer._loss_of = trainer.model.calculate_loss
    torch.manual_seed(seed)
    random.seed(seed)
    trainer.model.train()
    trainer.optimizer.zero_grad()
    losses = trainer._weighted_loss(batch)
    total = sum(losses) if isinstance(losses, tuple) else losses
    total.backward()
    return total.detach(), trainer._step


def ready(toy, backbone="BPR", double=True, **options):
    """A trainer after some epochs of its backbone, and a batch."""
    slow = {"fast": False} if double else {}
    trainer, (train, _, _) = trainer_on(toy, backbone, **slow, **options)
    trainer.warmup_epochs = 99
    for epoch in range(3):
        trainer._train_epoch(train, epoch)
    trainer.warmup_epochs = 0
    trainer._find_centres(0)
    if double:
        to_double(trainer)
    return trainer, next(iter(train))


def plain_losses(trainer, batch, seed=0):
    """Losses of the triplets, unweighted, with their graph."""
    model, kept = trainer.model, []
    hook = trainer.criterion.register_forward_hook(lambda _, scores, __: kept.append(scores))
    torch.manual_seed(seed)
    random.seed(seed)
    model.calculate_loss(batch)
    hook.remove()
    positive, negative = kept[0]
    return -torch.log(1e-10 + torch.sigmoid(positive - negative))


def final_state(toy, model, **options):
    options = {"epochs": 3, "show_progress": False, **options}
    trainer, (train, valid, _) = assemble(toy_options(toy, model, **options))
    result = trainer.fit(train, valid)
    drawn = torch.rand(1).item(), random.random(), np.random.rand()
    return result, dict(trainer.model.state_dict()), drawn


# ---- neutral settings ----------------------------------------------------------------------


def assert_same(til, plain):
    assert til[0] == plain[0]
    for name, tensor in plain[1].items():
        assert torch.equal(til[1][name], tensor), name
    assert til[2] == plain[2]  # the backbone's random numbers were left alone


def equal_weights(self, state):
    return self.output(torch.relu(self.hidden(state))).squeeze(1) * 0 + 1


def class_of(backbone):
    return adapt(NeuMF) if backbone == "NeuMF" else backbone


@pytest.mark.parametrize("backbone", SOME)
def test_warm_up_is_the_backbone_bit_for_bit(toy, backbone):
    plain = final_state(toy, class_of(backbone))
    assert_same(final_state(toy, "TIL", backbone=backbone, til_warmup_epochs=3), plain)


@pytest.mark.parametrize("options", NEUTRAL.values(), ids=NEUTRAL)
@pytest.mark.parametrize("backbone", SOME)
def test_equal_weights_are_the_backbone_bit_for_bit(toy, backbone, options, monkeypatch):
    plain = final_state(toy, class_of(backbone))
    monkeypatch.setattr(WeightNet, "forward", equal_weights)
    assert_same(final_state(toy, "TIL", backbone=backbone, **{**NOW, **options}), plain)


@pytest.mark.parametrize("backbone", ["BPR", "NeuMF"])
def test_a_constant_weight_multiplies_the_gradient(toy, backbone, monkeypatch):
    monkeypatch.setattr(WeightNet, "forward", lambda self, s: s[:, 0] * 0 + 3)
    trainer, batch = ready(toy, backbone)
    loss, _ = weighted(trainer, batch)
    found = [p.grad for p in trainer.model.parameters()]
    plain = plain_losses(trainer, batch).mean()
    expected = torch.autograd.grad(plain, list(trainer.model.parameters()))
    assert loss == pytest.approx(3 * plain.item(), rel=1e-12)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, 3 * b, rtol=1e-10, atol=1e-16)


def test_triplet_neumf_is_bpr_of_its_logits(toy):
    trainer, batch = ready(toy, "NeuMF", dropout_prob=0.0)
    model = trainer.model
    assert model.input_type == InputType.PAIRWISE
    assert adapt(NeuMF).__name__ == "NeuMF"
    with torch.no_grad():
        scores = [model.forward(batch["user_id"], batch[f]) for f in ("item_id", "neg_item_id")]
        by_hand = -torch.sigmoid(scores[0] - scores[1]).log().mean()
        torch.testing.assert_close(model.calculate_loss(batch), by_hand)


# ---- the hypergradient ---------------------------------------------------------------------


def outer_loss_by_hand(trainer, batch, outer):
    """L_out(Theta - alpha grad L_in(Theta)) with the network as it is; nothing is left changed."""
    weighted(trainer, batch)
    gradients = [p.grad for p in trainer.looked]
    before = [p.detach().clone() for p in trainer.looked]
    with torch.no_grad():
        for p, g in zip(trainer.looked, gradients):
            p -= trainer.alpha * (0 if g is None else g)
        loss = plain_losses(trainer, outer).mean().item()
        for p, b in zip(trainer.looked, before):
            p.copy_(b)
    return loss


CASES = [
    (backbone, mode, released, scaling)
    for backbone in ("BPR", "NeuMF", "LightGCN", "NGCF", "SpectralCF")  # DGCF: float only
    for mode, released, scaling in (("ui", False, "raw"), ("mi", True, "norm"))
] + [("BPR", "mi", False, "norm"), ("BPR", "ui", True, "clip")]


@pytest.mark.parametrize("lookahead", ["emb", "all"])
@pytest.mark.parametrize(("backbone", "mode", "released", "scaling"), CASES)
def test_the_hypergradient_is_that_of_finite_differences(
    toy, backbone, mode, released, scaling, lookahead, monkeypatch
):
    """In the network, with a large alpha so that the lookahead is far from the parameters."""
    options = {"til_mode": mode, "til_released": released, "til_weights": scaling}
    trainer, batch = ready(
        toy, backbone, til_alpha=20.0, til_lookahead=lookahead, til_outer="fresh", **options
    )
    outer = trainer.triplets.draw(50, trainer.generator)
    monkeypatch.setattr(trainer, "_outer_batch", lambda step: outer)
    _, step = weighted(trainer, batch)
    central, _ = trainer._central_differences(step)
    trainer.hypergradient = "double"
    _, step = weighted(trainer, batch)
    double, _ = step.known
    trainer.hypergradient = "central"

    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        direction = [
            torch.randn(p.shape, generator=generator, dtype=torch.float64)
            for p in trainer.net.parameters()
        ]
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                for p, d in zip(trainer.net.parameters(), direction):
                    p += sign * 1e-6 * d
            sides.append(outer_loss_by_hand(trainer, batch, outer))
            with torch.no_grad():
                for p, d in zip(trainer.net.parameters(), direction):
                    p -= sign * 1e-6 * d
        slope = (sides[0] - sides[1]) / 2e-6
        size = sum((g * d).abs().sum().item() for g, d in zip(double, direction))
        # Kinks between the two sides of a difference are the larger step's.
        rough = 1e-3 if backbone in ("NeuMF", "NGCF") else 1e-5
        for found, error in ((double, 1e-5), (central, rough)):
            along = sum((g * d).sum().item() for g, d in zip(found, direction))
            assert along == pytest.approx(slope, rel=error, abs=error * size)
    assert max(g.abs().max() for g in double) > 0


@pytest.mark.parametrize("backbone", ["BPR", "NeuMF", "LightGCN", "NGCF"])
def test_differences_in_single_precision_are_near_the_truth(toy, backbone, monkeypatch):
    """Of each triplet's c_k = <grad l_k, v>, against one backward pass per triplet in double."""
    trainer, batch = ready(toy, backbone, double=False, fast=False)
    seen = {}

    def keep(plus, minus, alpha, step, objective=importance.lookahead_objective):
        seen["c"] = (plus.losses - minus.losses) / (2 * step)
        return objective(plus, minus, alpha, step)

    monkeypatch.setattr("recbole_enhance.enhancer.til.lookahead_objective", keep)
    _, step = weighted(trainer, batch)
    _, v = trainer._central_differences(step)
    v = [(part.to_dense() if part.is_sparse else part).double() for part in v]
    to_double(trainer)
    losses = plain_losses(trainer, batch)
    truth = []
    for loss in losses:
        gradients = lookahead.gradients_of(loss, trainer.looked, retain_graph=True)
        truth.append(sum((g * part).sum() for g, part in zip(gradients, v)))
    truth = torch.stack(truth)
    smooth = backbone in ("BPR", "LightGCN")  # the others have kinks between the two sides
    error = (seen["c"] - truth).abs()
    assert error.mean() < (1e-3 if smooth else 3e-2) * truth.abs().mean()
    assert error.max() < (1e-2 if smooth else 1) * truth.abs().mean()
    if smooth:  # the outer batch is the batch itself
        assert (truth > 0).double().mean() > 0.9


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("backbone", ["BPR", "LightGCN", "NGCF", "DGCF"])
def test_both_ways_agree_in_single_precision(toy, backbone, fast):
    """Also where graphs are compressed, whose product is an autograd function of its own."""
    trainer, batch = ready(toy, backbone, double=False, fast=fast)
    trainer.hypergradient = "double"
    _, step = weighted(trainer, batch)
    known, _ = step.known
    trainer.hypergradient = "central"
    _, step = weighted(trainer, batch)
    central, _ = trainer._central_differences(step)
    known, central = (torch.cat([g.flatten() for g in found]) for found in (known, central))
    assert known.norm() > 0
    assert (known - central).norm() < (5e-3 if backbone != "NGCF" else 5e-2) * known.norm()


@pytest.mark.parametrize("hypergradient", ["central", "double"])
def test_without_a_lookahead_there_is_no_gradient(toy, hypergradient):
    trainer, batch = ready(toy, til_alpha=0.0, til_hypergradient=hypergradient, double=False)
    _, step = weighted(trainer, batch)
    gradients, _ = step.known or trainer._central_differences(step)
    assert all((g == 0).all() for g in gradients)


def test_a_batch_that_helps_itself_gains_weight(toy, monkeypatch):
    trainer, batch = ready(toy, til_alpha=1e-3)
    for k in range(0, len(batch), 9):
        seen = {}
        monkeypatch.setattr(trainer, "_outer_batch", lambda step, k=k: step.batch[[k]])
        monkeypatch.setattr(
            "recbole_enhance.enhancer.til.lookahead_objective",
            lambda plus, minus, *rest, seen=seen: seen.update(c=plus.losses - minus.losses)
            or importance.lookahead_objective(plus, minus, *rest),
        )
        _, step = weighted(trainer, batch)
        trainer._central_differences(step)
        assert seen["c"][k] > 0


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("backbone", ["BPR", "NeuMF", "LightGCN", "NGCF"])
def test_the_lookahead_changes_nothing_but_the_network(toy, backbone, options):
    trainer, (train, _, _) = trainer_on(toy, backbone, **options)
    trainer._train_epoch(train, 0)
    _, step = weighted(trainer, next(iter(train)))
    states = [trainer.model.state_dict(), trainer.optimizer.state_dict()["state"]]
    gradients = {n: p.grad for n, p in trainer.model.named_parameters()}
    before = [
        {n: v.clone() for n, v in states[0].items()},
        {i: {n: v.clone() for n, v in row.items()} for i, row in states[1].items()},
        {n: None if g is None else g.clone() for n, g in gradients.items()},
    ]
    pointers = [p.data_ptr() for p in trainer.model.parameters()]
    drawn = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    phi = [p.detach().clone() for p in trainer.net.parameters()]
    step.known = step.known or trainer._central_differences(step)
    assert torch.equal(torch.get_rng_state(), drawn[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == drawn[1:]
    trainer.released = False  # what it adds to the gradient has a test of its own
    trainer._before_step()
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, before[0][name]), name
    for i, row in trainer.optimizer.state_dict()["state"].items():
        assert all(torch.equal(v, before[1][i][n]) for n, v in row.items())
    for name, p in trainer.model.named_parameters():
        assert (p.grad is None and before[2][name] is None) or torch.equal(p.grad, before[2][name])
    assert [p.data_ptr() for p in trainer.model.parameters()] == pointers
    assert not any(torch.equal(p, q) for p, q in zip(trainer.net.parameters(), phi))
    assert not any(table.sparse for table in trainer.tables)


@pytest.mark.parametrize("backbone", ["NeuMF", "NGCF", "DGCF"])
def test_all_passes_see_the_same_noise(toy, backbone):
    options = {"dropout_prob": 0.5} if backbone == "NeuMF" else {}
    options = {"message_dropout": 0.5} if backbone == "NGCF" else options
    trainer, batch = ready(toy, backbone, backbone != "DGCF", til_alpha=0.0, **options)
    losses, original = [], trainer._loss_under

    def spy(weigh, batch):
        def see(found):
            losses.append(found.clone())
            return weigh(found)

        return original(see, batch)

    trainer._loss_under = spy
    _, step = weighted(trainer, batch)
    step.repeat_noise()
    outer = trainer._outer_loss(batch)
    assert outer.item() == losses[0].mean().item()
    trainer._central_differences(step)
    between = (losses[1] + losses[2]) / 2
    error = (between - losses[0]).abs().max()  # another mask would be an error of some 0.1
    assert error < (1e-3 if backbone == "DGCF" else 1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=4), st.booleans())
def test_displaced_parameters_come_back_bit_for_bit(seed, moves, fails):
    generator = torch.Generator().manual_seed(seed)
    table = torch.nn.Embedding(9, 3)
    weights = [table.weight, torch.nn.Parameter(torch.randn(4, generator=generator))]
    buffer = torch.randn(2, generator=generator)
    before = [p.detach().clone() for p in (*weights, buffer)]
    displaced = lookahead.Displaced(weights, [buffer])
    with contextlib.suppress(ZeroDivisionError), displaced:
        for number, move in enumerate(moves):
            dense = torch.zeros(9, 3)
            rows = torch.randint(9, (5,), generator=generator)
            dense[rows] = torch.randn(5, 3, generator=generator)
            other = torch.randn(4, generator=generator)
            first = dense.to_sparse(1).coalesce() if (number + seed) % 2 else dense
            displaced.by(move, [first, other])
            torch.testing.assert_close(table.weight.detach(), before[0] + move * dense)
            torch.testing.assert_close(weights[1].detach(), before[1] + move * other)
            buffer += 1
        if fails:
            raise ZeroDivisionError
    for tensor, was in zip((*weights, buffer), before):
        assert torch.equal(tensor.detach(), was)


# ---- backbones of one's own ----------------------------------------------------------------


class Normalised(BPR):
    """Counts its passes in buffers, and has noise."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.norm, self.drop = torch.nn.BatchNorm1d(self.embedding_size), torch.nn.Dropout(0.2)

    def forward(self, user, item):
        user, item = super().forward(user, item)
        return self.drop(self.norm(user)), item


class Twice(BPR):
    def calculate_loss(self, interaction):
        return super().calculate_loss(interaction) + super().calculate_loss(interaction)


class NoTables(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.catalogue, self.item_embedding = self.item_embedding, None


class OwnLoss(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        del self.loss
        self.loss = lambda positive, negative: (negative - positive).mean()


@pytest.mark.parametrize("options", NEUTRAL.values(), ids=NEUTRAL)
def test_a_backbone_of_ones_own_is_neutral_too(toy, options, monkeypatch):
    plain = final_state(toy, Normalised)
    monkeypatch.setattr(WeightNet, "forward", equal_weights)
    assert_same(final_state(toy, "TIL", backbone=Normalised, **{**NOW, **options}), plain)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (Twice, "backbone=Twice: TIL needs one loss of each triplet, once"),
        (NoTables, "backbone=NoTables: TIL needs embedding tables of users and of items"),
        (OwnLoss, "backbone=OwnLoss: 0 loss modules with one loss per sample, 1 is needed"),
    ],
)
def test_a_backbone_of_ones_own_that_cannot_work_is_told_why(toy, backbone, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        run_toy(toy, "TIL", backbone=backbone, saved=False, **NOW)


# ---- the release ---------------------------------------------------------------------------


@pytest.mark.parametrize("hypergradient", ["central", "double"])
def test_the_release_adds_the_plain_gradient(toy, hypergradient):
    trainer, batch = ready(toy, til_released=True, til_hypergradient=hypergradient, til_alpha=0.1)
    weighted(trainer, batch)
    before = torch.cat([p.grad.flatten().clone() for p in trainer.looked])
    trainer._before_step()
    extra = torch.cat([p.grad.flatten() for p in trainer.looked]) - before
    plain = torch.autograd.grad(plain_losses(trainer, batch).mean(), trainer.looked)
    plain = torch.cat([g.flatten() for g in plain])
    assert torch.cosine_similarity(extra, plain, dim=0) > 0.9999
    assert (extra.norm() / plain.norm()).item() == pytest.approx(1, abs=0.01)


def test_gradients_flow_through_states_only_in_the_release(toy):
    found = {}
    for released in (False, True):
        trainer, batch = ready(toy, til_released=released)
        losses = plain_losses(trainer, batch)
        _, step = weighted(trainer, batch)
        w = step.weights.detach()
        expected = torch.autograd.grad((w * losses).mean(), trainer.looked)
        found[released] = all(
            torch.allclose(p.grad, g, atol=1e-12) for p, g in zip(trainer.looked, expected)
        )
    assert found == {False: True, True: False}


# ---- states, weights, outer batches --------------------------------------------------------


def test_centres_are_means_of_what_they_say(toy):
    trainer, (train, _, _) = trainer_on(toy, til_mode="ui")
    trainer._find_centres(0)
    rows, items = train._dataset.inter_feat, trainer.items.weight.detach()
    for user in range(trainer.model.n_users):
        mine = rows["item_id"][rows["user_id"] == user]
        expected = items[mine].mean(0) if len(mine) else torch.zeros(items.shape[1])
        torch.testing.assert_close(trainer.centres[user], expected)
    trainer, _ = trainer_on(toy, til_mode="mi")
    trainer._find_centres(0)
    items = trainer.items.weight.detach()
    assert trainer.cluster.shape == (N_ITEMS + 1,)
    for c in range(5):
        members = (trainer.cluster[1:] == c).nonzero().squeeze(1) + 1
        torch.testing.assert_close(trainer.centres[c], items[members].mean(0))
    before = trainer.cluster.clone()
    with torch.no_grad():
        trainer.items.weight.normal_(generator=torch.Generator().manual_seed(5))
    trainer._find_centres(1)
    assert torch.equal(trainer.cluster, before)  # the clusters stay, the centres follow
    trainer._find_centres(trainer.refit_epochs)
    assert not torch.equal(trainer.cluster, before)


def test_one_cluster_has_the_mean_of_all_items(toy):
    trainer, _ = trainer_on(toy, til_mode="mi", til_clusters=1)
    with torch.no_grad():
        trainer.items.weight[0] = 1e6  # padding is nobody's item
    trainer._find_centres(0)
    torch.testing.assert_close(trainer.centres[0], trainer.items.weight[1:].detach().mean(0))
    assert (trainer.cluster == 0).all()


@pytest.mark.parametrize("mode", ["ui", "mi"])
def test_states_are_the_products_they_say(toy, mode):
    trainer, (train, _, _) = trainer_on(toy, til_mode=mode)
    trainer._find_centres(0)
    batch, seen = next(iter(train)), []
    trainer.net.register_forward_pre_hook(lambda _, s: seen.append(s[0]))
    trainer.weigh(batch, False)
    (state,) = seen
    d = trainer.items.embedding_dim
    for row in range(0, len(batch), 7):
        u = trainer.users.weight[batch["user_id"][row]]
        for half, field in enumerate(("item_id", "neg_item_id")):
            v = trainer.items.weight[batch[field][row]]
            if mode == "ui":
                c = trainer.centres[batch["user_id"][row]]
                expected = u * v + c * v
            else:
                c = trainer.centres[trainer.cluster[batch[field][row]]]
                expected = u * v + u * c + c * v
            torch.testing.assert_close(state[row, half * d : half * d + d], expected)


def test_weights_are_scaled_as_asked(toy, generator):
    h = torch.rand(50, generator=generator) * 9
    assert importance.scale(h, "norm").mean().item() == pytest.approx(1, abs=1e-6)
    assert torch.equal(importance.scale(h, "clip"), h.clamp(max=5))
    assert importance.scale(h, "raw") is h
    trainer, batch = ready(toy, til_weights="norm", double=False)
    _, step = weighted(trainer, batch)
    assert step.weights.mean().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("outer", ["fresh", "valid"])
def test_outer_batches_are_of_what_they_say(toy, outer):
    trainer, (train, valid, test) = trainer_on(toy, til_outer=outer)
    pairs = [
        set(zip(*(part._dataset.inter_feat[f].tolist() for f in ("user_id", "item_id"))))
        for part in (train, valid, test)
    ]
    drawn = trainer.triplets.draw(4000, trainer.generator)
    positives = set(zip(drawn["user_id"].tolist(), drawn["item_id"].tolist()))
    negatives = set(zip(drawn["user_id"].tolist(), drawn["neg_item_id"].tolist()))
    assert positives <= pairs[outer == "valid"]
    assert len(positives) > 0.9 * len(pairs[outer == "valid"])
    assert not negatives & pairs[0]
    assert outer == "fresh" or not negatives & pairs[1]
    assert min(drawn["neg_item_id"]) > 0


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_padding_gets_no_gradient(toy, options):
    trainer, _ = trainer_on(toy, epochs=3, **options)
    start, _ = trainer_on(toy)
    for mine, fresh in zip((trainer.users, trainer.items), (start.users, start.items)):
        assert torch.equal(mine.weight[0], fresh.weight[0])
        assert not torch.equal(mine.weight[1:], fresh.weight[1:])


def test_several_negatives_per_positive_train(toy):
    trainer, (train, _, _) = trainer_on(
        toy, train_neg_sample_args={"sample_num": 3}, til_outer="fresh"
    )
    trainer._train_epoch(train, 0)
    assert trainer.log_epoch()["til_gradient"] > 0


# ---- learning ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["ui", "mi"])
@pytest.mark.parametrize("seed", range(3))
def test_noise_loses_weight_on_fresh_triplets(toy, mode, seed):
    """In the toy, what a user rates 2 was drawn against the user's taste."""
    trainer, (train, valid, _) = assemble(toy_options(
        toy, "TIL", til_outer="fresh", til_weights="norm", til_mode=mode, til_clusters=4,
        til_warmup_epochs=5, til_learning_rate=0.01, til_weight_decay=0.0, learning_rate=0.003,
        train_batch_size=512, epochs=40, eval_step=40, seed=seed, show_progress=False,
    ))  # fmt: skip
    trainer.fit(train, valid)
    sums, n = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for _ in range(5):  # with other negatives
        for batch in train:
            w = trainer.weigh(batch, False).detach()
            for clean in sums:
                chosen = (batch["rating"] > 4) == clean
                sums[clean] += w[chosen].sum().item()
                n[clean] += int(chosen.sum())
    assert sums[False] / n[False] < 0.97 * sums[True] / n[True]


def test_every_parameter_of_the_network_moves(toy):
    trainer, (train, _, _) = trainer_on(toy, til_weight_decay=0.0)
    before = [p.detach().clone() for p in trainer.net.parameters()]
    trainer._train_epoch(train, 0)
    for p, q in zip(trainer.net.parameters(), before):
        assert p.isfinite().all()
        assert not torch.equal(p, q)
    assert not any(n.startswith("net") for n, _ in trainer.model.named_parameters())


def test_the_history_holds_weights_and_gradient(toy):
    result = run_toy(toy, "TIL", til_warmup_epochs=1)
    with open(Path(result["run_dir"], "history.csv")) as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["til_weight_mean"] == ""
    for row in rows[1:]:
        least, mean, most = (float(row[f"til_weight_{n}"]) for n in ("min", "mean", "max"))
        assert 0 < least < mean < most
        assert float(row["til_gradient"]) > 0


# ---- refusing and resuming -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"til_mode": "xx"}, "til_mode=xx: must be one of ui, mi"),
        ({"til_outer": "test"}, "til_outer=test: must be one of same, fresh, valid"),
        ({"til_lookahead": 1}, "til_lookahead=1: must be one of emb, all"),
        ({"til_weights": "soft"}, "til_weights=soft: must be one of raw, clip, norm"),
        ({"til_hypergradient": "x"}, "til_hypergradient=x: must be one of central, double"),
        ({"til_alpha": -0.1}, "til_alpha=-0.1: must be at least 0"),
        ({"til_clusters": 0}, "til_clusters=0: must be a whole number above 0"),
        ({"til_hidden_size": 2.5}, "til_hidden_size=2.5: must be a whole number above 0"),
        ({"til_refit_epochs": 0}, "til_refit_epochs=0: must be a whole number above 0"),
        ({"til_warmup_epochs": -1}, "til_warmup_epochs=-1: must be a whole number, at least 0"),
        ({"til_learning_rate": 0}, "til_learning_rate=0: must be above 0"),
        ({"til_weight_decay": -1}, "til_weight_decay=-1: must be at least 0"),
        ({"til_released": 2}, "til_released=2: true or false is expected"),
        ({"enable_scaler": True}, "enable_scaler=True: must be False"),
    ],
)
def test_bad_options_are_refused_before_data_are_read(toy, option, message):
    with pytest.raises(ValueError, match=f"^{message}") as error:
        Config(config_dict=toy_options(toy, "TIL", **option))
    assert "\n" not in str(error.value)


def test_more_clusters_than_items_are_refused(toy):
    message = f"til_clusters=99: at most the number of items, {N_ITEMS}"
    with pytest.raises(ValueError, match=message):
        trainer_on(toy, til_mode="mi", til_clusters=99)
    trainer_on(toy, til_mode="ui", til_clusters=99)  # has none


def test_held_out_labels_must_be_there(toy):
    with pytest.raises(ValueError, match="til_outer=valid: needs validation interactions"):
        trainer_on(toy, til_outer="valid", eval_args={"split": {"RS": [0.8, 0.0, 0.2]}})


@pytest.mark.parametrize(
    ("backbone", "options"),
    [("BPR", {"til_mode": "mi", "til_outer": "fresh", "til_refit_epochs": 2}), ("NeuMF", {})],
)
def test_it_resumes_to_the_same_numbers(toy, monkeypatch, backbone, options):
    options = {"backbone": backbone, "epochs": 5, **NOW, "til_warmup_epochs": 1, **options}
    whole = run_toy(toy, "TIL", **options)
    log_epoch = TILTrainer.log_epoch

    def stop(self):
        if len(self.history) == 3:
            raise KeyboardInterrupt
        return log_epoch(self)

    with monkeypatch.context() as patch:
        patch.setattr(TILTrainer, "log_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, "TIL", run_dir="stopped", **options)
    resumed = resume_run("stopped", quiet=True)
    assert {**resumed, "run_dir": 0} == {**whole, "run_dir": 0}
    rows = []
    for folder in ("stopped", whole["run_dir"]):
        with open(Path(folder, "history.csv")) as file:
            rows.append([
                {k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)
            ])  # fmt: skip
    assert rows[0] == rows[1]


def test_examples():
    for module in (importance, lookahead):
        assert doctest.testmod(module).failed == 0
