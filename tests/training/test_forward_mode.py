"""Slopes of each sample's loss, against autograd in float64, on each kind of backbone."""

import random

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_enhance.enhancer.dvr.method import BACKBONES
from recbole_enhance.experiment.config import Config
from recbole_enhance.options.errors import InputError
from recbole_enhance.testing.worlds import toy_options
from recbole_enhance.training import acceleration
from recbole_enhance.training.forward_mode import DirectionalLoss
from recbole_enhance.training.losses import make_weighable

HERE = tuple(name for name in BACKBONES if name != "NCL")  # needs faiss
# Graphs that are made as float32 in each step.
SINGLE = ("NGCF", "SpectralCF", "DGCF", "TransGNN", "MultiGCCF")


def backbone(toy, name):
    """A fresh model, its weighable loss and a batch."""
    extra = {"protomf_loss": "bpr"} if name == "ProtoMF" else {}
    config = Config(config_dict=toy_options(toy, name, show_progress=False, **extra))
    init_seed(config["seed"], True)
    train, _, _ = data_preparation(config, create_dataset(config))
    model = config.model_class(config, train._dataset)
    return model, make_weighable(model), next(iter(train))


def seed():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)  # dropout


def add_up(loss):
    return sum(loss) if isinstance(loss, tuple) else loss


def to_double(model):
    """Parameters and the constant graphs of a model in float64."""
    for name, value in list(vars(model).items()):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            setattr(model, name, value.double())
    return model.double()


@pytest.mark.parametrize("graphs", ["compressed", "coordinates"])
@pytest.mark.parametrize("name", HERE)
def test_slopes_are_autograds(toy, name, graphs):
    model, criterion, batch = backbone(toy, name)
    double = name not in SINGLE and graphs == "coordinates"  # only float32 is compressed
    if double:
        model = to_double(model)
    if graphs == "compressed":
        acceleration.compress_graphs(model)
    named = dict(model.named_parameters())
    seed()
    direction = {key: torch.randn_like(p) for key, p in named.items()}
    caught = {}
    criterion.combine = lambda losses, *scores: caught.update(losses=losses)
    seed()
    model.calculate_loss(batch)
    criterion.combine = None
    expected = []
    for loss in caught["losses"][:16]:
        gradients = torch.autograd.grad(
            loss, list(named.values()), retain_graph=True, allow_unused=True
        )
        pairs = zip(gradients, direction.values())
        expected.append(sum((g * v).sum() for g, v in pairs if g is not None))
    expected = torch.stack(expected)

    def weigh(losses, slopes):
        caught.update(slopes=slopes, seen=losses)

    seed()
    DirectionalLoss(model, criterion).along(direction, batch, weigh)
    error = (caught["slopes"][:16] - expected).abs().max() / expected.abs().max()
    assert error < (1e-12 if double else 1e-5)
    assert torch.equal(caught["seen"], caught["losses"])  # with the same dropout


@pytest.mark.parametrize("graphs", ["compressed", "coordinates"])
@pytest.mark.parametrize("name", HERE)
def test_the_training_step_stays_the_backbones_bit_for_bit(toy, name, graphs):
    results = []
    for along in (False, True):
        model, criterion, batch = backbone(toy, name)
        if graphs == "compressed":
            acceleration.compress_graphs(model)
        direction = {key: torch.ones_like(p) for key, p in model.named_parameters()}
        seed()
        loss = (
            DirectionalLoss(model, criterion).along(direction, batch, lambda *_: None)
            if along
            else model.calculate_loss(batch)
        )
        add_up(loss).backward()
        assert criterion.combine is None
        results.append((add_up(loss), *(p.grad for p in model.parameters())))
    for plain, valued in zip(*results):
        assert (plain is None and valued is None) or torch.equal(plain, valued)


def test_weights_multiply_each_samples_loss(toy):
    model, criterion, batch = backbone(toy, "BPR")
    direction = {key: torch.ones_like(p) for key, p in model.named_parameters()}
    weights = torch.rand(len(batch))
    loss = DirectionalLoss(model, criterion).along(direction, batch, lambda *_: weights)
    caught = []
    criterion.combine = lambda losses, *scores: caught.append(losses)
    model.calculate_loss(batch)
    assert torch.equal(loss, (weights * caught[0]).mean())


def test_a_direction_of_some_parameters_is_0_elsewhere(toy):
    model, criterion, batch = backbone(toy, "BPR")
    found = []
    one = {"user_embedding.weight": torch.ones_like(model.user_embedding.weight)}
    both = {**one, "item_embedding.weight": torch.zeros_like(model.item_embedding.weight)}
    for direction in (one, both, {}):
        DirectionalLoss(model, criterion).along(
            direction, batch, lambda _, slopes: found.append(slopes)
        )
    torch.testing.assert_close(found[0], found[1])
    assert not found[2].any()


def test_a_backbone_without_forward_derivatives_is_refused(toy):
    model, criterion, batch = backbone(toy, "BPR")

    class NoSlope(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

    original = model.forward

    def forward(user, item):
        of_user, of_item = original(user, item)
        return NoSlope.apply(of_user), of_item

    model.forward = forward
    direction = {key: torch.ones_like(p) for key, p in model.named_parameters()}
    with pytest.raises(InputError, match="backbone=BPR: no slope of one sample's loss"):
        DirectionalLoss(model, criterion).along(direction, batch, lambda *_: None)
