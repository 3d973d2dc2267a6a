import contextlib
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from til_trainers import OPTIONS, plain_losses, ready, to_double, trainer_on, weighted

from recbole_enhance.enhancer.til import importance, lookahead

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


def difference(trainer, batch, outer, direction, h):
    """Central difference of the outer loss along a direction of the network's parameters."""
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(trainer.weights.net.parameters(), direction):
                p += sign * h * d
        sides.append(outer_loss_by_hand(trainer, batch, outer))
        with torch.no_grad():
            for p, d in zip(trainer.weights.net.parameters(), direction):
                p -= sign * h * d
    return (sides[0] - sides[1]) / (2 * h)


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
            for p in trainer.weights.net.parameters()
        ]
        slopes = [difference(trainer, batch, outer, direction, h) for h in (1e-6, 1e-7, 1e-8)]
        size = sum((g * d).abs().sum().item() for g, d in zip(double, direction))
        # Kinks between the two sides of a difference are the larger step's.
        rough = 1e-3 if backbone in ("NeuMF", "NGCF") else 1e-5
        for found, error in ((double, 1e-5), (central, rough)):
            along = sum((g * d).sum().item() for g, d in zip(found, direction))
            # A kink between the sides spoils a difference, where it lies depends on the machine's
            # rounding, and smaller steps pass it by.
            near = [along == pytest.approx(s, rel=error, abs=error * size) for s in slopes]
            assert any(near), (along, slopes)
    assert max(g.abs().max() for g in double) > 0


@pytest.mark.parametrize("backbone", ["BPR", "NeuMF", "LightGCN", "NGCF"])
def test_differences_in_single_precision_are_near_the_truth(toy, backbone, monkeypatch):
    """Of each triplet's c_k = <grad l_k, v>, against one backward pass per triplet in double."""
    trainer, batch = ready(toy, backbone, double=False, fast=False)
    seen = {}

    def keep(plus, minus, alpha, step, objective=importance.lookahead_objective):
        seen["c"] = (plus.losses - minus.losses) / (2 * step)
        return objective(plus, minus, alpha, step)

    monkeypatch.setattr("recbole_enhance.enhancer.til.method.lookahead_objective", keep)
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
            "recbole_enhance.enhancer.til.method.lookahead_objective",
            lambda plus, minus, *rest, seen=seen: (
                seen.update(c=plus.losses - minus.losses)
                or importance.lookahead_objective(plus, minus, *rest)
            ),
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
    phi = [p.detach().clone() for p in trainer.weights.net.parameters()]
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
    assert not any(torch.equal(p, q) for p, q in zip(trainer.weights.net.parameters(), phi))
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
