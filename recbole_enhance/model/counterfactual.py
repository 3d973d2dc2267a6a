"""The smallest change of an item's features that takes it off a list, for many pairs at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Search(NamedTuple):
    r"""Settings of the counterfactual search.

    Attributes:
        steps: Steps of gradient descent.
        learning_rate: Step size.
        hinge_weight: :math:`\lambda_h`.
        l1_weight: :math:`\gamma`.
        alpha: :math:`\alpha`, how far below the margin the score is to fall.
        scale: N, the largest feature value.
    """

    steps: int
    learning_rate: float
    hinge_weight: float
    l1_weight: float
    alpha: float
    scale: float


class Counterfactual(NamedTuple):
    """What the search found.

    Attributes:
        delta: Change of the features, in [-N, 0], 0 outside the mask. Shape: ``(P, F)``.
        found: Whether it takes the score below the margin. Shape: ``(P,)``.
        loss: Its loss. Shape: ``(P,)``.
    """

    delta: Tensor
    found: Tensor
    loss: Tensor


def apply_change(y: Tensor, delta: Tensor, mask: Tensor, scale: float) -> Tensor:
    r"""The changed features, :math:`\mathrm{clip}(y + \mathrm{clip}(m \odot \Delta, -N, 0), 0, N)`.

    Args:
        y: Features of the items. Shape: ``(P, F)``.
        delta: Change. Shape: ``(P, F)``.
        mask: Where features may change. Shape: ``(P, F)``.
        scale: N.

    Returns:
        Features in [0, N]. Shape: ``(P, F)``.
    """
    return (y + (mask * delta).clamp(-scale, 0)).clamp(0, scale)


def search(
    score: Callable[[Tensor], Tensor],
    y: Tensor,
    mask: Tensor,
    margin: Tensor,
    start: Tensor,
    settings: Search,
) -> Counterfactual:
    r"""Minimise every pair's own loss by gradient descent, all pairs in one tensor.

    .. math:: \|\Delta\|_2 + \gamma \|\Delta\|_1
        + \lambda_h \, \mathrm{relu}(\alpha + s(y^*(\Delta)) - s_m)
        \qquad \text{(Tan et al., CIKM 2021, relaxed)}

    The pairs' losses are independent, so the gradient of their sum is every pair's own, and plain
    descent equals P separate searches.

    Differs from the authors' code: the change that is kept is the one whose loss was measured, not
    the one after the step; and it is masked.

    Args:
        score: Scores of the pairs for given features ``(P, F)`` -> ``(P,)``.
        y: Features of the items. Shape: ``(P, F)``.
        mask: Where features may change. Shape: ``(P, F)``.
        margin: :math:`s_m`. Shape: ``(P,)``.
        start: :math:`\Delta_0`, in [-N, 0]. Shape: ``(P, F)``.
        settings: See :class:`Search`.

    Returns:
        The change of lowest loss of each pair. An empty batch gives empty tensors.
    """
    delta = start.clone()
    best = torch.full_like(margin, torch.inf)
    best_delta, best_found = torch.zeros_like(delta), torch.zeros_like(margin, dtype=torch.bool)
    for _ in range(settings.steps):
        leaf = delta.detach().requires_grad_()
        s = score(apply_change(y, leaf, mask, settings.scale))
        hinge = torch.relu(settings.alpha + s - margin)
        # Tensor.norm, as its gradient at 0 is 0 where that of sqrt(sum of squares) is NaN.
        norms = leaf.norm(dim=1) + settings.l1_weight * leaf.abs().sum(1)
        loss = norms + settings.hinge_weight * hinge
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        with torch.no_grad():
            better = loss < best
            best = torch.where(better, loss, best)
            best_found = torch.where(better, s < margin, best_found)
            best_delta = torch.where(better.unsqueeze(1), leaf, best_delta)
            delta = leaf - settings.learning_rate * gradient
    kept = mask * best_delta.clamp(-settings.scale, 0)
    return Counterfactual(kept.detach(), best_found, best.detach())


def random_start(n_pairs: int, n_features: int, scale: float, seed: int, device: Any) -> Tensor:
    """Draw changes in [-N, 0] from a generator of its own. Shape: ``(n_pairs, n_features)``."""
    generator = torch.Generator().manual_seed(seed)
    return (-scale * torch.rand(n_pairs, n_features, generator=generator)).to(device)
