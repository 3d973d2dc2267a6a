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

from typing import Any

from recbole.utils import InputType, ModelType

from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.enhancer.dvr.estimator import NETWORKS
from recbole_enhance.enhancer.dvr.in_run import InRunTrainer
from recbole_enhance.enhancer.dvr.policy import NORMALIZATIONS, WEIGHTINGS
from recbole_enhance.enhancer.dvr.reward import parse_reward
from recbole_enhance.enhancer.dvr.trainer import HarsanyiTrainer
from recbole_enhance.enhancer.dvr.utility import parse_rewards
from recbole_enhance.metric.registry import requirements_of
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.read import WHOLE, Allowed, one_of, refuse_out_of_range, whole

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

VALUES = ("inrun", "harsanyi")
UTILITIES = ("validation", "leave_one_out")
# Which weightings each kind of values knows.
_WEIGHTINGS = {"inrun": ("soft", "direct"), "harsanyi": ("soft", "sample")}

# Option -> what it must be, and how that is said.
_ALLOWED: Allowed = {
    "dvr_values": one_of(VALUES),
    "dvr_utility": one_of(UTILITIES),
    "dvr_strength": (lambda x: x is None or x >= 0, "at least 0, or ~"),
    "dvr_reward_samples": WHOLE,
    "dvr_refresh_steps": WHOLE,
    "dvr_network": one_of(NETWORKS),
    "dvr_weighting": one_of(WEIGHTINGS),
    "dvr_normalization": one_of(NORMALIZATIONS),
    "dvr_sample_dim": WHOLE,
    "dvr_hidden_size": WHOLE,
    "dvr_units": WHOLE,
    "dvr_blocks": WHOLE,
    "dvr_update_interval": WHOLE,
    "dvr_reward_users": WHOLE,
    "dvr_learning_rate": (lambda x: x >= 0, "at least 0"),
    "dvr_policy_learning_rate": (lambda x: x >= 0, "at least 0"),
    "dvr_warmup_epochs": (lambda x: x >= 0, "at least 0"),
    "dvr_exploration": (lambda x: x >= 0, "at least 0"),
    "dvr_gamma": (lambda x: x > 0, "above 0"),
    "dvr_act_ratio": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "dvr_eps": (lambda x: 0 < x < 0.5, "above 0 and below 0.5"),
    "dvr_baseline_momentum": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
}


def check(config: Any) -> None:
    """Refuse options and backbones that cannot work, before any data are read."""
    model_class = config.model_class
    # A user's own model is tried at the first batch.
    own = not model_class.__module__.startswith("recbole.")
    fits = model_class.__name__ in BACKBONES or (own and config["MODEL_TYPE"] == ModelType.GENERAL)
    if not fits or config["MODEL_INPUT_TYPE"] == InputType.LISTWISE:
        raise ValueError(
            f"backbone={model_class.__name__}: DVR values samples (user, item, negative) or "
            f"(user, item, label) with one loss each; backbones that work: {', '.join(BACKBONES)}"
        )
    refuse_out_of_range(config, _ALLOWED)
    kind, weighting = config["dvr_values"], config["dvr_weighting"]
    if weighting not in _WEIGHTINGS[kind]:
        allowed = ", ".join(_WEIGHTINGS[kind])
        raise OptionError("dvr_weighting", weighting, f"with dvr_values={kind} one of {allowed}")
    utility = config["dvr_utility"]
    if kind == "harsanyi" and utility != "validation":
        raise OptionError("dvr_utility", utility, "with dvr_values=harsanyi validation only")
    if utility == "leave_one_out":
        return
    if not whole(config["eval_step"]):
        raise OptionError(
            "eval_step", config["eval_step"], "a whole number above 0, as DVR needs validation"
        )
    if kind == "harsanyi":
        names = [parse_reward(config["dvr_reward"])[0]]
    else:
        names = [part.name for part in parse_rewards(config["dvr_reward"])]
    needed = frozenset[str]().union(*map(requirements_of, names))
    for need, option in (("categories", "item_category_field"), ("groups", "group_fields")):
        if need in needed and not config[option]:
            raise OptionError("dvr_reward", config["dvr_reward"], f"needs {option}")


DVR = Enhancer(
    name="DVR",
    paper="Explainable Data Valuation and Metric Adaption for Recommendation (arXiv 2502.08685)",
    check=check,
    choose=lambda config: InRunTrainer if config["dvr_values"] == "inrun" else HarsanyiTrainer,
)
