r"""TCE: BPR without the triplets of the largest losses.

Reference:
    Wenjie Wang et al. "Denoising Implicit Feedback for Recommendation." in WSDM 2021.
Reference code:
    https://github.com/WenjieWWJ/DenoisingRec

The paper truncates the cross-entropy; this is its form for BPR, TCE-BPR, of which no formula is
published. docs/papers/tce.md tells sources and differences.
"""

from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.enhancer.triplets import (
    WeighingTrainer,
    check_triplets,
    pairwise,
)
from recbole_enhance.options.schema import Name, NotNegative, Options, Rate
from recbole_enhance.storage.run_folder import RunFolder, logger


def drop_rate(step: int, most: float, gradual_steps: float) -> float:
    r"""Share of the positives that is dropped.

    .. math:: \epsilon(t) = \min(\epsilon_{max}, \epsilon_{max} \, t / T_k)

    Args:
        step: t, training steps done.
        most: :math:`\epsilon_{max}`, in [0, 1).
        gradual_steps: :math:`T_k`; 0 drops that much from the first step on.

    Example:
        >>> [drop_rate(t, 0.2, 10) for t in (0, 5, 10, 99)]
        [0.0, 0.1, 0.2, 0.2]
    """
    return most if step >= gradual_steps else most * step / gradual_steps


def truncated(losses: Tensor, eps: float) -> Tensor | None:
    r"""Mean loss without the largest :math:`\lfloor \epsilon B \rfloor`.

    Args:
        losses: Of the positives. Shape: ``(B,)``.
        eps: Share that is dropped, in [0, 1).

    Returns:
        The mean of those kept, or None if all are. Shape: ``()``.

    Example:
        >>> import torch
        >>> truncated(torch.tensor([1.0, 9.0, 3.0, 2.0]), 0.25)
        tensor(2.)
    """
    dropped = int(eps * len(losses))
    if dropped == 0:
        return None  # a sum in another order is not equal bit for bit
    kept = losses.detach().topk(len(losses) - dropped, largest=False, sorted=False).indices
    return losses[kept].mean()


class TCETrainer(WeighingTrainer):
    """Drops a growing share of the positives, those of the largest losses in the batch."""

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        self.most = config["tce_drop_rate"]
        self.gradual, self.unit = config["tce_gradual"], config["tce_gradual_unit"]
        self.step = 0  # t
        self.gradual_steps = float(self.gradual)

    def fit(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Train, with the arguments and the result of RecBole's ``fit``."""
        if self.unit == "epochs":
            self.gradual_steps = self.gradual * len(train_data)
        result = super().fit(train_data, *args, **kwargs)
        if self.most and self.history and not any(row.get("tce_dropped") for row in self.history):
            logger.warning(
                "tce_gradual=%s: TCE dropped nothing in %d epochs: its result is that of %s",
                self.gradual,
                len(self.history),
                self.config["model"],
            )
        return result

    def combine(self, losses: Tensor, positive: Tensor, negative: Tensor) -> Tensor | None:
        """Truncate the mean over positives of the mean over their negatives."""
        eps = drop_rate(self.step, self.most, self.gradual_steps)
        self.step += 1
        n = self.n_negatives
        of_positives = losses if n == 1 else losses.view(n, -1).mean(0)
        self.log("tce_eps", eps)
        self.log("tce_dropped", int(eps * len(of_positives)) / len(of_positives))
        return truncated(of_positives, eps)

    def method_state(self) -> dict[str, Any]:
        """Steps done."""
        return {"step": self.step}

    def load_method_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`method_state` gave."""
        self.step = state["step"]


class TCEOptions(Options):
    """Options of TCE; defaults are in its YAML."""

    backbone: Name = Field(description="RecBole model that trains on triplets.")
    tce_drop_rate: Rate = Field(
        description="Final share of a batch's positives that is dropped, those with the largest "
        "losses; 0 is the backbone."
    )
    tce_gradual: NotNegative = Field(
        description="Number of epochs or steps in which the share grows from 0; 0 drops the full "
        "share from the first step on."
    )
    tce_gradual_unit: Literal["epochs", "steps"] = Field(
        description="Unit of tce_gradual: 'epochs' or 'steps' (as in the paper)."
    )


def check(config: Any) -> None:
    """Refuse options and backbones that cannot work, before any data are read."""
    check_triplets(config)


TCE = Enhancer(
    name="TCE",
    paper="Denoising Implicit Feedback for Recommendation (WSDM 2021)",
    options=TCEOptions,
    check=check,
    trainer=TCETrainer,
    adapt=pairwise,
    by_rows=True,
)
