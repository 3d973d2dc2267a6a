r"""RER: robust explainable recommendation by adversarial training.

Reference:
    Sairamvinay Vijayaraghavan, Prasant Mohapatra. "Robust Explainable Recommendation."
    (arXiv 2405.01855, withdrawn), 2024.
    With ``rer_target: params``: He et al. "Adversarial Personalized Ranking for Recommendation."
    in SIGIR 2018.

Each step minimises the loss on the clean item features Y and on the features that an attacker
would show within a budget. docs/papers/rer.md lists what is inferred and what does not hold.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from recbole.utils import InputType, ModelType
from torch import Tensor, nn

from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.model import MODELS, load_model
from recbole_enhance.model.embeddings import embedding_tables, names_of_weights
from recbole_enhance.model.feature_aware import FeatureAwareRecommender
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.schema import (
    Few,
    Name,
    NotNegative,
    Number0,
    Options,
    Rule,
    refusal,
)
from recbole_enhance.storage.run_folder import RunFolder
from recbole_enhance.training.perturbation import ascend, step_size
from recbole_enhance.training.trainer import EnhancedTrainer

# General recommenders that `params` trains; tests run them all.
BACKBONES = (
    "BPR",
    "CER",
    "ConvNCF",
    "DGCF",
    "DMF",
    "EFM",
    "ENMF",
    "FISM",
    "GCMC",
    "LINE",
    "LightGCN",
    "MultiGCCF",
    "NAIS",
    "NCL",
    "NGCF",
    "NNCF",
    "NeuMF",
    "ProtoMF",
    "SGL",
    "SimpleX",
    "SpectralCF",
    "TransGNN",
)


class _Loss(nn.Module):
    """A model's loss as a module, so that it can be called with other parameters."""

    def __init__(self, model: nn.Module, loss: Callable[[Any], Any]) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, interaction: Any) -> Tensor:
        return total(self._loss(interaction))


def total(loss: Any) -> Tensor:
    """Sum of a loss that a model may give in parts. Shape: ``()``."""
    return sum(loss) if isinstance(loss, tuple) else loss  # type: ignore[return-value]


class FeatureAttack(NamedTuple):
    """A batch under attack.

    Attributes:
        clean: Loss without attack, with its graph. Shape: ``()``.
        attacked: Loss under attack, with its graph. Shape: ``()``.
        features: Perturbed features of the batch's items. Shape: ``(batch, F)``.
        gradient: Of the clean loss, for the different items in rising order. Shape: ``(items, F)``.
    """

    clean: Tensor
    attacked: Tensor
    features: Tensor
    gradient: Tensor


