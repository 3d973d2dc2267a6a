import csv
from pathlib import Path

import pytest
import torch
from recbole.model.general_recommender.bpr import BPR
from recbole.model.general_recommender.neumf import NeuMF
from recbole.utils import InputType
from til_trainers import (
    NEUTRAL,
    NOW,
    OPTIONS,
    final_state,
    plain_losses,
    ready,
    trainer_on,
    weighted,
)

from recbole_enhance.enhancer.til import importance
from recbole_enhance.enhancer.til.importance import WeightNet
from recbole_enhance.enhancer.triplets import BACKBONES, pairwise
from recbole_enhance.model import MODELS
from recbole_enhance.testing.comparing import assert_same
from recbole_enhance.testing.contract import Contract
from recbole_enhance.testing.worlds import N_ITEMS, assemble, run_toy, toy_options

HERE = tuple(
    name
    for name in BACKBONES
    if name != "NCL"  # needs faiss
    and (name != "MultiGCCF" or name in MODELS)
)
SOME = ("BPR", "NeuMF", "LightGCN", "NGCF", "DGCF")


class TestContract(Contract):
    method = "TIL"
    backbones = HERE
    refused = ("MultiDAE", "SASRec", "Pop", "NNCF", "ConvNCF", "SGL", "FM", "EASE", "LINE", "EFM")
    neutral = ({"til_warmup_epochs": 3},)  # all epochs there are
    resumed = (
        {
            "til_warmup_epochs": 1,
            "til_mode": "mi",
            "til_outer": "fresh",
            "til_refit_epochs": 2,
        },
        {"backbone": "NeuMF", "til_warmup_epochs": 1},
    )
    bad_options = (
        ({"til_mode": "xx"}, "til_mode=xx: must be one of ui, mi"),
        ({"til_outer": "test"}, "til_outer=test: must be one of same, fresh, valid"),
        ({"til_lookahead": 1}, "til_lookahead=1: must be one of emb, all"),
        ({"til_weights": "soft"}, "til_weights=soft: must be one of raw, clip, norm"),
        ({"til_hypergradient": "x"}, "til_hypergradient=x: must be one of central, double"),
        ({"til_alpha": -0.1}, "til_alpha=-0.1: must be at least 0"),
        ({"til_clusters": 0}, "til_clusters=0: must be a whole number above 0"),
        ({"til_refit_epochs": 0}, "til_refit_epochs=0: must be a whole number above 0"),
        ({"til_warmup_epochs": -1}, "til_warmup_epochs=-1: must be a whole number between 0 and"),
        ({"til_learning_rate": 0}, "til_learning_rate=0: must be above 0"),
        ({"til_weight_decay": -1}, "til_weight_decay=-1: must be at least 0"),
        ({"til_released": 2}, "til_released=2: true or false is expected"),
        ({"enable_scaler": True}, "enable_scaler=True: must be False"),
    )

    def options_of(self, backbone):
        return NOW


# ---- neutral settings ----------------------------------------------------------------------


def equal_weights(self, state):
    return self.output(torch.relu(self.hidden(state))).squeeze(1) * 0 + 1


def class_of(backbone):
    return pairwise(NeuMF) if backbone == "NeuMF" else backbone


@pytest.mark.parametrize("options", NEUTRAL.values(), ids=NEUTRAL)
@pytest.mark.parametrize("backbone", SOME)
def test_equal_weights_are_the_backbone_bit_for_bit(toy, backbone, options, monkeypatch):
    plain = final_state(toy, class_of(backbone))
    monkeypatch.setattr(WeightNet, "forward", equal_weights)
    assert_same(plain, final_state(toy, "TIL", backbone=backbone, **{**NOW, **options}))


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
    assert pairwise(NeuMF).__name__ == "NeuMF"
    with torch.no_grad():
        scores = [model.forward(batch["user_id"], batch[f]) for f in ("item_id", "neg_item_id")]
        by_hand = -torch.sigmoid(scores[0] - scores[1]).log().mean()
        torch.testing.assert_close(model.calculate_loss(batch), by_hand)


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
    assert_same(plain, final_state(toy, "TIL", backbone=Normalised, **{**NOW, **options}))


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


# ---- states, weights, outer batches --------------------------------------------------------


