"""Per-sample losses of backbones whose loss module returns only their mean."""

from collections.abc import Callable
from typing import Any

import torch
from recbole.model.loss import BPRLoss
from torch import Tensor, nn

from recbole_enhance.options.errors import OptionError

Weigh = Callable[[Tensor], Tensor | None]
Combine = Callable[..., Tensor | None]
_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {  # BPRLoss knows the mean only
    "mean": torch.mean,
    "sum": torch.sum,
    "none": lambda losses: losses,
}
_POINTWISE = (nn.BCEWithLogitsLoss, nn.BCELoss, nn.MSELoss)


def per_sample(module: nn.Module, *scores: Tensor) -> Tensor:
    """Loss of each sample, before the module's own mean.

    Args:
        module: ``BPRLoss`` or one of torch's pointwise losses.
        scores: What the module is called with. Shape: ``(batch,)`` each.

    Returns:
        Losses whose mean is ``module(*scores)``, bit for bit; with ``reduction="sum"`` their sum
        is, and with ``"none"`` they are. Shape: ``(batch,)``.
    """
    if isinstance(module, BPRLoss):
        positive, negative = scores
        return -torch.log(module.gamma + torch.sigmoid(positive - negative))  # DVR, Eq. (4.1)
    reduction = module.reduction
    module.reduction = "none"  # type: ignore[assignment]
    try:
        return module(*scores)
    finally:
        module.reduction = reduction


def reduce_losses(module: nn.Module, losses: Tensor) -> Tensor:
    """Reduce losses ``(batch,)`` as the loss module reduces its own."""
    return _REDUCTIONS[getattr(module, "reduction", "mean")](losses)


class WeightedLoss(nn.Module):
    """Stands in for a backbone's loss module and weighs its samples.

    Args:
        module: The backbone's loss.

    Attributes:
        weigh: Called with the detached losses ``(batch,)``; returns weights of mean 1, or None for
            the plain mean. Without it the module is called as it was.
        combine: Called with the losses ``(batch,)`` and the scores they are of, all with their
            graphs; returns the loss ``()``, or None for the module's own.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.weigh: Weigh | None = None
        self.combine: Combine | None = None

    def forward(self, *scores: Tensor) -> Tensor:
        """Weighted losses, reduced as the module reduces them. Shape: ``()``, or ``(batch,)``."""
        if self.combine is not None:
            loss = self.combine(per_sample(self.module, *scores), *scores)
            return self.module(*scores) if loss is None else loss
        if self.weigh is None:
            return self.module(*scores)
        losses = per_sample(self.module, *scores)
        weights = self.weigh(losses.detach())
        return reduce_losses(self.module, losses if weights is None else weights * losses)


def weighable_losses(model: nn.Module, over_items: bool = False) -> list[str]:
    """Names of the model's attributes that hold a loss :class:`WeightedLoss` can replace.

    Args:
        model: A backbone.
        over_items: Whether a cross-entropy over all items is one.
    """
    kinds = (*_POINTWISE, nn.CrossEntropyLoss) if over_items else _POINTWISE
    return [
        name
        for name, module in model.named_children()
        if isinstance(module, kinds) or type(module) is BPRLoss
    ]


def make_weighable(model: nn.Module) -> WeightedLoss:
    """Replace the model's loss module by its weighted twin.

    Args:
        model: A backbone with exactly one such module.

    Raises:
        OptionError: If there is none, or more than one.
    """
    names = weighable_losses(model)
    if len(names) != 1:
        raise OptionError(
            "backbone",
            type(model).__name__,
            f"{len(names)} loss modules with one loss per sample, 1 is needed",
        )
    return _replace(model, names[0])


def _replace(model: nn.Module, name: str) -> WeightedLoss:
    twin = WeightedLoss(getattr(model, name))
    setattr(model, name, twin)
    return twin


def weigh_by_column(model: nn.Module, column: str, field: str) -> None:
    """Let a model weigh each sample's loss by a column of the batch, from now on.

    The sum over the samples is divided as the model does, and a batch whose weights are 1 is the
    model's own, bit for bit. Penalties and other terms of its loss stay as they are.

    Args:
        model: A model with exactly one loss module that gives one loss per sample.
        column: Of the training batches, weights of mean 1. Shape: ``(batch,)``.
        field: What the user calls it, for messages.

    Raises:
        OptionError: If the model has no such loss; also later, if its loss does not pass through
            the module or is not one per sample.
    """
    name, option = type(model).__name__, "interaction_weight_field"
    found = weighable_losses(model, over_items=True)
    if len(found) != 1:
        why = f"{name} has {len(found)} loss modules with one loss per sample, 1 is needed"
        raise OptionError(option, field, why)
    criterion = _replace(model, found[0])
    own: Callable[[Any], Any] = model.calculate_loss  # type: ignore[assignment]

    def calculate_loss(batch: Any) -> Any:
        if bool((batch[column] == 1).all()):  # a mean of cross-entropies is not torch's to the bit
            return own(batch)
        weighed = []

        def weigh(losses: Tensor) -> Tensor:
            weights = batch[column]
            if losses.shape != weights.shape:
                why = f"{name} has {tuple(losses.shape)} losses for {len(weights)} samples"
                raise OptionError(option, field, why)
            weighed.append(True)
            return weights

        criterion.weigh = weigh
        try:
            loss = own(batch)
        finally:
            criterion.weigh = None
        if not weighed:
            raise OptionError(option, field, f"{name} does not call its loss module {found[0]}")
        return loss

    model.calculate_loss = calculate_loss  # type: ignore[assignment]