def adversarial_features(
    model: FeatureAwareRecommender,
    interaction: Any,
    eps: float,
    norm: str = "linf",
    steps: int = 1,
    mask: str = "all",
) -> FeatureAttack:
    r"""Attack the features of a batch's items.

    .. math:: Y' = \mathrm{clip}_{[0, N]}(Y + \epsilon \, \mathrm{sign}(\nabla_Y L(X, Y)))

    At a perturbation of 0 the gradient of the total loss is that of L: (1 - lambda) + lambda = 1.
    An item that occurs twice in the batch gets one perturbation; items outside it have gradient 0
    and stay as they are, which is why only the batch's rows are touched.

    Args:
        model: A model of :class:`FeatureAwareRecommender`.
        interaction: The batch.
        eps: Budget, in units of Y.
        norm: See :func:`recbole_enhance.training.perturbation.direction`.
        steps: 1 for FGSM, more for PGD.
        mask: ``all``, or ``mentioned`` to leave zeros alone.

    Returns:
        See :class:`FeatureAttack`.
    """
    loss_of = model.loss_of(interaction)
    items, place = torch.unique(interaction[model.ITEM_ID], return_inverse=True)
    rows = model.item_features(items).detach()

    def loss_at(rows: Tensor) -> tuple[Tensor, Tensor]:
        leaf = rows.detach().index_select(0, place).requires_grad_()
        loss = loss_of(leaf)
        # Not backward(): that would leave gradients in the parameters.
        (g,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        return loss, torch.zeros_like(rows).index_add_(0, place, g)

    clean, gradient = loss_at(rows)
    at, g, size = rows, gradient, step_size(eps, steps)
    for step in range(steps):
        g = loss_at(at)[1] if step > 0 else g
        g = g * (rows > 0) if mask == "mentioned" else g
        at = ascend(rows, at, g, size, eps, norm).clamp(0, model.feature_scale)
    features = at.index_select(0, place)
    return FeatureAttack(clean, loss_of(features), features, gradient)


def adversarial_parameters(
    loss: Callable[[Any], Any],
    model: nn.Module,
    names: list[str],
    interaction: Any,
    eps: float,
    norm: str = "linf",
    steps: int = 1,
) -> tuple[Tensor, Tensor]:
    r"""Loss of a batch, and the loss at :math:`\Theta + \epsilon \, g / \|g\|`.

    The stored parameters are never touched: the model is called with others in their place, and
    gradients flow to the stored ones.

    Args:
        loss: The model's ``calculate_loss``.
        model: Any model.
        names: Parameters to perturb.
        interaction: The batch.
        eps: Budget, in units of the parameters.
        norm: See :func:`recbole_enhance.training.perturbation.direction`.
        steps: 1 for FGSM, more for PGD.

    Returns:
        Clean loss and loss under attack, both with their graphs. Shape: ``()`` each.
    """
    module = _Loss(model, loss)
    parameters = dict(model.named_parameters())
    leaves: list[Tensor] = [parameters[name] for name in names]
    clean = total(loss(interaction))

    def loss_at(shifts: list[Tensor]) -> Tensor:
        moved = {f"model.{n}": p + d for n, p, d in zip(names, leaves, shifts)}
        return torch.func.functional_call(module, moved, (interaction,))

    def gradients(of: Tensor, at: list[Tensor]) -> list[Tensor]:
        found = torch.autograd.grad(of, at, retain_graph=of is clean, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for g, p in zip(found, at)]

    shifts = [torch.zeros_like(p) for p in leaves]
    grads = gradients(clean, leaves)
    for step in range(steps):
        if step > 0:
            free = [shift.requires_grad_() for shift in shifts]
            grads = gradients(loss_at(free), free)
        shifts = [
            ascend(torch.zeros_like(shift), shift, grad, step_size(eps, steps), eps, norm)
            for shift, grad in zip(shifts, grads)
        ]
    return clean, loss_at(shifts)


class RERTrainer(EnhancedTrainer):
    """Trains a backbone on the clean loss and on the loss under attack."""

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        self.lam, self.eps = config["rer_lambda"], config["rer_eps"]
        self.target, self.norm = config["rer_target"], config["rer_norm"]
        self.steps, self.mask = config["rer_steps"], config["rer_mask"]
        self.adversarial_epoch = config["rer_start_epoch"]
        self.clean_weight = 1.0 if config["rer_combine"] == "additive" else 1.0 - self.lam
        self.names = parameter_names(model, config["rer_params"])

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        # Neutral means the backbone's own step: a second forward pass would draw random numbers
        # (dropout), and halves of one loss add up to it only nearly.
        if self.lam > 0 and self.eps > 0 and epoch_idx >= self.adversarial_epoch:
            loss_func = partial(self.adversarial_loss, loss_func or self.model.calculate_loss)
        return super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)

    def adversarial_loss(self, loss: Callable[[Any], Any], interaction: Any) -> Any:
        r"""L = (1 - lambda) L(X, Y) + lambda L(X, Y + Delta), as its two parts.

        Args:
            loss: The model's ``calculate_loss``.
            interaction: The batch.

        Returns:
            Both parts, weighted. Shape: ``()`` each.
        """
        # In half precision small gradients become 0, and their signs with them.
        with torch.autocast(device_type=self.device.type, enabled=False):
            if self.target == "features":
                clean, attacked, _, _ = adversarial_features(
                    self.model, interaction, self.eps, self.norm, self.steps, self.mask
                )
            else:
                clean, attacked = adversarial_parameters(
                    loss, self.model, self.names, interaction, self.eps, self.norm, self.steps
                )
        self.log("rer_clean_loss", clean.item())
        self.log("rer_attacked_loss", attacked.item())
        return self.clean_weight * clean, self.lam * attacked


