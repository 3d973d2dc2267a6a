"""What RVRec adds to a backbone: Gaussians of its embeddings, and weights of histories."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from recbole_enhance.enhancer.rvrec.gaussian import (
    GaussianHeads,
    contrastive_loss,
    pairwise_wasserstein2_squared,
)
from recbole_enhance.enhancer.rvrec.histories import Chains, Histories, unique_ids
from recbole_enhance.enhancer.rvrec.item_query import rule_joins
from recbole_enhance.enhancer.rvrec.prototypes import ShapleyPrototypes, Weighted, coins

_ANCHORS = 256  # rows of a batch that the contrastive loss is the mean of


class Enhanced(NamedTuple):
    """Rows of users after PEO and MSVR.

    Attributes:
        mu: Means. Shape: ``(users, d)``.
        weighted: What MSVR made of the histories, or None.
        out: What scores: mu + alpha P. Shape: ``(users, d)``.
        chains: The histories, with ids of items.
    """

    mu: Tensor
    weighted: Weighted | None
    out: Tensor
    chains: Chains | None


_SPARSE_START = 3.0  # of alpha, where histories are short
_DECAY_BY_TIME = 0.3  # what is held out is the latest, and the latest items say most of it
_LONG = 20  # items: a user's own vector has much to learn from where most users have more


class RVRecNetwork(nn.Module):
    """All that RVRec adds to a backbone.

    Args:
        config: The run's settings.
        size: d of the tables.
        histories: Of the training part.

    Attributes:
        histories: Of the training part.
        read: Those that lists are ranked by.
    """

    def __init__(self, config: Any, size: int, histories: Histories) -> None:
        super().__init__()
        self.users = self.items = self.prototypes = self.alpha = self.beta = None
        self.careful = False  # whether alpha starts from 0 because histories are long
        self.longest = config["rvrec_history"]
        self.decay = config["rvrec_decay"]
        if self.decay is None:
            self.decay = _DECAY_BY_TIME if config["eval_args"]["order"] == "TO" else 0.0
        self.contrast_weight = config["rvrec_contrast_weight"]
        self.contrast_temperature = config["rvrec_contrast_temperature"]
        self.n_negatives = config["rvrec_contrast_negatives"]
        hidden, self.floor = config["rvrec_hidden"], config["rvrec_sigma_floor"]
        self.histories = self.read = histories
        if config["rvrec_peo"]:
            mean_head = config["rvrec_mean_head"]
            self.users = GaussianHeads(size, hidden, self.floor, mean_head)
            self.items = GaussianHeads(size, hidden, self.floor, mean_head)
        self.by_rule = config["rvrec_coalitions"] == "rule"
        self.item_query = config["rvrec_msvr"] and config["rvrec_query"] == "item"
        uniform = config["rvrec_weights"] == "uniform"
        if self.item_query:
            start = 0.0 if uniform else float(config["rvrec_beta_start"])
            self.beta = nn.Parameter(torch.tensor(start), requires_grad=not uniform)
        elif config["rvrec_msvr"]:
            self.prototypes = ShapleyPrototypes(
                size,
                self.longest,
                config["rvrec_kappa"],
                config["rvrec_gate_mode"],
                config["rvrec_gate_objective"],
                config["rvrec_gate_weight"],
                config["rvrec_temperature"],
                config["rvrec_partitions"],
                uniform=uniform,
                random=config["rvrec_coalitions"] == "random",
            )
        if config["rvrec_msvr"]:
            start = config["rvrec_alpha_start"]
            self.careful = start is None and histories.dense(_LONG)
            if start is None:
                start = 0.0 if self.careful else _SPARSE_START
            self.alpha = nn.Parameter(torch.tensor(float(start)))
        self.generator: torch.Generator | None = None  # the trainer's, whose state is saved
        self.seed = config["seed"]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "generator": None}  # older torch cannot copy one

    @property
    def scalars(self) -> tuple[Tensor, Tensor]:
        """Alpha and beta of the item query."""
        assert self.alpha is not None
        assert self.beta is not None
        return self.alpha, self.beta

    def joins(self, items: Tensor, table: Tensor) -> Tensor:
        """Which neighbours of histories are explained together with the item query.

        Args:
            items: 0 for padding. Shape: ``(users, H)``.
            table: What is multiplied. Shape: ``(n_items, d)``.

        Returns:
            Shape: ``(users, H)``.
        """
        if self.by_rule:
            return rule_joins(items, table)
        return coins(items, items.roll(-1, dims=1)) > 0

    def draw_from(self) -> torch.Generator:
        """The trainer's source of randomness, or one of the same seed."""
        if self.generator is None:
            self.generator = torch.Generator().manual_seed(self.seed)
        return self.generator

    def means(self, heads: GaussianHeads | None, e: Tensor) -> Tensor:
        """Means; the embeddings themselves without PEO."""
        return e if heads is None else heads.mean(e)

    def enhance(
        self, e: Tensor, x: Tensor, chains: Chains, place: Tensor | None, learns: bool
    ) -> Enhanced:
        """Rows of some users.

        Args:
            e: The backbone's rows. Shape: ``(chains, d)``.
            x: Items' means. Shape: ``(rows, d)``.
            chains: Histories of the users.
            place: Row of each item in ``x``; None where ``x`` has all. Shape: ``(n_items,)``.
            learns: Whether the gates' loss is wanted.
        """
        mu = self.means(self.users, e)
        if self.prototypes is None:
            return Enhanced(mu, None, mu, chains)
        local = chains
        if place is not None:
            local = chains._replace(item=place.index_select(0, chains.item))
        generator = self.draw_from() if learns else None
        weighted = self.prototypes(mu, x, local, chains.item, generator)
        return Enhanced(mu, weighted, mu + self.alpha * weighted.prototype, chains)  # Eq. (16)

    def contrast(
        self,
        users: Tensor,
        items: Tensor,
        local: tuple[Tensor, ...],
        ids: Tensor,
        user_at: Tensor,
        rows: Tensor,
    ) -> Tensor:
        """The contrastive loss of a batch (Eqs. 9 and 10).

        Args:
            users: The batch's users' embeddings. Shape: ``(users, d)``.
            items: Items' embeddings. Shape: ``(items, d)``.
            local: Rows of the batch's users, positives, and negatives where it has some.
            ids: Of the positives. Shape: ``(batch,)``.
            user_at: Row of each user, of others anything. Shape: ``(n_users,)``.
            rows: Ids of the batch's users. Shape: ``(users,)``.
        """
        assert self.users is not None
        assert self.items is not None
        order = torch.randperm(len(ids), generator=self.draw_from()).to(ids.device)
        shared, order = order[: self.n_negatives], order[:_ANCHORS]
        negative = local[1].index_select(0, shared)
        user, *each = (part.index_select(0, order) for part in local)
        needed, at = unique_ids(len(items), *each, negative)
        x = self.items.points(embedding(needed, items))
        chosen, row = unique_ids(len(rows), user)
        user = row.index_select(0, user)
        u = self.users.points(embedding(chosen, users))
        between = pairwise_wasserstein2_squared(u, embedding(at[negative], x))
        known = self._known(ids[shared], user_at, rows).index_select(0, chosen)
        between = between.masked_fill(known, float("inf"))
        both = embedding(at[torch.stack(each)], x)
        own = (both - embedding(user, u)).square().sum(-1)  # Eq. (8)
        return contrastive_loss(own[0], own[1:], between, user, self.contrast_temperature)

    def _known(self, items: Tensor, user_at: Tensor, rows: Tensor) -> Tensor:
        """Whether users have items in training; what they have is no negative.

        Args:
            items: Ids. Shape: ``(m,)``.
            user_at: Row of each user, of others anything.
            rows: Ids of the users. Shape: ``(users,)``.

        Returns:
            Shape: ``(users, m)``.
        """
        audience = self.histories.audience(items)
        row = user_at.index_select(0, audience.item).clamp(min=0)
        here = (rows.index_select(0, row) == audience.item).nonzero().squeeze(1)
        known = torch.zeros(len(rows), len(items), dtype=torch.bool, device=rows.device)
        known[row.index_select(0, here), audience.row.index_select(0, here)] = True
        return known
