from pathlib import Path

import pytest
import torch

from recbole_enhance.enhancer.rer import (
    BACKBONES,
    adversarial_features,
    adversarial_parameters,
    parameter_names,
    total,
)
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import run_recbole_enhance
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.comparing import trained
from recbole_enhance.testing.contract import Contract
from recbole_enhance.testing.worlds import assemble, feature_toy_options, toy_options

OTHERS = ("MultiDAE", "SASRec", "Pop", "FM", "EASE", "MultiVAE", "RecVAE", "DiffRec", "ItemKNN")


NEUTRAL = (
    {"rer_lambda": 0},
    {"rer_eps": 0},
    {"rer_lambda": 0, "rer_combine": "additive"},
    {"rer_start_epoch": 3},  # later than the last
    {"rer_eps": 0.0, "rer_steps": 3, "rer_lambda": 0.3},
)
BAD = (
    ("rer_lambda", -0.1),
    ("rer_lambda", 1.5),
    ("rer_eps", -1),
    ("rer_target", "feature"),
    ("rer_norm", "l1"),
    ("rer_steps", 0),
    ("rer_combine", "sum"),
    ("rer_mask", "some"),
    ("rer_start_epoch", -1),
    ("rer_start_epoch", 0.5),
    ("rer_params", "("),
    ("rer_params", 3),
)


class TestContract(Contract):
    """Features, the default target."""

    method = "RER"
    backbones = ("CER", "EFM")
    refused = ("BPR", "LightGCN", *OTHERS)
    neutral = NEUTRAL
    bad_options = tuple(({name: value}, f"{name}={value}: ") for name, value in BAD)


class TestContractOnReviews(TestContract):
    """Features from reviews."""

    refused = ()

    @pytest.fixture
    def toy(self, reviews):
        return reviews

    def run_options(self, toy, model, **options):
        return feature_toy_options(toy, model, **options)


class TestContractOfParameters(Contract):
    """Parameters of any general model."""

    method = "RER"
    backbones = tuple(name for name in BACKBONES if name != "NCL")  # needs faiss
    refused = OTHERS
    neutral = NEUTRAL
    neutral_over = ("BPR", "NeuMF", "LightGCN")
    bad_options = (({"rer_eps": -1}, "rer_eps=-1: "), ({"rer_params": "("}, "rer_params=(: "))

    def options_of(self, backbone):
        options = {"rer_target": "params", "rer_eps": 0.01}
        small = {"ConvNCF": {"embedding_size": 64}}
        return {**options, **small.get(backbone, {})}


def on(reviews, model="RER", **options):
    trainer, loaders = assemble(feature_toy_options(reviews, model, **options))
    return trainer, loaders


def batches(loaders):
    return list(loaders[0])


# ---- features: e1, e2, e5 --------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["CER", "EFM"])
def test_the_gain_is_the_first_order_one(reviews, backbone):
    """L(Y + eps sign g) - L(Y) = eps |g|_1, and <g, Y' - Y> where Y' is clipped."""
    trainer, loaders = on(reviews, backbone=backbone)
    model = trainer.model.double()
    eps = 1e-4
    for batch in batches(loaders):
        for column in ("label", "rating"):
            if column in batch.columns:
                batch.interaction[column] = batch[column].double()
        clean, _, features, g = adversarial_features(model, batch, eps)
        items, place = torch.unique(batch["item_id"], return_inverse=True)
        rows = model.item_features(items)
        free = model.calculate_loss(batch, (rows + eps * g.sign())[place])
        assert (free - clean).item() == pytest.approx(eps * g.abs().sum().item(), rel=0.02)
        clipped = model.calculate_loss(batch, features)
        change = torch.zeros_like(rows)
        change[place] = features - rows[place]
        assert (clipped - clean).item() == pytest.approx((g * change).sum().item(), rel=0.02)


