r"""Shapley-weighted prototypes of histories: RVRec's MSVR.

Reference:
    Yunqi Mi et al. "A Plug-and-play Model-agnostic Embedding Enhancement Approach for Explainable
    Recommendation." in IEEE Transactions on Multimedia 2025 (arXiv 2509.03130).

Equation numbers are those of docs/papers/rvrec.md.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import embedding

from recbole_enhance.enhancer.rvrec.histories import Chains
from recbole_enhance.shapley import coalition as game

_SMALLEST_VARIANCE = 1e-12  # before the root: all contributions alike must not give NaN
_GATE_USERS = 128  # chains whose exact objective moves the gates in hard mode
_SURE = 40.0  # logit of a fixed gate


class Weighted(NamedTuple):
    """What histories became.

    Attributes:
        prototype: P_u, zero for an empty history. Shape: ``(chains, d)``.
        weights: w of each player. Shape: ``(players,)``.
        logits: Of the gate between a player and the next. Shape: ``(chains, longest)``.
        loss: The gates' loss, or None.
    """

    prototype: Tensor
    weights: Tensor
    logits: Tensor
    loss: Tensor | None


def prototype_weights(values: Tensor, lengths: Tensor, temperature: float) -> Tensor:
    r"""Weights of the items of histories.

    .. math:: w_t = \mathrm{softmax}_t(\Phi_t / \tau_w)

    Args:
        values: Phi, in units of the contributions' standard deviation. Shape:
            ``(chains, longest)``.
        lengths: Players of each chain. Shape: ``(chains,)``.
        temperature: tau_w.

    Returns:
        A chain's sum to 1; padding has 0. Shape: as ``values``.

    Example:
        >>> prototype_weights(torch.zeros(1, 3), torch.tensor([2]), 1.0)
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    place = torch.arange(values.shape[1], device=values.device)
    there = place < lengths.unsqueeze(1)
    lowest = torch.finfo(values.dtype).min
    return (values / temperature).masked_fill(~there, lowest).softmax(1) * there  # Eq. (15b)


def standardized(a: Tensor, lengths: Tensor) -> Tensor:
    """Contributions of each chain with mean 0 and standard deviation 1; padding becomes 0.

    Args:
        a: Zero in padding. Shape: ``(chains, longest)``.
        lengths: Players of each chain. Shape: ``(chains,)``.
    """
    n = lengths.clamp(min=1).unsqueeze(1)
    there = torch.arange(a.shape[1], device=a.device) < lengths.unsqueeze(1)
    centred = (a - a.sum(1, keepdim=True) / n) * there
    variance = centred.square().sum(1, keepdim=True) / n
    return centred * variance.clamp(min=_SMALLEST_VARIANCE).rsqrt()


