r"""AOBPR: BPR with adaptive oversampling of informative negatives.

Reference:
    Steffen Rendle, Christoph Freudenthaler. "Improving Pairwise Learning for Item Recommendation
    from Implicit Feedback." in WSDM 2014.

A factor is drawn by how much it matters to the user, then an item by its rank in that factor.
docs/papers/aobpr.md tells sources and differences.
"""

import math
from typing import Any, Literal

import torch
from pydantic import Field
from recbole.model.general_recommender.neumf import NeuMF
from torch import Tensor

from recbole_enhance.data.loaders import FastTrainLoader
from recbole_enhance.data.negatives import NegativeSampler, draw, outside, uniform_outside
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.enhancer.triplets import (
    SamplingTrainer,
    check_triplets,
    factors,
    pairwise,
    refuse_other_samplers,
    refuse_without_factors,
)
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.schema import Count, Name, Number0, Options, Positive
from recbole_enhance.storage.run_folder import RunFolder

_CELLS = 2**24  # numbers that are looked at in one go


def rank_law(n: int, lam: float) -> Tensor:
    r"""Truncated geometric law of ranks, :math:`p(r) \propto e^{-r / \lambda}`, 0 <= r < n.

    Args:
        n: Number of ranks.
        lam: :math:`\lambda`, above 0, in ranks.

    Returns:
        Probabilities, float64. Shape: ``(n,)``.

    Example:
        >>> [round(p, 4) for p in rank_law(2, 1e9).tolist()]
        [0.5, 0.5]
    """
    return torch.softmax(-torch.arange(n, dtype=torch.float64) / lam, 0)


def draw_ranks(u: Tensor, n: int, lam: float) -> Tensor:
    r"""Ranks of :func:`rank_law`, by its inverse.

    .. math:: r = \lfloor -\lambda \ln(1 - u (1 - e^{-n / \lambda})) \rfloor

    Args:
        u: Uniform in [0, 1), float64.
        n: Number of ranks.
        lam: :math:`\lambda`, above 0, in ranks.

    Returns:
        Whole numbers in [0, n), of the shape of ``u``.

    Example:
        >>> draw_ranks(torch.tensor([0.0, 0.55, 0.99], dtype=torch.float64), 10, 1e9).tolist()
        [0, 5, 9]
    """
    r = -lam * torch.log1p(u * math.expm1(-n / lam))
    return r.long().clamp(max=n - 1)


def factor_law(users: Tensor, sigma: Tensor) -> Tensor:
    r"""Odds of the factors, :math:`p(f | u) \propto |p_{uf}| \, \sigma_f`.

    Args:
        users: :math:`p_u`. Shape: ``(rows, d)``.
        sigma: Standard deviation of the items' values in each factor. Shape: ``(d,)``.

    Returns:
        Weights; those of ``sigma`` for a user of zeros, equal ones if that is zero too. Shape:
        ``(rows, d)``.

    Example:
        >>> factor_law(torch.tensor([[1.0, -2.0], [0.0, 0.0]]), torch.tensor([3.0, 1.0])).tolist()
        [[3.0, 2.0], [3.0, 1.0]]
    """
    sigma = sigma if bool((sigma > 0).any()) else torch.ones_like(sigma)
    odds = users.abs() * sigma
    return torch.where(odds.sum(1, keepdim=True) > 0, odds, sigma)


