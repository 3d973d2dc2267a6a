r"""DVR: explainable data valuation.

Reference:
    Renqi Jia et al. "Beyond Models! Explainable Data Valuation and Metric Adaption for
    Recommendation." (arXiv 2502.08685), 2025.
Reference code:
    https://github.com/renqii/DVR

A batch of training samples is a team, and what the step that it makes does to a metric of held-out
interactions is the outcome; a sample's Shapley value becomes its weight. Values are had in closed
form (``inrun``), or as in the paper (``harsanyi``): a network predicts the team's performance,
REINFORCE trains it on the metric. docs/papers/dvr.md lists what differs from the paper, and why.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from recbole.utils import InputType, ModelType

from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.enhancer.dvr.in_run import JUDGES, InRunTrainer
from recbole_enhance.enhancer.dvr.reward import read_rewards
from recbole_enhance.enhancer.dvr.trainer import HarsanyiTrainer
from recbole_enhance.enhancer.dvr.utility import parts_of, refuse_unsteerable
from recbole_enhance.metric.registry import requirements_of
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.schema import (
    Count,
    Few,
    InnerShare,
    Name,
    NotNegative,
    Number0,
    Options,
    Positive,
    Rate,
    Rule,
    Width,
)

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


# Options that one kind of values reads, and the other does not.
_ONLY = {
    "inrun": (
        "dvr_strength",
        "dvr_judges",
        "dvr_amortise",
        "dvr_reward_samples",
        "dvr_refresh_steps",
    ),
    "harsanyi": (
        "dvr_network",
        "dvr_normalization",
        "dvr_exploration",
        "dvr_sample_dim",
        "dvr_units",
        "dvr_blocks",
        "dvr_act_ratio",
        "dvr_gamma",
        "dvr_eps",
        "dvr_learning_rate",
        "dvr_policy_learning_rate",
        "dvr_update_interval",
        "dvr_baseline_momentum",
        "dvr_warmup_epochs",
    ),
}
# Which weightings each kind of values knows.
_WEIGHTINGS = {"inrun": ("soft", "direct"), "harsanyi": ("soft", "sample")}


# Option -> what it must be, and how that is said.
class DVROptions(Options):
    """Options of DVR; defaults are in its YAML."""

    backbone: Name = Field(description="RecBole model whose training samples are valued.")
    dvr_values: Literal["inrun", "harsanyi"] = Field(
        description="How samples are valued: 'inrun' (in closed form, by what a sample's part of "
        "the step does to the utility) or 'harsanyi' (the paper's network, fitted to the batch's "
        "loss and moved by REINFORCE)."
    )
    dvr_utility: Literal["validation", "leave_one_out"] = Field(
        description="What values are measured by: dvr_reward on half of the validation "
        "interactions ('validation'), or the likelihood of the other training interactions "
        "('leave_one_out'), which needs no validation and reads no dvr_reward."
    )
    dvr_reward: Annotated[
        Any,
        Rule(type="str or dict", check=read_rewards, shape={"type": ["string", "object"]}),
    ] = Field(
        description="What is rewarded: 'loss', or any metric of ranked lists as 'ndcg@20' "
        "(docs/metrics.md), or with 'inrun' several as '{ndcg@20: 1, cc@20: 0.3}'; 'cc' and "
        "'gini' are short for CategoryCoverage and GiniIndex."
    )
    dvr_strength: NotNegative | None = Field(
        description="With 'inrun', the dial between the backbone (0) and the reward: weights "
        "2 sigmoid(strength * value / rms), or with 'direct' the length of the reward's gradient "
        "relative to the loss's. ~ is 0.2 if accuracy is rewarded, 0.05 for other rewards; with "
        "'direct' 0.04 and 0.02."
    )
    dvr_judges: InnerShare | None = Field(
        description="With 'inrun' and 'validation', the share of the validation interactions, "
        "drawn at random, that values are measured on; the others select the epoch. ~ is 0.5, or "
        "0 if dvr_strength is 0. With train_on_validation, values are measured on the "
        "interactions that are added to training."
    )
    dvr_amortise: bool = Field(
        description="With 'inrun', whether values.csv.gz has a column amortised: the rank of the "
        "value, predicted from the loss over the run, the item's popularity and the user's "
        "activity. It finds wrong interactions better than the value itself."
    )
    dvr_reward_samples: Count = Field(
        description="With 'inrun', number of swaps that are drawn at the end of each user's list "
        "to estimate the gradient of a metric."
    )
    dvr_refresh_steps: Count = Field(
        description="With 'inrun', training steps after which the gradient of the reward is "
        "computed again; each epoch begins with a new one."
    )
    dvr_network: Literal["content", "slot"] = Field(
        description="What coalitions consist of: samples by their content ('content'), or places "
        "in the batch ('slot', as in the paper)."
    )
    dvr_weighting: Literal["soft", "sample", "direct"] = Field(
        description="How values are used: 'soft' weighs the samples, with mean 1; 'direct' (with "
        "'inrun') adds the reward's gradient to the loss's and only records values; 'sample' "
        "(with 'harsanyi') is the paper's Bernoulli selection."
    )
    dvr_normalization: Literal["sigmoid", "minmax", "rank"] = Field(
        description="How values become selection probabilities w: 'sigmoid' of the standardised "
        "value, 'minmax' (the paper's), or 'rank'."
    )
    dvr_exploration: NotNegative = Field(
        description="Standard deviation of the policy's noise on the standardised value under "
        "'soft'; 0 switches REINFORCE off. With 'harsanyi' only."
    )
    dvr_sample_dim: Width = Field(
        description="Length of a sample's vector, k; 1 in the paper's text, 10 in its code."
    )
    dvr_units: Count = Field(description="Units per Harsanyi block.")
    dvr_blocks: Few = Field(description="Harsanyi blocks, L.")
    dvr_act_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Share of a unit's possible children that are on at the start."
    )
    dvr_gamma: Positive = Field(description="Sharpness of the AND gate of a unit's children.")
    dvr_eps: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="Distance of w from 0 and 1."
    )
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
        description="Share of the old value in the running mean and variance of the reward; 0 "
        "compares each reward with the last one."
    )
    dvr_warmup_epochs: Number0 = Field(
        description="Epochs in which the values are learnt but all weights are 1."
    )


def _unread(config: Any) -> list[str]:
    """A line on the options that are given and that the chosen kind of values does not read."""
    other = _ONLY["harsanyi" if config["dvr_values"] == "inrun" else "inrun"]
    defaults = DVR.default_options()[1]
    unread = [option for option in other if config[option] != defaults[option]]
    return (
        [f"{', '.join(unread)}: not read with dvr_values={config['dvr_values']}"] if unread else []
    )


def _in_search(config: Any) -> dict[str, Any]:
    """Trials of strength 0 select on the same validation interactions as the others."""
    given = config["dvr_judges"] is not None or config["train_on_validation"]
    return {} if given or config["dvr_values"] != "inrun" else {"dvr_judges": JUDGES}


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
    kind, weighting = config["dvr_values"], config["dvr_weighting"]
    if weighting not in _WEIGHTINGS[kind]:
        allowed = ", ".join(_WEIGHTINGS[kind])
        raise OptionError("dvr_weighting", weighting, f"with dvr_values={kind} one of {allowed}")
    utility, reward = config["dvr_utility"], config["dvr_reward"]
    judges, added = config["dvr_judges"], config["train_on_validation"]
    if judges is not None and added:
        why = f"train_on_validation={added} adds the judges to training; leave dvr_judges out"
        raise OptionError("dvr_judges", judges, why)
    if kind == "harsanyi" and utility != "validation":
        raise OptionError("dvr_utility", utility, "with dvr_values=harsanyi validation only")
    if utility == "leave_one_out":
        return
    if config["eval_step"] < 1:
        raise OptionError(
            "eval_step",
            config["eval_step"],
            "must be a whole number above 0, as DVR needs validation",
        )
    if kind == "harsanyi" and isinstance(reward, dict):
        raise OptionError("dvr_reward", reward, "dvr_values=harsanyi takes a single metric")
    if kind == "inrun":
        refuse_unsteerable(reward)
    needed = frozenset[str]().union(*(requirements_of(part.name) for part in parts_of(reward)))
    for need, option in (("categories", "item_category_field"), ("groups", "group_fields")):
        if need in needed and not config[option]:
            raise OptionError("dvr_reward", reward, f"needs {option}")


DVR = Enhancer(
    name="DVR",
    paper="Explainable Data Valuation and Metric Adaption for Recommendation (arXiv 2502.08685)",
    options=DVROptions,
    begins=lambda c: "dvr_warmup_epochs" if c["dvr_values"] == "harsanyi" else None,
    check=check,
    notes=_unread,
    in_search=_in_search,
    choose=lambda config: InRunTrainer if config["dvr_values"] == "inrun" else HarsanyiTrainer,
)