def coins(item: Tensor, follower: Tensor) -> Tensor:
    """A fixed coin for each ordered pair of items: logits of gates that learn nothing.

    Args:
        item: Shape: ``(pairs,)``.
        follower: The next one. Shape: ``(pairs,)``.
    """
    mixed = (item * 73856093) ^ (follower * 19349663)
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) % 2**31  # ids that follow each other part ways
    mixed = mixed ^ (mixed >> 15)
    mixed = (mixed * 1103515245 + 12345) % 2**31
    return torch.where(mixed // 2**15 % 2 == 1, _SURE, -_SURE)


class ShapleyPrototypes(nn.Module):
    """Gates, coalitions, and the weighted mean of each history.

    Args:
        size: d.
        longest: Most players of a chain, H.
        kappa: Smoothing of the game's mean.
        mode: ``exact``, ``sampled`` or ``hard``.
        objective: ``squared``, ``shapley``, ``removal`` or ``agreement``.
        gate_weight: Of the gates' loss; 0 for none.
        temperature: tau_w.
        n_partitions: G of the sampled mode.
        uniform: Whether all weights are equal.
        random: Whether gates are :func:`coins`.
    """

    own: Tensor
    rest: Tensor

    def __init__(
        self,
        size: int,
        longest: int,
        kappa: float,
        mode: str,
        objective: str,
        gate_weight: float,
        temperature: float,
        n_partitions: int,
        uniform: bool,
        random: bool,
    ) -> None:
        super().__init__()
        self.longest, self.kappa, self.mode, self.objective = longest, kappa, mode, objective
        self.gate_weight, self.temperature = gate_weight, temperature
        self.n_partitions, self.uniform, self.random = n_partitions, uniform, random
        self.gate = None if uniform or random else nn.Linear(2 * size, 1)
        if self.gate is not None:  # all p start at 1/2
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)
        tables = game.coalition_tables(longest, kappa)
        self.register_buffer("own", tables.own.float(), persistent=False)
        self.register_buffer("rest", tables.rest.float(), persistent=False)

    @property
    def tables(self) -> game.Tables:
        """Factors of the closed form."""
        return game.Tables(self.own, self.rest)

    def forward(
        self,
        mu: Tensor,
        x: Tensor,
        chains: Chains,
        items: Tensor,
        generator: torch.Generator | None = None,
    ) -> Weighted:
        """Weigh histories.

        Args:
            mu: Users. Shape: ``(chains, d)``.
            x: Items. Shape: ``(rows, d)``.
            chains: Histories, of rows of ``x``.
            items: Ids of the players' items. Shape: ``(players,)``.
            generator: Source of randomness; with one, the gates' loss is computed too.
        """
        place = chains.places(self.longest)
        shape = (len(chains.lengths), self.longest)
        with torch.no_grad():  # a judgement of the embeddings, which it does not move
            players = embedding(chains.item, x)
            a = (embedding(chains.row, mu) * players).sum(1)  # Eq. (11): query = user
            a = standardized(_rows(a, place, shape), chains.lengths)
        logits = self.logits(players, items, chains, place)
        loss = None
        if self.uniform:
            values = torch.zeros_like(a)
        else:
            values, loss = self._values(a, logits, chains.lengths, generator)
        rows = prototype_weights(values, chains.lengths, self.temperature)
        weights = rows.flatten().index_select(0, place)
        prototype = functional.embedding_bag(
            chains.item, x, chains.starts, mode="sum", per_sample_weights=weights
        )  # Eq. (15)
        return Weighted(prototype, weights, logits, loss)

    def logits(self, players: Tensor, items: Tensor, chains: Chains, place: Tensor) -> Tensor:
        r"""Logits of the gates; they read the items' vectors, and do not move them.

        .. math:: p_t = \sigma(w^T [x_t \odot x_{t+1} ; |x_t - x_{t+1}|] / \sqrt{2d} + b), \quad
            \|x\| = \sqrt d

        Args:
            players: Items' vectors. Shape: ``(players, d)``.
            items: Their ids. Shape: ``(players,)``.
            chains: Whose players they are.
            place: Where they stand in rows.

        Returns:
            Zero where there is no gate. Shape: ``(chains, longest)``.
        """
        shape = (len(chains.lengths), self.longest)
        if self.uniform or len(items) < 2:
            return players.new_zeros(shape)
        # Of the last of a chain and the first of the next one too: slices cost no copy.
        if self.gate is None:
            pairs = coins(items[:-1], items[1:])
        else:
            # Of one length, numbers of the order of 1: embeddings start too short to move a gate.
            x = functional.normalize(players) * players.shape[1] ** 0.5
            left, right, w = x[:-1], x[1:], self.gate.weight.view(2, -1)
            both, apart = (left * right) @ w[0], (left - right).abs() @ w[1]
            # Scaled: all differences are positive, and Adam moves all their weights alike, so that
            # every gate would be shut after a few steps.
            pairs = (both + apart) * w.numel() ** -0.5 + self.gate.bias  # Eq. (13a)
        pairs = pairs * (chains.row[1:] == chains.row[:-1])
        return _rows(pairs, place[:-1], shape)

    def _values(
        self, a: Tensor, logits: Tensor, lengths: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        """Item values Phi, and the gates' loss where there is one."""
        learns = generator is not None and self.gate is not None and self.gate_weight > 0
        if self.mode == "hard":
            ids = game.coalition_ids(logits > 0, lengths)
            phi, size = self._of_partition(a, ids, lengths)
            loss = self._gate_loss_of_some(a, logits, lengths, generator) if learns else None
            return game.item_values(phi, size, ids, lengths), loss
        if self.mode == "sampled" and generator is not None:
            joins = game.draw_joins(logits, self.n_partitions, generator)
            ids = game.coalition_ids(joins, lengths)
            phi, size = self._of_partition(a, ids, lengths)
            loss = None
            if learns:
                outcome = self._objective(phi.detach(), size, a.detach(), ids, lengths).sum(-1)
                surrogate = game.sampled_surrogate(logits.sigmoid(), joins, outcome, lengths)
                # The value that is reported is the objective's, the gradient the surrogate's.
                outcome = outcome.mean(0) + surrogate - surrogate.detach()
                loss = -self.gate_weight * (outcome / lengths.clamp(min=1)).mean()
            return game.item_values(phi, size, ids, lengths).mean(0), loss
        runs = game.all_runs(lengths, self.longest)
        P = game.run_probabilities(logits, lengths, runs)
        inside = game.sums_of_runs(a, runs)
        phi = game.centred_values(inside, runs.size, runs.players, self.tables)
        loss = self._gate_loss(P, inside, phi, runs, len(lengths)) if learns else None
        return game.expected_item_values(P, phi, runs, (len(a), self.longest)), loss

    def _of_partition(self, a: Tensor, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        inside, size = game.sums_of_coalitions(a, ids, lengths)
        n = lengths.unsqueeze(1).expand_as(size)
        return game.centred_values(inside, size, n, self.tables), size

    def _h(self, inside: Tensor, phi: Tensor, size: Tensor, players: Tensor) -> Tensor:
        """What a coalition adds to the objective, in units that do not depend on n."""
        if self.objective == "agreement":
            # Values shrink with the size: squares of them join only what agrees strongly.
            return inside.square()
        if self.objective == "removal":
            zero = torch.zeros_like(inside)
            phi = game.removal_values(inside, zero, size, players, self.kappa)
        scaled = phi * players
        return scaled.square() if self.objective == "squared" else scaled  # Eq. (13b)

    def _objective(
        self, phi: Tensor, size: Tensor, a: Tensor, ids: Tensor, lengths: Tensor
    ) -> Tensor:
        inside, _ = game.sums_of_coalitions(a, ids, lengths)
        return self._h(inside, phi, size, lengths.unsqueeze(1).expand_as(size)) * (size > 0)

    def _gate_loss(
        self, chance: Tensor, inside: Tensor, phi: Tensor, runs: game.Runs, n_chains: int
    ) -> Tensor:
        h = self._h(inside.detach(), phi.detach(), runs.size, runs.players)
        return -self.gate_weight * (chance * h / runs.players).sum() / n_chains  # Eq. (13)

    def _gate_loss_of_some(
        self, a: Tensor, logits: Tensor, lengths: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """The exact loss of some chains: the mean of all, up to the draw."""
        chosen = torch.randperm(len(a), generator=generator)[:_GATE_USERS].to(a.device)
        a, logits, lengths = a.detach()[chosen], logits[chosen], lengths[chosen]
        runs = game.all_runs(lengths, self.longest)
        P, inside = game.run_probabilities(logits, lengths, runs), game.sums_of_runs(a, runs)
        phi = game.centred_values(inside, runs.size, runs.players, self.tables)
        return self._gate_loss(P, inside, phi, runs, len(a))


def _rows(values: Tensor, place: Tensor, shape: tuple[int, int]) -> Tensor:
    """Players' scalars as padded rows."""
    flat = values.new_zeros(shape[0] * shape[1])
    return flat.index_copy(0, place, values).view(shape)
