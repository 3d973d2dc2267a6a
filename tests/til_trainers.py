"""Trainers of TIL on the toy world, taken apart where its tests look."""

import random

import torch

from recbole_enhance.enhancer.til import lookahead
from recbole_enhance.testing.comparing import trained
from recbole_enhance.testing.worlds import assemble, toy_options

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
    trainer.weights.net.double()
    trainer.weights.centres = trainer.weights.centres.double()
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
    # Small batches, as looked-up rows of a large table have sparse gradients.
    small = {"train_batch_size": 40, **({"fast": False} if double else {})}
    trainer, (train, _, _) = trainer_on(toy, backbone, **{**small, **options})
    trainer.warmup_epochs = 99
    for epoch in range(3):
        trainer._train_epoch(train, epoch)
    trainer.warmup_epochs = 0
    trainer.weights.find_centres(0)
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
    return trained(toy_options(toy, model, **{"epochs": 3, **options}))
