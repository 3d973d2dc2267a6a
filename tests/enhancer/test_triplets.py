import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.general_recommender.bpr import BPR
from recbole.model.general_recommender.neumf import NeuMF
from recbole.model.loss import BPRLoss
from recbole.utils import InputType
from torch import nn
from triplets import (
    TRIED,
    run_in_memory,
)

from recbole_enhance.enhancer.triplets import factors, pairwise
from recbole_enhance.experiment.config import Config
from recbole_enhance.testing.comparing import assert_same
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options

METHODS = ("AOBPR", "WBPR", "PRIS", "TCE", "RCE")


class Mine(BPR):
    """A user's own general recommender on triplets."""


class Inline(GeneralRecommender):
    """One whose loss is no module."""

    input_type = InputType.PAIRWISE

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.user_embedding = nn.Embedding(self.n_users, 4)
        self.item_embedding = nn.Embedding(self.n_items, 4)


class Summed(BPR):
    """One with a loss per batch, not per triplet."""

    def calculate_loss(self, interaction):
        return self.loss(torch.ones(1), self.user_embedding.weight.mean().view(1))


def built(toy, backbone):
    trainer, (train, valid, _) = assemble(
        toy_options(toy, backbone, show_progress=False, epochs=1)
        if backbone != "NeuMF"
        else toy_options(toy, "TCE", backbone="NeuMF", show_progress=False, epochs=1)
    )
    trainer.fit(train, valid)
    return trainer.model


@pytest.mark.parametrize("backbone", TRIED)
def test_products_of_the_factors_are_the_scores(toy, backbone):
    model = built(toy, backbone)
    model.train()
    before = torch.get_rng_state()
    found = factors(model)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    users = torch.arange(1, model.n_users)
    ours = found.users[users] @ found.items.t()
    model.eval()
    if backbone == "NeuMF":  # of its matrix factorisation, in the units of the score
        user = users.repeat_interleave(model.n_items)
        item = torch.arange(model.n_items).repeat(len(users))
        hidden = torch.cat([model.user_mlp_embedding(user), model.item_mlp_embedding(item)], -1)
        rest = model.predict_layer.weight[0, model.mf_embedding_size :]
        other = model.mlp_layers(hidden) @ rest + model.predict_layer.bias
        theirs = model.forward(user, item) - other
    elif backbone == "NGCF":
        return  # RecBole's NGCF drops out in evaluation too: no two passes are alike
    else:
        theirs = model.full_sort_predict(Interaction({"user_id": users}))
    torch.testing.assert_close(ours.flatten(), theirs, rtol=1e-4, atol=1e-6)


def test_neumf_on_triplets_is_bpr_on_its_logits(toy):
    model = built(toy, "NeuMF")
    assert type(model).__name__ == "NeuMF"
    assert model.input_type == InputType.PAIRWISE
    assert pairwise(BPR) is BPR
    assert NeuMF.input_type == InputType.POINTWISE
    model.eval()
    user, item, negative = torch.tensor([1, 2]), torch.tensor([3, 4]), torch.tensor([5, 6])
    batch = Interaction({"user_id": user, "item_id": item, "neg_item_id": negative})
    x = model.forward(user, item) - model.forward(user, negative)
    expected = -torch.nn.functional.logsigmoid(x).mean()
    torch.testing.assert_close(model.calculate_loss(batch), expected)
    assert torch.equal(model.predict(batch), model.forward(user, item))


@pytest.mark.parametrize("method", METHODS)
def test_a_users_own_model_trains(toy, method):
    result = run_toy(toy, method, saved=False, backbone=Mine, epochs=2)
    assert result == run_toy(toy, method, saved=False, epochs=2)


@pytest.mark.parametrize("method", ["PRIS", "TCE", "RCE"])
def test_a_users_own_model_without_a_loss_per_triplet_is_refused(toy, method):
    with pytest.raises(ValueError, match="backbone=Inline: 0 loss modules"):
        run_toy(toy, method, saved=False, backbone=Inline)
    with pytest.raises(ValueError, match=r"backbone=Summed: \(1,\) losses for \d+ triplets"):
        run_toy(toy, method, saved=False, backbone=Summed)


@pytest.mark.parametrize("method", METHODS)
def test_pointwise_and_autoencoder_backbones_are_refused_before_data_are_read(toy, method):
    for backbone in ("DMF", "MultiVAE", "NNCF", "CER"):
        options = toy_options(toy, method, backbone=backbone)
        message = f"backbone={backbone}: {method} trains on triplets .*backbones that work: BPR, "
        with pytest.raises(ValueError, match=message):
            Config(config_dict=options)


@pytest.mark.parametrize("method", ["AOBPR", "WBPR", "PRIS"])
def test_the_fast_loader_is_needed_at_training_too(toy, method):
    trainer, _ = assemble(toy_options(toy, method, show_progress=False))
    with pytest.raises(ValueError, match=f"{method}: needs the fast training loader"):
        trainer.fit([], None)


def test_a_loss_module_is_called_as_it_was_where_nothing_is_combined(toy):
    """Also after training: an evaluation of the loss elsewhere has no hook."""
    trainer, (train, valid, _) = assemble(toy_options(toy, "RCE", show_progress=False, epochs=1))
    trainer.fit(train, valid)
    batch = next(iter(train))
    plain = BPRLoss()(*(torch.ones(3), torch.zeros(3)))
    assert trainer.criterion.combine is None
    assert torch.equal(trainer.criterion(torch.ones(3), torch.zeros(3)), plain)
    assert trainer.model.calculate_loss(batch) > 0


@pytest.mark.parametrize("method", METHODS)
def test_runs_are_the_same_on_a_second_fit_of_a_new_trainer(toy, method):
    assert_same(run_in_memory(toy, method), run_in_memory(toy, method))
