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
from recbole_enhance.enhancer.dvr.policy import NORMALIZATIONS, WEIGHTINGS
from recbole_enhance.enhancer.dvr.reward import needs_categories, parse_reward
from recbole_enhance.enhancer.dvr.trainer import DVRTrainer
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

# Option -> what it must be, and how that is said.
_ALLOWED: Allowed = {
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
    "eval_step": (whole, "a whole number above 0, as DVR needs validation"),
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
    reward, _ = parse_reward(config["dvr_reward"])
    if needs_categories(reward) and not config["item_category_field"]:
        raise ValueError(f"dvr_reward={config['dvr_reward']}: needs item_category_field")


DVR = Enhancer(
    name="DVR",
    paper="Explainable Data Valuation and Metric Adaption for Recommendation (arXiv 2502.08685)",
    check=check,
    trainer=DVRTrainer,
)
