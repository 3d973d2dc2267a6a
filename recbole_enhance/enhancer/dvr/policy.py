"""From values to weights: DVR's normalisations, and the two actions of its policy.

Equation numbers are those of docs/papers/dvr.md.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor


def standardize(values: Tensor) -> Tensor:
    """Subtract the mean and divide by the standard deviation; equal values give exact zeros.

    Args:
        values: Shape: ``(batch,)``.

    Returns:
        The same shape.

    Example:
        >>> standardize(torch.tensor([2.0, 2.0])).tolist()
        [0.0, 0.0]
        >>> standardize(torch.tensor([1.0, 3.0])).tolist()
        [-1.0, 1.0]
    """
    if bool((values == values[0]).all()):
        return values - values  # keeps the graph; the mean of equal floats may differ from them
    centred = values - values.mean()
    return centred / centred.square().mean().sqrt().clamp(min=torch.finfo(values.dtype).tiny)


def normalize(values: Tensor, how: str, eps: float) -> Tensor:
    r"""Turn values into selection probabilities :math:`\hat w \in [\epsilon, 1 - \epsilon]`.

    Args:
        values: Shapley values of a batch, standardised or not. Shape: ``(batch,)``.
        how: ``sigmoid`` (of standardised values), ``minmax`` or ``rank``. The rank has no gradient;
            it borrows the sigmoid's.
        eps: Distance to 0 and 1.

    Returns:
        Probabilities; 0.5 exactly if all values are equal. Shape: ``(batch,)``.

    Example:
        >>> normalize(torch.tensor([1., 2., 5.]), "minmax", 0.05).tolist()
        [0.05000000074505806, 0.25, 0.949999988079071]
    """
    if bool((values == values[0]).all()):
        return values - values + 0.5
    if how == "minmax":
        w = (values - values.min()) / (values.max() - values.min())
    else:
        w = torch.sigmoid(standardize(values))
        if how == "rank":
            rank = values.detach().argsort().argsort().to(values.dtype)
            w = w - w.detach() + (rank + 0.5) / len(values)
    return w.clamp(eps, 1 - eps)


class Action(NamedTuple):
    """What the policy did with a batch.

    Attributes:
        w: Selection probabilities. Shape: ``(batch,)``.
        weights: What the losses are multiplied by, of mean 1. Shape: ``(batch,)``.
        log_pi: Mean log probability of the action, None without a policy. Shape: ``()``.
    """

    w: Tensor
    weights: Tensor
    log_pi: Tensor | None


def select(values: Tensor, how: str, eps: float, generator: torch.Generator) -> Action:
    r"""Draw the selection :math:`s_m \sim \mathrm{Bernoulli}(\hat w_m)` (Eqs. 5.9, 5.12).

    Args:
        values: Shapley values. Shape: ``(batch,)``.
        how: See :func:`normalize`.
        eps: See :func:`normalize`.
        generator: Source of randomness, on the CPU.

    Returns:
        Weights n s / sum(s): a mean over the selected, so the learning rate keeps its meaning.
    """
    w = normalize(values, how, eps)
    s = (torch.rand(len(w), generator=generator).to(w.device) < w.detach()).to(w.dtype)
    log_pi = (s * torch.log(w) + (1 - s) * torch.log(1 - w)).mean()  # Eq. (5.12)
    return Action(w.detach(), s * (len(s) / s.sum().clamp(min=1)), log_pi)


def soften(
    values: Tensor, how: str, eps: float, sigma: float, generator: torch.Generator
) -> Action:
    r"""Weigh by :math:`\hat w / \mathrm{mean}(\hat w)` of values with Gaussian noise.

    Differs from the paper: every sample trains, and the policy's action is a real number. The noise
    is what REINFORCE learns from; a deterministic weight would leave it nothing to reinforce.

    Args:
        values: Shapley values. Shape: ``(batch,)``.
        how: See :func:`normalize`.
        eps: See :func:`normalize`.
        sigma: Standard deviation of the noise on the standardised value; 0 for none.
        generator: Source of randomness, on the CPU.
    """
    z = standardize(values)
    noise = sigma * torch.randn(len(z), generator=generator).to(z)
    action = (z + noise).detach()
    w = normalize(action, how, eps)
    log_pi = -0.5 * ((action - z) / sigma).square().mean() if sigma > 0 else None
    return Action(w, w / w.mean(), log_pi)


class Weighting:
    """Makes weights of a batch's values, by the action that the options ask for.

    Args:
        config: The run's settings.
        generator: Source of randomness, on the CPU.

    Attributes:
        explores: Whether it draws, so that there is something to reinforce.
    """

    def __init__(self, config: Any, generator: torch.Generator) -> None:
        self.draws = config["dvr_weighting"] == "sample"
        self.normalization, self.eps = config["dvr_normalization"], config["dvr_eps"]
        self.sigma, self.generator = config["dvr_exploration"], generator
        self.explores = self.draws or self.sigma > 0

    def __call__(self, values: Tensor) -> Action:
        """Act on the values of a batch. Shape: ``(batch,)``."""
        if self.draws:
            return select(values, self.normalization, self.eps, self.generator)
        return soften(values, self.normalization, self.eps, self.sigma, self.generator)
