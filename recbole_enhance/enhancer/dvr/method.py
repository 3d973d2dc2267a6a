r"""DVR: explainable data valuation.

Reference:
    Renqi Jia et al. "Beyond Models! Explainable Data Valuation and Metric Adaption for
    Recommendation." (arXiv 2502.08685), 2025.
Reference code:
    https://github.com/renqii/DVR

A batch of training samples is a team; a Harsanyi network predicts the team's performance and gives
every sample's Shapley value; values become weights; REINFORCE trains the network on a metric of
validation users. docs/papers/dvr.md lists what differs from the paper, and why.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from recbole.utils import InputType, ModelType

from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.enhancer.dvr.reward import needs_categories, read_reward
from recbole_enhance.enhancer.dvr.trainer import DVRTrainer
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.schema import Count, Name, NotNegative, Options, Positive, Rate, Rule

# General recommenders with one loss per sample and tables of users and items; tests run them all.
BACKBONES = (
    "BPR",
    "DGCF",
    "LightGCN",
    "MultiGCCF",
    "NCL",
    "NGCF",
    "NNCF",
    "NeuMF",
    "ProtoMF",
    "SpectralCF",
    "TransGNN",
)


# Option -> what it must be, and how that is said.
class DVROptions(Options):
    """Options of DVR; defaults are in its YAML."""

    backbone: Name = Field(description="RecBole model whose training samples are valued.")
    dvr_reward: Annotated[Any, Rule(type="str", check=read_reward, shape={"type": "string"})] = (
        Field(
            description="What the valuator is rewarded for, on validation users: 'loss', or any "
            "ranking metric as 'ndcg@20' (docs/metrics.md); 'cc' and 'gini' are short for "
            "CategoryCoverage and GiniIndex."
        )
    )
    dvr_network: Literal["content", "slot"] = Field(
        description="Whose coalitions: 'content' (slot-free, by what a sample is) or 'slot' "
        "(the paper's, by place in the batch)."
    )
    dvr_weighting: Literal["soft", "sample"] = Field(
        description="How values train: 'soft' (weights w / mean(w)) or 'sample' (the paper's "
        "Bernoulli selection)."
    )
    dvr_normalization: Literal["sigmoid", "minmax", "rank"] = Field(
        description="From values to w: 'sigmoid' of the standardised value, 'minmax' (the "
        "paper's), or 'rank'."
    )
    dvr_exploration: NotNegative = Field(
        description="Standard deviation of the policy's noise on the standardised value under "
        "'soft'; 0 switches the policy off."
    )
    dvr_sample_dim: Count = Field(
        description="Numbers per sample, k; 1 in the paper's text, 10 in its code."
    )
    dvr_units: Count = Field(description="Units per Harsanyi block.")
    dvr_blocks: Count = Field(description="Harsanyi blocks, L.")
    dvr_act_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Share of a unit's possible children that are on at the start."
    )
    dvr_gamma: Positive = Field(description="Sharpness of the AND trigger.")
    dvr_eps: Annotated[float, Field(gt=0, lt=0.5)] = Field(description="w stays in [eps, 1 - eps].")
    dvr_learning_rate: NotNegative = Field(
        description="Learning rate of the fit of the outcome, Eq. (5.7); 0 switches it off."
    )
    dvr_policy_learning_rate: NotNegative = Field(
        description="Learning rate of REINFORCE, Eq. (5.13); 0 switches it off."
    )
    dvr_update_interval: Count = Field(description="Training steps between two rewards.")
    dvr_reward_users: Count = Field(
        description="Validation users per reward, drawn anew each time."
    )
    dvr_baseline_momentum: Rate = Field(
        description="Of the reward's running mean and variance; 0 rewards the gain since the "
        "last reward."
    )
    dvr_warmup_epochs: NotNegative = Field(
        description="Epochs in which the values are learnt but all weights are 1."
    )


def check(config: Any) -> None:
    """Refuse options and backbones that cannot work, before any data are read."""
    model_class = config.model_class
    # A user's own model is tried at the first batch.
    own = not model_class.__module__.startswith("recbole.")
    fits = model_class.__name__ in BACKBONES or (own and config["MODEL_TYPE"] == ModelType.GENERAL)
    if not fits or config["MODEL_INPUT_TYPE"] == InputType.LISTWISE:
        raise OptionError(
            "backbone",
            model_class.__name__,
            "DVR values samples (user, item, negative) or (user, item, label) with one loss "
            f"each; backbones that work: {', '.join(BACKBONES)}",
        )
    if config["eval_step"] < 1:
        raise OptionError(
            "eval_step",
            config["eval_step"],
            "must be a whole number above 0, as DVR needs validation",
        )
    if needs_categories(config["dvr_reward"].name) and not config["item_category_field"]:
        raise OptionError("dvr_reward", config["dvr_reward"], "needs item_category_field")


DVR = Enhancer(
    name="DVR",
    paper="Explainable Data Valuation and Metric Adaption for Recommendation (arXiv 2502.08685)",
    options=DVROptions,
    check=check,
    trainer=DVRTrainer,
)
