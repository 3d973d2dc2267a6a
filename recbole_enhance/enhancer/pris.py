r"""PRIS: personalised ranking with importance sampling.

Reference:
    Defu Lian, Qi Liu, Enhong Chen. "Personalized Ranking with Importance Sampling." in WWW 2020.
Reference code:
    https://github.com/DefuLian/PRIS

Several negatives per positive; each triplet's loss is weighted by the negative's probability
under the softmax over all items, divided by its probability under the sampler. docs/papers/pris.md
lists sources and differences.
"""

import logging
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from recbole_enhance.data.loaders import LOG_Q, FastTrainLoader
from recbole_enhance.data.negatives import NegativeSampler, item_counts
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.enhancer.clusters import ClusterSampler
from recbole_enhance.enhancer.triplets import (
    SamplingTrainer,
    WeighingTrainer,
    check_triplets,
    factors,
    pairwise,
    refuse_other_samplers,
    refuse_without_factors,
)
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.schema import Count, Name, Options, Positive, Rule
from recbole_enhance.storage.run_folder import RunFolder

logger = logging.getLogger("recbole_enhance")
_UNSEEN = 1e-6


def popularity(counts: Tensor, mode: int) -> Tensor:
    r"""Weights of the popular proposal: :math:`\log(1 + c)`, the same plus 1e-6, :math:`c^{0.75}`.

    Args:
        counts: Training interactions of each item, c. Shape: ``(n_items,)``.
        mode: 0, 1 or 2. Only 1 can draw an item without training interactions.

    Returns:
        At least 0. Shape: ``(n_items,)``.

    Example:
        >>> [popularity(torch.tensor([0, 1]), mode).tolist()[0] for mode in range(3)]
        [0.0, 1e-06, 0.0]
    """
    counts = counts.double()
    if mode == 2:
        return counts.pow(0.75)
    return counts.log1p() + (_UNSEEN if mode == 1 else 0.0)


def importance(margins: Tensor, log_q: Tensor, tau: float) -> Tensor:
    r"""Self-normalised weights :math:`w_k = \mathrm{softmax}_k(-x_k / \tau - \log q_k)`.

    That is the softmax of :math:`x_{uj_k} / \tau - \log q_k`, since the positive's score is the
    same in all; a term that a row's :math:`\log q` share changes nothing.

    Args:
        margins: :math:`x_k = x_{ui} - x_{uj_k}`. Shape: ``(n, B)``.
        log_q: Log-probability of each negative. Shape: ``(n, B)``.
        tau: Temperature, above 0.

    Returns:
        Weights that add up to 1 over the n negatives. Shape: ``(n, B)``.

    Example:
        >>> importance(torch.zeros(2, 1), torch.tensor([[0.5], [0.25]]).log(), 1.0).flatten()
        tensor([0.3333, 0.6667])
    """
    return torch.softmax(-margins / tau - log_q, dim=0)


class PRISTrainer(SamplingTrainer, WeighingTrainer):
    """Draws n negatives from a proposal and corrects for it by importance weights."""

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        self.n_negatives = config["pris_negatives"]
        self.proposal, self.mode = config["pris_proposal"], config["pris_popularity"]
        self.tau, self.detach = config["pris_tau"], config["pris_detach"]
        self.weighted, self.n_clusters = config["pris_weighted"], config["pris_clusters"]

    def make_samplers(self, loader: FastTrainLoader) -> None:
        """Count the items of the training part."""
        weights, dataset = None, loader._dataset
        if self.proposal.endswith("popular"):
            weights = popularity(item_counts(dataset), self.mode)
        self.sampler: Any = NegativeSampler(dataset, "uniform", weights=weights)
        self.by_cluster: ClusterSampler | None = None
        if self.proposal.startswith("cluster"):
            if self.n_clusters > dataset.item_num - 1:
                there_are = f"there are only {dataset.item_num - 1} items"
                raise OptionError("pris_clusters", self.n_clusters, there_are)
            used = UserLists.of_datasets([dataset])
            self.by_cluster = ClusterSampler(used, self.sampler.weights)

    def choose_sampler(self, loader: FastTrainLoader, epoch: int) -> None:
        """Cluster anew for each epoch but the first, whose vectors are random."""
        # What a continued run needs is in the parameters and in the generator's state.
        if self.by_cluster is not None and epoch > 0:
            found = factors(self.model)
            self.by_cluster.fit(
                found.users.cpu(), found.items.cpu(), self.n_clusters, self.generator
            )
            self.sampler = self.by_cluster
        loader.use(self.sampler, self.n_negatives, log_q=True)

    def combine(self, losses: Tensor, positive: Tensor, negative: Tensor) -> Tensor | None:
        """Mean over positives of the weighted losses of their negatives."""
        if not self.weighted:
            return None  # 1 / n each
        shape = (self.n_negatives, -1)
        margins, log_q = (positive - negative).view(shape), self._batch[LOG_Q].view(shape)
        weights = importance(margins.detach() if self.detach else margins, log_q, self.tau)
        self.log("pris_effective", (1 / weights.detach().square().sum(0)).mean().item())
        return (weights * losses.view(shape)).sum(0).mean()

    def log_epoch(self) -> dict[str, float]:
        """Rounds of redrawing."""
        return {"pris_rounds": self.sampler.rounds}


class PRISOptions(Options):
    """Options of PRIS; defaults are in its YAML."""

    backbone: Name = Field(description="RecBole model that trains on triplets.")
    pris_negatives: Count = Field(
        description="Negatives per positive, n; with 1 the method is BPR with the proposal's "
        "negatives."
    )
    pris_proposal: Literal["uniform", "popular", "cluster-uniform", "cluster-popular"] = Field(
        description="Where negatives come from: 'uniform', 'popular', 'cluster-uniform' or "
        "'cluster-popular' (clusters of item vectors, by the user's taste)."
    )
    pris_popularity: Annotated[
        int, Field(ge=0, le=2), Rule("must be 0, 1 or 2", range="[0, 1, 2]")
    ] = Field(
        description="Weight of an item with c training interactions: 0 is log(1 + c), 1 is the "
        "same plus 1e-6 (as in the authors' scripts), 2 is c ** 0.75."
    )
    pris_weighted: bool = Field(
        description="Whether negatives are weighted; if False, each has weight 1 / n."
    )
    pris_detach: bool = Field(
        description="Whether the weights are treated as constants; in the authors' code, the "
        "gradient flows through them."
    )
    pris_tau: Positive = Field(description="Temperature of the weights.")
    pris_clusters: Count = Field(
        description="Number of clusters of items, which are fitted again before each epoch except "
        "the first."
    )


def check(config: Any) -> None:
    """Refuse options and backbones that cannot work, before any data are read."""
    check_triplets(config)
    refuse_other_samplers(config, own_num="pris_negatives")
    if config["pris_proposal"].startswith("cluster"):
        refuse_without_factors(config, f"pris_proposal={config['pris_proposal']}")
    if config["pris_negatives"] == 1:
        logger.warning(
            "pris_negatives=1: a single weight is 1, so this is BPR with negatives of "
            "pris_proposal=%s",
            config["pris_proposal"],
        )


PRIS = Enhancer(
    name="PRIS",
    paper="Personalized Ranking with Importance Sampling (WWW 2020)",
    options=PRISOptions,
    check=check,
    trainer=PRISTrainer,
    adapt=pairwise,
    by_parts=True,
    by_rows=True,
)