def test_centres_are_means_of_what_they_say(toy):
    trainer, (train, _, _) = trainer_on(toy, til_mode="ui")
    trainer.weights.find_centres(0)
    rows, items = train._dataset.inter_feat, trainer.weights.items.weight.detach()
    for user in range(trainer.model.n_users):
        mine = rows["item_id"][rows["user_id"] == user]
        expected = items[mine].mean(0) if len(mine) else torch.zeros(items.shape[1])
        torch.testing.assert_close(trainer.weights.centres[user], expected)
    trainer, _ = trainer_on(toy, til_mode="mi")
    trainer.weights.find_centres(0)
    items = trainer.weights.items.weight.detach()
    assert trainer.weights.cluster.shape == (N_ITEMS + 1,)
    for c in range(5):
        members = (trainer.weights.cluster[1:] == c).nonzero().squeeze(1) + 1
        torch.testing.assert_close(trainer.weights.centres[c], items[members].mean(0))
    before = trainer.weights.cluster.clone()
    with torch.no_grad():
        trainer.weights.items.weight.normal_(generator=torch.Generator().manual_seed(5))
    trainer.weights.find_centres(1)
    assert torch.equal(trainer.weights.cluster, before)  # the clusters stay, the centres follow
    trainer.weights.find_centres(trainer.weights.refit_epochs)
    assert not torch.equal(trainer.weights.cluster, before)


def test_one_cluster_has_the_mean_of_all_items(toy):
    trainer, _ = trainer_on(toy, til_mode="mi", til_clusters=1)
    with torch.no_grad():
        trainer.weights.items.weight[0] = 1e6  # padding is nobody's item
    trainer.weights.find_centres(0)
    torch.testing.assert_close(
        trainer.weights.centres[0], trainer.weights.items.weight[1:].detach().mean(0)
    )
    assert (trainer.weights.cluster == 0).all()


@pytest.mark.parametrize("mode", ["ui", "mi"])
def test_states_are_the_products_they_say(toy, mode):
    trainer, (train, _, _) = trainer_on(toy, til_mode=mode)
    trainer.weights.find_centres(0)
    batch, seen = next(iter(train)), []
    trainer.weights.net.register_forward_pre_hook(lambda _, s: seen.append(s[0]))
    trainer.weights(batch, False)
    (state,) = seen
    d = trainer.weights.items.embedding_dim
    for row in range(0, len(batch), 7):
        u = trainer.weights.users.weight[batch["user_id"][row]]
        for half, field in enumerate(("item_id", "neg_item_id")):
            v = trainer.weights.items.weight[batch[field][row]]
            if mode == "ui":
                c = trainer.weights.centres[batch["user_id"][row]]
                expected = u * v + c * v
            else:
                c = trainer.weights.centres[trainer.weights.cluster[batch[field][row]]]
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
    for mine, fresh in zip(
        (trainer.weights.users, trainer.weights.items), (start.weights.users, start.weights.items)
    ):
        assert torch.equal(mine.weight[0], fresh.weight[0])
        assert not torch.equal(mine.weight[1:], fresh.weight[1:])


def test_several_negatives_per_positive_train(toy):
    trainer, (train, _, _) = trainer_on(
        toy, train_neg_sample_args={"sample_num": 3}, til_outer="fresh"
    )
    trainer._train_epoch(train, 0)
    assert trainer.history[-1]["til_gradient"] > 0


# ---- learning ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["ui", "mi"])
@pytest.mark.parametrize("seed", range(3))
def test_noise_loses_weight_on_fresh_triplets(toy, mode, seed):
    """In the toy, what a user rates 2 was drawn against the user's taste."""
    trainer, (train, valid, _) = assemble(
        toy_options(
            toy,
            "TIL",
            til_outer="fresh",
            til_weights="norm",
            til_mode=mode,
            til_clusters=4,
            til_warmup_epochs=5,
            til_learning_rate=0.01,
            til_weight_decay=0.0,
            learning_rate=0.003,
            train_batch_size=512,
            epochs=40,
            eval_step=40,
            seed=seed,
            show_progress=False,
        )
    )
    trainer.fit(train, valid)
    sums, n = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for _ in range(5):  # with other negatives
        for batch in train:
            w = trainer.weights(batch, False).detach()
            for clean in sums:
                chosen = (batch["rating"] > 4) == clean
                sums[clean] += w[chosen].sum().item()
                n[clean] += int(chosen.sum())
    assert sums[False] / n[False] < 0.97 * sums[True] / n[True]


def test_every_parameter_of_the_network_moves(toy):
    trainer, (train, _, _) = trainer_on(toy, til_weight_decay=0.0)
    before = [p.detach().clone() for p in trainer.weights.net.parameters()]
    trainer._train_epoch(train, 0)
    for p, q in zip(trainer.weights.net.parameters(), before):
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


def test_more_clusters_than_items_are_refused(toy):
    message = f"til_clusters=99: at most the number of items, {N_ITEMS}"
    with pytest.raises(ValueError, match=message):
        trainer_on(toy, til_mode="mi", til_clusters=99)
    trainer_on(toy, til_mode="ui", til_clusters=99)  # has none


def test_held_out_labels_must_be_there(toy):
    with pytest.raises(ValueError, match="til_outer=valid: needs validation interactions"):
        trainer_on(toy, til_outer="valid", eval_args={"split": {"RS": [0.8, 0.0, 0.2]}})