class AdaptiveSampler:
    r"""Draws items by a geometric law of their ranks, so mostly items that the model scores high.

    Args:
        model: The backbone.
        used: What the users have in training.
        mode: ``factor``: the rank is in the order of a factor that :func:`factor_law` draws, from
            the bottom where the user's value is negative. ``exact``: in the order of the user's
            scores, which the former approximates. ``pool``: in the order of the scores of some
            uniform draws.
        lam: :math:`\lambda` as a share of the items.
        interval: Batches between two refreshes of what is read from the model.
        rejects: Whether a user's own items are drawn again.
        pool: Draws of ``pool``.

    Attributes:
        age: Batches drawn for.
        tables: What was read from the model at the last refresh.
        rounds: Rounds of redrawing, of each batch since they were last cleared.
    """

    per_batch = True

    def __init__(
        self,
        model: Any,
        used: UserLists,
        mode: str,
        lam: float,
        interval: int,
        rejects: bool = True,
        pool: int = 200,
    ) -> None:
        self.model, self.used, self.mode = model, used, mode
        self.n = used.n_items - 1
        self.share, self.interval, self.rejects, self.pool = lam, interval, rejects, pool
        self.age, self.rounds = 0, []  # type: ignore[var-annotated]
        self.tables: dict[str, Tensor] = {}
        self._live: tuple[str, ...] = ()

    @property
    def lam(self) -> float:
        """The rank law's parameter, in items."""
        return self.share * self.n

    # ---- the model -------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read the model's factors, and for ``factor`` their orders of items and spreads."""
        if self._scores_pairs():
            return
        found = factors(self.model)
        self.tables = {"users": found.users, "items": found.items}
        self._live = ("users", "items") if found.live else ()
        if self.mode == "factor":
            items = self.tables.pop("items")[1:]
            self.tables["sigma"] = items.std(0, correction=0)
            self.tables["order"] = (items.argsort(0, descending=True) + 1).int().cpu()

    def _scores_pairs(self) -> bool:
        return self.mode == "pool" and isinstance(self.model, NeuMF)

    def state(self) -> dict[str, Any]:
        """What a continued run needs, beside the parameters."""
        kept = {name: t for name, t in self.tables.items() if name not in self._live}
        return {"age": self.age, "tables": kept}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave, once the model has its parameters."""
        self.age = state["age"]
        if self.age > 0:
            self.refresh()
            self.tables.update(state["tables"])
            if "order" in self.tables:
                self.tables["order"] = self.tables["order"].cpu()

    # ---- drawing ---------------------------------------------------------------------------

    def draw(
        self, users: Tensor, positives: Tensor, num: int, generator: torch.Generator
    ) -> Tensor:
        """As :meth:`~recbole_enhance.data.negatives.NegativeSampler.draw`, for one batch."""
        if self.age % self.interval == 0:
            self.refresh()
        self.age += 1
        users = users.repeat(num)
        if self.mode == "factor":
            return self._by_factor(users, generator).view(num, -1)
        width = self.n if self.mode == "exact" else self.pool * self._width()
        blocks = users.split(max(1, _CELLS // width))
        by = self._by_score if self.mode == "exact" else self._from_pool
        return torch.cat([by(block, generator) for block in blocks]).view(num, -1)

    def _by_factor(self, users: Tensor, generator: torch.Generator) -> Tensor:
        device = self.tables["users"].device

        def propose(rows: Tensor) -> Tensor:
            p = self.tables["users"][users[rows].to(device)]
            u = torch.rand(2, len(rows), generator=generator, dtype=torch.float64)
            cdf = factor_law(p, self.tables["sigma"]).cumsum(1, dtype=torch.float64)
            place = u[0].to(device).unsqueeze(1) * cdf[:, -1:]
            f = torch.searchsorted(cdf, place, right=True).clamp(max=p.shape[1] - 1)
            negative = (p.gather(1, f) < 0).squeeze(1).cpu()
            r = draw_ranks(u[1], self.n, self.lam)
            r = torch.where(negative, self.n - 1 - r, r)
            return self.tables["order"][r, f.squeeze(1).cpu()].long()

        return self._reject(users, propose, generator)

    def _by_score(self, users: Tensor, generator: torch.Generator) -> Tensor:
        order = self._scores(users).argsort(1, descending=True).cpu() + 1

        def propose(rows: Tensor) -> Tensor:
            u = torch.rand(len(rows), generator=generator, dtype=torch.float64)
            return order[rows, draw_ranks(u, self.n, self.lam)]

        return self._reject(users, propose, generator)

    def _reject(self, users: Tensor, propose: Any, generator: torch.Generator) -> Tensor:
        if not self.rejects:
            return propose(torch.arange(len(users)))
        items, rounds = draw(
            len(users),
            propose,
            lambda rows, items: self.used.holds(users[rows], items),
            lambda rows: outside(
                self.used, users[rows], lambda at: self.law(users[rows[at]]), generator
            ),
        )
        self.rounds.append(rounds)
        return items

    def _from_pool(self, users: Tensor, generator: torch.Generator) -> Tensor:
        many = users.repeat_interleave(self.pool)
        if self.rejects:
            items = uniform_outside(self.used, many, generator).view(len(users), -1)
        else:
            items = torch.randint(1, self.n + 1, (len(users), self.pool), generator=generator)
        u = torch.rand(len(users), 1, generator=generator, dtype=torch.float64)
        r = draw_ranks(u, self.pool, self.share * self.pool)
        order = self._scores(users, items).argsort(1, descending=True).cpu()
        return items.gather(1, order.gather(1, r)).squeeze(1)

    def _width(self) -> int:
        return 128 if self._scores_pairs() else self.tables["users"].shape[1]

    @torch.no_grad()
    def _scores(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Scores of all items but padding, or of some; rows of either belong to the users."""
        device = self.model.device
        users, items = users.to(device), None if items is None else items.to(device)
        if items is not None and self._scores_pairs():
            training = self.model.training
            self.model.eval()
            pairs = users.repeat_interleave(items.shape[1]), items.flatten()
            scores = self.model.forward(*pairs).view_as(items)
            self.model.train(training)
            return scores
        p, q = self.tables["users"][users], self.tables["items"]
        return p @ q[1:].t() if items is None else (q[items] @ p.unsqueeze(2)).squeeze(2)

    # ---- the law ---------------------------------------------------------------------------

    def law(self, users: Tensor) -> Tensor:
        """Probability of each item before rejection; computes it for all items.

        Args:
            users: Shape: ``(rows,)``.

        Returns:
            Rows that add up to 1, 0 for padding; of ``pool`` there is none. Shape:
            ``(rows, n_items)``.
        """
        assert self.mode != "pool"
        of_rank = rank_law(self.n, self.lam)
        law = torch.zeros(len(users), self.n + 1, dtype=torch.float64)
        if self.mode == "exact":
            order = self._scores(users).argsort(1, descending=True).cpu() + 1
            return law.scatter_(1, order, of_rank.expand(len(users), -1))
        p = self.tables["users"][users.to(self.tables["users"].device)]
        odds = factor_law(p, self.tables["sigma"]).double().cpu()
        odds, negative = odds / odds.sum(1, keepdim=True), (p < 0).cpu()
        rank = self.tables["order"].long().sub(1).argsort(0)  # of each item, in each factor
        law[:, 1:] = (odds * ~negative) @ of_rank[rank].t()
        law[:, 1:] += (odds * negative) @ of_rank[self.n - 1 - rank].t()
        return law

    def log_q(self, users: Tensor, items: Tensor) -> Tensor:
        """As :meth:`~recbole_enhance.data.negatives.NegativeSampler.log_q`, after a draw."""
        law = self.law(users)
        if self.rejects:
            law[self.used.of(users)] = 0.0
        return law.gather(1, items.unsqueeze(1)).squeeze(1).log() - law.sum(1).log()