@pytest.mark.parametrize("backbone", ["CER", "EFM"])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_attack_raises_the_loss_of_every_batch(reviews, backbone, steps):
    trainer, loaders = on(reviews, backbone=backbone)
    trainer.fit(*loaders[:2])
    for batch in batches(loaders):
        clean, attacked, features, _ = adversarial_features(trainer.model, batch, 0.5, steps=steps)
        assert torch.allclose(attacked, trainer.model.calculate_loss(batch, features))
        assert attacked > clean


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("mask", ["all", "mentioned"])
def test_perturbed_features_keep_range_budget_and_mask(reviews, norm, steps, mask):
    trainer, loaders = on(reviews)
    model, eps = trainer.model, 0.7
    before = model.item_feature_matrix.clone()
    for batch in batches(loaders):
        model.zero_grad()
        _, _, features, g = adversarial_features(model, batch, eps, norm, steps, mask)
        rows = before[batch["item_id"]]
        assert ((features >= 0) & (features <= 5)).all()
        change = features - rows
        size = change.abs() if norm == "linf" else change.norm(dim=1)
        assert (size <= eps + 1e-5).all()
        if mask == "mentioned":
            assert (change[rows == 0] == 0).all()
        items, place = torch.unique(batch["item_id"], return_inverse=True)
        for number in range(len(items)):  # an item that occurs twice gets one perturbation
            same = features[place == number]
            assert torch.equal(same, same[:1].expand_as(same))
        assert len(g) == len(items)
        assert all(p.grad is None for p in model.parameters())
    assert torch.equal(model.item_feature_matrix, before)


def test_efm_has_a_closed_form(reviews):
    """Delta = eps sign(Y - Ŷ): L(Y') - L(Y) = lambda_y mean(2 eps |r| + eps^2), r = Ŷ - Y."""
    trainer, loaders = on(reviews, backbone="EFM")
    model, eps = trainer.model, 0.3
    for batch in batches(loaders):
        items, place = torch.unique(batch["item_id"], return_inverse=True)
        clean, _, _, g = adversarial_features(model, batch, eps)
        rows = model.item_features(items)
        free = (rows + eps * g.sign())[place]  # not clipped
        _, u2, v = model._explicit(batch["user_id"], batch["item_id"])
        y = rows[place]
        r, seen = (u2 @ v.T - y).abs(), y > 0
        gain = ((2 * eps * r + eps**2) * seen).sum(1) / seen.sum(1).clamp(min=1)
        assert (model.calculate_loss(batch, free) - clean).item() == pytest.approx(
            gain.mean().item(), rel=1e-3
        )
        assert (g[rows == 0] == 0).all()  # what nobody mentioned is no target


# ---- parameters: e11 -------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("backbone", ["BPR", "LightGCN", "NeuMF"])
def test_the_gain_over_parameters_is_the_first_order_one(toy, backbone, norm):
    options = toy_options(toy, "RER", backbone=backbone, rer_target="params", dropout_prob=0.0)
    options.pop("dropout_prob") if backbone != "NeuMF" else None
    trainer, loaders = assemble({**options, "show_progress": False})
    model = trainer.model.double()
    if backbone == "LightGCN":
        model.norm_adj_matrix = model.norm_adj_matrix.double()
    names, parameters = trainer.names, dict(model.named_parameters())
    # RecBole's EmbLoss makes LightGCN's loss single precision again: a smaller step would drown.
    eps = 1e-3 if backbone == "LightGCN" else 1e-6
    for batch in batches(loaders)[:3]:
        if "label" in batch.columns:
            batch.interaction["label"] = batch["label"].double()
        before = {name: p.detach().clone() for name, p in parameters.items()}
        loss = model.calculate_loss
        clean, attacked = adversarial_parameters(loss, model, names, batch, eps, norm)
        grads = torch.autograd.grad(total(loss(batch)), [parameters[n] for n in names])
        length = sum(
            float(g.abs().sum() if norm == "linf" else g.norm(dim=-1).sum()) for g in grads
        )
        assert (attacked - clean).item() == pytest.approx(eps * length, rel=0.03)
        for name, p in parameters.items():
            assert torch.equal(p, before[name]), name
            assert p.grad is None
        (attacked).backward()  # and the stored parameters learn from it
        assert any(parameters[name].grad.abs().sum() > 0 for name in names)
        model.zero_grad()


def test_no_budget_is_the_clean_loss(toy):
    trainer, loaders = assemble(
        toy_options(toy, "RER", backbone="BPR", rer_target="params", show_progress=False)
    )
    batch, model = next(iter(loaders[0])), trainer.model
    clean, attacked = adversarial_parameters(model.calculate_loss, model, trainer.names, batch, 0.0)
    assert torch.equal(clean, attacked)