def parameter_names(model: nn.Module, pattern: str | None) -> list[str]:
    """Parameters to perturb.

    Args:
        model: Any model.
        pattern: Regular expression; None takes embedding tables, or all where there are none.

    Raises:
        OptionError: If no parameter is called so.
    """
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    if pattern is None:
        return names_of_weights(model, embedding_tables(model).values()) or names
    chosen = [name for name in names if re.search(pattern, name)]
    if not chosen:
        raise OptionError(
            "rer_params", pattern, f"no parameter has such a name; {', '.join(names)}"
        )
    return chosen


def check(config: Any) -> None:
    """Refuse options and backbones that cannot work, before any data are read."""
    convex = config["rer_combine"] == "convex"
    if convex and config["rer_lambda"] > 1:
        raise OptionError("rer_lambda", config["rer_lambda"], "at most 1 under rer_combine=convex")
    model_class = config.model_class
    name = model_class.__name__
    if config["rer_target"] == "features":
        if not issubclass(model_class, FeatureAwareRecommender):
            able = [m for m in MODELS if issubclass(load_model(m), FeatureAwareRecommender)]
            raise OptionError(
                "backbone",
                name,
                "has no item features to perturb (rer_target=features); backbones that work: "
                f"{', '.join(able)}; with rer_target=params: {', '.join(BACKBONES)}",
            )
        return
    own = not model_class.__module__.startswith("recbole.")
    if (
        not (name in BACKBONES or (own and config["MODEL_TYPE"] == ModelType.GENERAL))
        or config["MODEL_INPUT_TYPE"] == InputType.LISTWISE
    ):
        raise OptionError(
            "backbone",
            name,
            "rer_target=params trains on (user, item, negative) or (user, item, label) by "
            f"one loss; backbones that work: {', '.join(BACKBONES)}",
        )


def _pattern(pattern: Any) -> Any:
    try:
        re.compile(pattern or "")
    except (re.error, TypeError):
        raise refusal("a regular expression is expected") from None
    return pattern


class REROptions(Options):
    """Options of RER; defaults are in its YAML."""

    backbone: Name = Field(description="Model that is trained adversarially.")
    rer_lambda: NotNegative = Field(
        description="Weight of the loss under attack; 0 is the backbone."
    )
    rer_eps: NotNegative = Field(
        description="Size of the perturbation, in units of Y (0 to 5) or of the parameters; 0 "
        "is the backbone."
    )
    rer_target: Literal["features", "params"] = Field(
        description="What is perturbed: 'features' (the items' rows of Y; for CER and EFM) or "
        "'params' (for any general model, as in APR)."
    )
    rer_norm: Literal["linf", "l2"] = Field(
        description="Norm of the perturbation: 'linf' (eps times the gradient's sign) or 'l2' "
        "(each row has length eps, as in APR)."
    )
    rer_steps: Few = Field(description="Gradient steps per perturbation: 1 is FGSM, more is PGD.")
    rer_combine: Literal["convex", "additive"] = Field(
        description="How the two losses are combined: 'convex' is (1 - lambda) L + lambda L_adv; "
        "'additive' is L + lambda L_adv, as in APR."
    )
    rer_mask: Literal["all", "mentioned"] = Field(
        description="Entries of Y that are perturbed: 'all', or 'mentioned' (those above 0)."
    )
    rer_params: Annotated[
        Any, Rule(type="str or None", check=_pattern, shape={"type": ["string", "null"]})
    ] = Field(
        description="Regular expression for the names of the perturbed parameters; ~ takes the "
        "embedding tables, or all parameters if there are none."
    )
    rer_start_epoch: Number0 = Field(
        description="First adversarial epoch; earlier epochs train the plain backbone."
    )


RER = Enhancer(
    name="RER",
    paper="Robust Explainable Recommendation (arXiv 2405.01855, withdrawn)",
    options=REROptions,
    begins="rer_start_epoch",
    check=check,
    trainer=RERTrainer,
)