class AOBPRTrainer(SamplingTrainer):
    """Draws negatives that the model scores high, after a warm-up with uniform ones."""

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        self.warmup_epochs = config["aobpr_warmup_epochs"]

    def make_samplers(self, loader: FastTrainLoader) -> None:
        """Build both samplers; the paper's orders are renewed every M ln M draws."""
        config, n = self.config, loader._dataset.item_num - 1
        draws = loader.step * loader.neg_sample_num
        interval = config["aobpr_refresh"] or max(1, math.ceil(n * math.log(n) / draws))
        self.uniform = NegativeSampler(loader._dataset, "uniform")
        self.sampler = AdaptiveSampler(
            self.model,
            UserLists.of_datasets([loader._dataset]),
            config["aobpr_mode"],
            config["aobpr_lambda"],
            interval,
            config["aobpr_reject"],
        )

    def choose_sampler(self, loader: FastTrainLoader, epoch: int) -> None:
        """Uniform in the warm-up, as random vectors give meaningless orders."""
        self.sampler.rounds.clear()
        loader.use(self.uniform if epoch < self.warmup_epochs else self.sampler)

    def log_epoch(self) -> dict[str, float]:
        """Mean and largest number of rounds of redrawing in the epoch's batches."""
        rounds = self.sampler.rounds or [0]
        return {"aobpr_rounds": sum(rounds) / len(rounds), "aobpr_rounds_max": max(rounds)}

    def method_state(self) -> dict[str, Any]:
        """Orders, and the batches since they were made."""
        return self.sampler.state()

    def load_method_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`method_state` gave."""
        self.sampler.load_state(state)


class AOBPROptions(Options):
    """Options of AOBPR; defaults are in its YAML."""

    backbone: Name = Field(description="RecBole model that trains on triplets.")
    aobpr_lambda: Positive = Field(
        description="Parameter of the geometric distribution of ranks, as a share of the items; "
        "large values approach the uniform distribution."
    )
    aobpr_mode: Literal["factor", "exact", "pool"] = Field(
        description="What items are ranked by: 'factor' (as in the paper), 'exact' (the user's "
        "scores; slow) or 'pool' (the scores, among some uniform draws; for NeuMF)."
    )
    aobpr_refresh: Count | None = Field(
        description="Number of batches after which items are sorted again; ~ is as in the paper, "
        "after M ln M draws for M items."
    )
    aobpr_reject: bool = Field(
        description="Whether another item is drawn instead of one that the user already has."
    )
    aobpr_warmup_epochs: Number0 = Field(
        description="Number of first epochs with uniform negatives."
    )


def check(config: Any) -> None:
    """Refuse options and backbones that cannot work, before any data are read."""
    check_triplets(config)
    refuse_other_samplers(config)
    mode, is_neumf = config["aobpr_mode"], issubclass(config.model_class, NeuMF)
    if mode == "exact" and is_neumf:
        raise OptionError(
            "aobpr_mode",
            "exact",
            "NeuMF's scores are not products of factors; choose factor or pool",
        )
    if mode == "factor":
        refuse_without_factors(config, "aobpr_mode=factor")


AOBPR = Enhancer(
    name="AOBPR",
    paper="Improving Pairwise Learning for Item Recommendation from Implicit Feedback (WSDM 2014)",
    options=AOBPROptions,
    begins="aobpr_warmup_epochs",
    check=check,
    trainer=AOBPRTrainer,
    adapt=pairwise,
    by_parts=True,
    by_rows=True,
)
