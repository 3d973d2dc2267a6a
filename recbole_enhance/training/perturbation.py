r"""Perturbations of inputs or parameters within a budget: the maths of FGSM and PGD.

Reference:
    Goodfellow et al. "Explaining and Harnessing Adversarial Examples." in ICLR 2015.
    Madry et al. "Towards Deep Learning Models Resistant to Adversarial Attacks." in ICLR 2018.
    He et al. "Adversarial Personalized Ranking for Recommendation." in SIGIR 2018.
"""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

NORMS = ("linf", "l2")


def direction(gradient: Tensor, norm: str) -> Tensor:
    r"""The step of unit size that raises the loss most, to first order.

    Args:
        gradient: Gradient of the loss. Shape: ``(rows, columns)``, or any for ``linf``.
        norm: ``linf``: :math:`\mathrm{sign}(g)`; ``l2``: :math:`g / \|g\|_2` of each row. A
            gradient of 0 gives 0.

    Example:
        >>> direction(torch.tensor([[3.0, -4.0]]), "linf").tolist()
        [[1.0, -1.0]]
        >>> [round(x, 2) for x in direction(torch.tensor([[3.0, -4.0]]), "l2")[0].tolist()]
        [0.6, -0.8]
    """
    if norm == "linf":
        return gradient.sign()
    length = gradient.norm(dim=-1, keepdim=True)
    return gradient / length.clamp(min=torch.finfo(gradient.dtype).tiny)


def project(delta: Tensor, eps: float, norm: str) -> Tensor:
    """The nearest perturbation within the budget, row by row under ``l2``.

    Args:
        delta: Perturbation. Shape: ``(..., d)``.
        eps: Budget, in units of ``delta``: the largest absolute entry, or the length of a row.
        norm: ``linf`` or ``l2``.

    Returns:
        The same shape.

    Example:
        >>> project(torch.tensor([[3.0, -4.0]]), 1.0, "linf").tolist()
        [[1.0, -1.0]]
    """
    if norm == "linf":
        return delta.clamp(-eps, eps)
    length = delta.norm(dim=-1, keepdim=True)
    return delta * (eps / length.clamp(min=eps))


def ascend(
    clean: Tensor, at: Tensor, gradient: Tensor, size: float, eps: float, norm: str = "linf"
) -> Tensor:
    """One step of PGD: uphill from ``at`` by ``size``, then back into the budget around ``clean``.

    With ``at`` = ``clean`` and ``size`` = ``eps`` this is FGSM.

    Args:
        clean: What is attacked. Shape: ``(..., d)``.
        at: Where the attack is now. The same shape.
        gradient: Of the loss at ``at``. The same shape.
        size: Length of the step, in units of ``clean``.
        eps: Budget, as in :func:`project`.
        norm: As in :func:`project`.

    Returns:
        The next point, without graph. The same shape.

    Example:
        >>> y = torch.tensor([[1.0, 2.0]])
        >>> ascend(y, y, torch.tensor([[0.3, -7.0]]), 0.5, 0.5).tolist()
        [[1.5, 1.5]]
    """
    clean, at = clean.detach(), at.detach()
    return clean + project(at - clean + size * direction(gradient.detach(), norm), eps, norm)


def step_size(eps: float, steps: int) -> float:
    """Length of a step: ``eps`` for FGSM (one step), ``2.5 * eps / steps`` for PGD."""
    return eps if steps == 1 else 2.5 * eps / steps


def random_signs(shape: torch.Size, eps: float, generator: torch.Generator) -> Tensor:
    """Noise as large as a step of FGSM, in a random direction: eps times +1 or -1, by chance.

    Args:
        shape: Of the noise.
        eps: Absolute value of each entry.
        generator: Source of randomness, on the CPU.

    Returns:
        Noise of this shape, on the CPU.
    """
    return eps * (2.0 * torch.randint(0, 2, shape, generator=generator) - 1.0)


@contextlib.contextmanager
def replaced_features(model: nn.Module, features: Tensor) -> Iterator[None]:
    """Let a feature-aware model use other item features while the block runs.

    Args:
        model: A model with the attribute ``item_feature_matrix``.
        features: Matrix Y. Shape: ``(n_items, n_features)``.
    """
    clean: Tensor = model.item_feature_matrix  # type: ignore[assignment]
    model.item_feature_matrix = features.to(clean)
    try:
        yield
    finally:
        model.item_feature_matrix = clean


@contextlib.contextmanager
def moved_parameters(model: nn.Module, change: Mapping[str, Tensor]) -> Iterator[None]:
    """Add to named parameters while the block runs; afterwards they are as before, bit for bit.

    Args:
        model: Any model.
        change: Parameter's name -> what is added, of the parameter's shape.
    """
    named: dict[str, nn.Parameter] = dict(model.named_parameters())
    before = {name: named[name].detach().clone() for name in change}
    try:
        with torch.no_grad():
            for name, delta in change.items():
                named[name].add_(delta.to(named[name]))
        yield
    finally:
        with torch.no_grad():
            for name, value in before.items():
                named[name].copy_(value)
