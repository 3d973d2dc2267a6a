r"""WBPR: BPR with negatives drawn by their popularity.

Reference:
    Zeno Gantner et al. "Personalized Ranking for Non-Uniformly Sampled Items." in KDD Cup 2011
    (PMLR 18), 2012.
Reference code:
    https://github.com/zenogantner/MyMediaLite

docs/papers/wbpr.md tells sources and differences.
"""

from typing import Any

from pydantic import Field

from recbole_enhance.data.loaders import FastTrainLoader
from recbole_enhance.data.negatives import NegativeSampler
from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.enhancer.triplets import (
    SamplingTrainer,
    check_triplets,
    pairwise,
    refuse_other_samplers,
)
from recbole_enhance.options.schema import Name, NotNegative, Options


class WBPRTrainer(SamplingTrainer):
    r"""Draws :math:`q(j | u) = p_j [j \notin I_u^+] / (1 - P_u)` with :math:`p_j \propto c_j^a`."""

    def make_samplers(self, loader: FastTrainLoader) -> None:
        """Count the items of the training part."""
        alpha = float(self.config["wbpr_alpha"])
        self.sampler = NegativeSampler(loader._dataset, "popularity", alpha)

    def choose_sampler(self, loader: FastTrainLoader, epoch: int) -> None:
        """Always the same."""
        loader.use(self.sampler)

    def log_epoch(self) -> Any:
        """Rounds of redrawing."""
        return {"wbpr_rounds": self.sampler.rounds}


class WBPROptions(Options):
    """Options of WBPR; defaults are in its YAML."""

    backbone: Name = Field(description="RecBole model that trains on triplets.")
    wbpr_alpha: NotNegative = Field(
        description="Exponent a of the number of training interactions of an item; 1 is as in the "
        "paper, 0 is uniform over the items seen in training."
    )


def check(config: Any) -> None:
    """Refuse options and backbones that cannot work, before any data are read."""
    check_triplets(config)
    refuse_other_samplers(config)


WBPR = Enhancer(
    name="WBPR",
    paper="Personalized Ranking for Non-Uniformly Sampled Items (PMLR 18:231-247)",
    options=WBPROptions,
    check=check,
    trainer=WBPRTrainer,
    adapt=pairwise,
    by_parts=True,
    by_rows=True,
)
