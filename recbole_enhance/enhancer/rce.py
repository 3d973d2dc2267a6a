r"""RCE: BPR with triplets weighted by how likely the model finds them.

Reference:
    Wenjie Wang et al. "Denoising Implicit Feedback for Recommendation." in WSDM 2021.
Reference code:
    https://github.com/WenjieWWJ/DenoisingRec

The paper reweighs the cross-entropy; this is its form for BPR, RCE-BPR, of which no formula is
published. docs/papers/rce.md tells sources and differences.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.enhancer.triplets import (
    WeighingTrainer,
    check_triplets,
    pairwise,
)
from recbole_enhance.options.schema import Name, NotNegative, Options
from recbole_enhance.storage.run_folder import RunFolder


def reweighting(positive: Tensor, negative: Tensor, alpha: float, mode: str) -> Tensor:
    r"""Weights :math:`\sigma(x_{ui} - x_{uj})^a`, or :math:`\sigma(x_{ui})^a`, without gradient.

    Args:
        positive: :math:`x_{ui}`. Shape: ``(batch,)``.
        negative: :math:`x_{uj}`. Shape: ``(batch,)``.
        alpha: a, at least 0.
        mode: ``triplet``: the first, :math:`e^{-a \ell}` of the triplet's loss; a shift of the
            user's scores changes nothing. ``positive``: the second, where negatives count alike.

    Returns:
        In (0, 1]; larger for a triplet that the model finds likelier. Shape: ``(batch,)``.

    Example:
        >>> reweighting(torch.tensor([0.0, 50.0]), torch.zeros(2), 1.0, "triplet").tolist()
        [0.5, 1.0]
    """
    score = positive if mode == "positive" else positive - negative
    # Through the logarithm: the sigmoid itself is 0 in float32 below some -104.
    return torch.exp(alpha * torch.nn.functional.logsigmoid(score.detach()))


class RCETrainer(WeighingTrainer):
    """Weighs the triplets' losses by a power of their probability."""

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        self.alpha, self.mode = config["rce_alpha"], config["rce_mode"]
        self.normalises = config["rce_normalise"]

    def combine(self, losses: Tensor, positive: Tensor, negative: Tensor) -> Tensor | None:
        """Mean of weight times loss."""
        if self.alpha == 0:
            return None
        weights = reweighting(positive, negative, self.alpha, self.mode)
        mean = weights.mean()
        self.log("rce_weight", mean.item())
        self.log("rce_weight_min", weights.min().item())
        loss = (weights * losses).mean()
        return loss / mean if self.normalises else loss


class RCEOptions(Options):
    """Options of RCE; defaults are in its YAML."""

    backbone: Name = Field(description="RecBole model that trains on triplets.")
    rce_alpha: NotNegative = Field(description="Power a of the weights; 0 is the backbone.")
    rce_mode: Literal["triplet", "positive"] = Field(
        description="Probability that is the weight: 'triplet' (that the positive ranks above the "
        "negative) or 'positive' (of the positive alone)."
    )
    rce_normalise: bool = Field(
        description="Whether weights are divided by their mean in the batch."
    )


def check(config: Any) -> None:
    """Refuse options and backbones that cannot work, before any data are read."""
    check_triplets(config)


RCE = Enhancer(
    name="RCE",
    paper="Denoising Implicit Feedback for Recommendation (WSDM 2021)",
    options=RCEOptions,
    check=check,
    trainer=RCETrainer,
    adapt=pairwise,
    by_rows=True,
)