@pytest.mark.parametrize("steps", [2, 5])
def test_more_steps_attack_harder(toy, steps):
    trainer, loaders = assemble(
        toy_options(toy, "RER", backbone="BPR", rer_target="params", show_progress=False)
    )
    model = trainer.model
    for batch in batches(loaders)[:3]:
        loss = model.calculate_loss
        _, once = adversarial_parameters(loss, model, trainer.names, batch, 0.5, "l2", 1)
        _, more = adversarial_parameters(loss, model, trainer.names, batch, 0.5, "l2", steps)
        assert more > once * 0.98


def test_which_parameters_are_perturbed(toy, reviews):
    bpr = assemble(toy_options(toy, "BPR"))[0].model
    cer = assemble(feature_toy_options(reviews, "CER"))[0].model
    neumf = assemble(toy_options(toy, "NeuMF"))[0].model
    assert parameter_names(bpr, None) == ["user_embedding.weight", "item_embedding.weight"]
    assert parameter_names(bpr, "^item") == ["item_embedding.weight"]
    assert len(parameter_names(cer, None)) == len(list(cer.parameters()))
    assert all("embedding" in name for name in parameter_names(neumf, None))
    with pytest.raises(ValueError, match="rer_params=nothing: no parameter has such a name"):
        parameter_names(bpr, "nothing")


# ---- training: e3, e4 ------------------------------------------------------------------------


def test_both_losses_add_up_as_said(reviews):
    for combine, weight in (("convex", 0.7), ("additive", 1.0)):
        trainer, loaders = on(reviews, rer_lambda=0.3, rer_combine=combine)
        batch, model = next(iter(loaders[0])), trainer.model
        clean, attacked = trainer.adversarial_loss(model.calculate_loss, batch)
        loss, _, features, _ = adversarial_features(model, batch, trainer.eps)
        assert torch.allclose(clean, weight * loss)
        assert torch.allclose(attacked, 0.3 * model.calculate_loss(batch, features))
    trainer, loaders = on(reviews, rer_lambda=1.0)
    clean, attacked = trainer.adversarial_loss(trainer.model.calculate_loss, batch)
    assert clean.item() == 0
    assert attacked.item() > 0


def test_it_starts_when_told_and_logs_both_losses(reviews):
    options = feature_toy_options(reviews, "RER", rer_start_epoch=1, eval_step=0)
    rows = history_rows(Path(run_recbole_enhance(config_dict=options)["run_dir"]))
    assert [bool(row["rer_attacked_loss"]) for row in rows] == [False, True, True]
    assert all(float(r["rer_attacked_loss"]) > float(r["rer_clean_loss"]) for r in rows[1:])


@pytest.mark.parametrize(
    "options",
    [
        {"rer_steps": 3},
        {"rer_norm": "l2"},
        {"rer_mask": "mentioned"},
        {"rer_target": "params"},
        {"rer_combine": "additive", "rer_lambda": 2.0},
        {"rer_target": "params", "rer_steps": 2},
    ],
    ids=str,
)
def test_every_variant_trains_and_differs_from_the_backbone(reviews, options):
    plain = trained(feature_toy_options(reviews, "CER"))
    ours = trained(feature_toy_options(reviews, "RER", **{"rer_eps": 0.1, **options}))
    assert any(not torch.equal(ours[1][name], plain[1][name]) for name in plain[1])
    assert all(t.isfinite().all() for t in ours[1].values())


def test_training_lowers_the_attacked_loss(reviews):
    """What the method is for: after it, the same attack gains less."""
    gains = {}
    for model in ("CER", "RER"):
        trainer, loaders = on(reviews, model, epochs=15, eval_step=0)
        trainer.fit(*loaders[:2])
        net, gain = trainer.model, []
        for batch in batches(loaders):
            found = adversarial_features(net, batch, 0.5)
            gain.append((found.attacked - found.clean).item())
        gains[model] = sum(gain)
    assert gains["RER"] < 0.7 * gains["CER"]


def test_a_model_without_item_features_is_told_what_works(toy):
    with pytest.raises(ValueError, match="backbone=BPR: has no item features") as error:
        Config(config_dict=toy_options(toy, "RER", backbone="BPR"))
    for word in ("CER", "EFM", "rer_target=params", "LightGCN"):
        assert word in str(error.value)
    assert "\n" not in str(error.value)
