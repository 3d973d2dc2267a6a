"""Per-sample losses for backbones whose loss module returns a mean, too late to weigh."""

from collections.abc import Callable

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
        weighted = losses if weights is None else weights * losses
        return _REDUCTIONS[getattr(self.module, "reduction", "mean")](weighted)


def weighable_losses(model: nn.Module) -> list[str]:
    """Names of the model's attributes that hold a loss :class:`WeightedLoss` can replace."""
    return [
        name
        for name, module in model.named_children()
        if isinstance(module, _POINTWISE) or type(module) is BPRLoss
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
    twin = WeightedLoss(getattr(model, names[0]))
    setattr(model, names[0], twin)
    return twin
