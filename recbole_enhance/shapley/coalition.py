r"""Multivariate Shapley values of coalitions that are runs of a chain, exact and vectorised.

Reference:
    Hao Zhang et al. "Interpreting Multivariate Shapley Interactions in DNNs." in AAAI 2021.

Players stand in a chain, a user's history in the order of time. A gate between two neighbours
joins them with probability p; maximal joined stretches are the coalitions. The game is the score
of the smoothed mean of a set's members,

.. math:: v(S) = \frac{\sum_{t \in S} a_t}{|S| + \kappa}, \quad v(\emptyset) = 0,

for which the Shapley value of a coalition that acts as one player among single others has a closed
form. Scalars of chains are right-padded rows ``(chains, longest)``; stretches of all chains are one
list, so that short chains cost little. Equation numbers are those of docs/papers/rvrec.md.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from recbole_enhance.shapley.games import Game


class Tables(NamedTuple):
    """The two factors of the closed form, by players n and coalition's size c.

    Attributes:
        own: What a unit inside the coalition is worth to it. Shape: ``(longest + 1,) * 2``.
        rest: What a unit outside costs it. Shape: ``(longest + 1,) * 2``.
    """

    own: Tensor
    rest: Tensor


class Runs(NamedTuple):
    """All stretches of neighbours in all chains.

    Attributes:
        first: Place of the first player in the flattened rows. Shape: ``(runs,)``.
        last: Place of the last. Shape: ``(runs,)``.
        size: Players of the run, c. Shape: ``(runs,)``.
        players: Players of the chain, n. Shape: ``(runs,)``.
    """

    first: Tensor
    last: Tensor
    size: Tensor
    players: Tensor


def coalition_tables(longest: int, kappa: float) -> Tables:
    r"""Factors of :func:`coalition_values` for chains of up to ``longest`` players.

    .. math::
        T_1 = \frac1k \sum_{s=0}^{k-1} \frac{1}{s + c + \kappa}, \quad
        T_2 = \frac{1}{k (n - c)} \sum_{s=1}^{n-c}
        \Big[\frac{s}{s + \kappa} - \frac{s}{s + c + \kappa}\Big], \quad k = n - c + 1

    Args:
        longest: Most players.
        kappa: Smoothing of the mean, at least 0.

    Returns:
        Zero where no such coalition is; float64.

    Example:
        >>> coalition_tables(2, 0.0).own[2].tolist()  # one of two: (1 + 1/2) / 2, both: 1/2
        [0.0, 0.75, 0.5]
    """
    steps = torch.arange(1, longest + 1, dtype=torch.float64)
    H = pad((1 / (steps + kappa)).cumsum(0), (1, 0))  # H[m] = sum of 1 / (j + kappa), j = 1..m
    n = torch.arange(longest + 1).unsqueeze(1)
    c = torch.arange(longest + 1).unsqueeze(0)
    there = (c >= 1) & (c <= n)
    k = (n - c + 1).clamp(min=1)
    others = (n - c).clamp(min=0)
    own = (H[n] - H[(c - 1).clamp(min=0)]) / k  # Eq. (12a)
    rest = (c + kappa) * (H[n] - H[c.expand_as(others)]) - kappa * H[others]
    rest = rest / (k * others.clamp(min=1))  # Eq. (12b)
    return Tables(own * there, rest * (there & (c < n)))


def coalition_values(
    inside: Tensor, total: Tensor, size: Tensor, players: Tensor, tables: Tables
) -> Tensor:
    r"""Multivariate Shapley value of coalitions.

    .. math:: \phi([C]) = T_1 A_C - T_2 (A - A_C)

    equal to the Shapley value of C as one player beside the single other players.

    Args:
        inside: A_C, sum of the coalition's contributions. Any shape.
        total: A, sum of all contributions of the chain. Shape: as ``inside``.
        size: c; 0 gives value 0. Shape: as ``inside``.
        players: n. Shape: as ``inside``.
        tables: See :func:`coalition_tables`.

    Returns:
        Shape: as ``inside``.

    Example:
        >>> tables, one = coalition_tables(2, 0.0), torch.ones(1, dtype=torch.long)
        >>> a = torch.tensor([3.0], dtype=torch.float64)  # of (3, 1): mean is 2
        >>> coalition_values(a, a + 1, one, 2 * one, tables).tolist()
        [2.0]
    """
    own, rest = (_look_up(table, players, size) for table in tables)
    return own * inside - rest * (total - inside)  # Eq. (12)


def centred_values(inside: Tensor, size: Tensor, players: Tensor, tables: Tables) -> Tensor:
    """:func:`coalition_values` where each chain's contributions sum to zero: one product."""
    return _look_up(tables.own + tables.rest, players, size) * inside  # Eq. (12) with A = 0


def _look_up(table: Tensor, players: Tensor, size: Tensor) -> Tensor:
    index = players * table.shape[1] + size
    # take() is several times slower.
    return table.flatten().index_select(0, index.flatten()).view(index.shape)


def removal_values(
    inside: Tensor, total: Tensor, size: Tensor, players: Tensor, kappa: float
) -> Tensor:
    """What the game loses without the coalition: v(N) - v(N without C).

    Args:
        inside: A_C. Any shape.
        total: A. Shape: as ``inside``.
        size: c. Shape: as ``inside``.
        players: n. Shape: as ``inside``.
        kappa: Smoothing of the mean.
    """
    left = players - size
    whole = total / (players + kappa).clamp(min=1e-12)
    return whole - torch.where(left > 0, (total - inside) / (left + kappa).clamp(min=1e-12), 0.0)


# ---- all runs, exactly ---------------------------------------------------------------------


def all_runs(lengths: Tensor, longest: int) -> Runs:
    """List every run of every chain.

    Args:
        lengths: Players of each chain. Shape: ``(chains,)``.
        longest: Width of the padded rows.

    Example:
        >>> runs = all_runs(torch.tensor([2, 0, 1]), longest=2)
        >>> list(zip(runs.first.tolist(), runs.last.tolist()))
        [(0, 0), (0, 1), (1, 1), (4, 4)]
    """
    last = torch.arange(longest, device=lengths.device)
    end = last.repeat_interleave(last + 1)  # by last player: a short chain's runs come first
    start = torch.arange(len(end), device=end.device) - end * (end + 1) // 2
    n_runs = lengths * (lengths + 1) // 2
    chain = torch.repeat_interleave(n_runs)
    before = (n_runs.cumsum(0) - n_runs).index_select(0, chain)
    number = torch.arange(len(chain), device=chain.device) - before
    offset = chain * longest
    first = offset + start.index_select(0, number)
    last = offset + end.index_select(0, number)
    return Runs(first, last, last - first + 1, lengths.index_select(0, chain))


def run_probabilities(logits: Tensor, lengths: Tensor, runs: Runs) -> Tensor:
    r"""Probability that a run is exactly one coalition of the Bernoulli partition.

    .. math:: P[s, e] = (1 - p_{s-1}) \prod_{r=s}^{e-1} p_r \, (1 - p_e), \quad p_0 = p_n = 0

    Args:
        logits: Of the gate between each player and the next; those at and after the last player
            are not read. Shape: ``(chains, longest)``.
        lengths: Players of each chain. Shape: ``(chains,)``.
        runs: Any runs.

    Returns:
        Over the runs that hold a player it sums to 1. Shape: ``(runs,)``.

    Example:
        >>> lengths = torch.tensor([2])
        >>> run_probabilities(torch.zeros(1, 2), lengths, all_runs(lengths, 2)).tolist()
        [0.5, 0.5, 0.5]
    """
    place = torch.arange(logits.shape[1], device=logits.device)
    inner = place < (lengths - 1).unsqueeze(1)
    joined = logsigmoid(logits) * inner  # log p; nothing to join at the chain's end
    cut = (joined - logits) * inner  # log (1 - p): 0 there
    so_far = joined.cumsum(1)
    up_to_last = so_far - joined + cut
    from_first = pad(cut, (1, 0))[:, :-1] - (so_far - joined)
    log_p = from_first.flatten().index_select(0, runs.first)
    log_p = log_p + up_to_last.flatten().index_select(0, runs.last)
    return log_p.exp()  # Eq. (14a)


def sums_of_runs(a: Tensor, runs: Runs) -> Tensor:
    """Sum of contributions of each run, A_C.

    Args:
        a: Contributions. Shape: ``(chains, longest)``.
        runs: Any runs.

    Returns:
        Shape: ``(runs,)``.
    """
    so_far = a.cumsum(1)
    before = (so_far - a).flatten()
    return so_far.flatten().index_select(0, runs.last) - before.index_select(0, runs.first)


def expected_item_values(chance: Tensor, phi: Tensor, runs: Runs, shape: tuple[int, int]) -> Tensor:
    r"""Expected value of the coalition that holds a player, shared equally, times n.

    .. math:: \Phi_t = n \sum_{s \le t \le e} P[s, e] \, \phi(s, e) / c(s, e)

    Args:
        chance: P, probabilities of all runs. Shape: ``(runs,)``.
        phi: Their values. Shape: ``(runs,)``.
        runs: All runs.
        shape: ``(chains, longest)``.

    Returns:
        Zero for padding. Shape: ``(chains, longest)``.
    """
    share = chance * phi * runs.players / runs.size
    starts = share.new_zeros(shape[0] * shape[1]).index_add(0, runs.first, share)
    ends = share.new_zeros(shape[0] * shape[1]).index_add(0, runs.last, share)
    # Runs that began up to t, without those that ended before t.
    begun, ended = starts.view(shape).cumsum(1), pad(ends.view(shape), (1, 0)).cumsum(1)
    inside = torch.zeros_like(starts).index_fill(0, runs.first, 1.0).view(shape)
    return (begun - ended[:, :-1]) * inside  # Eq. (15a); what cancels leaves no dust in padding


# ---- partitions: sampled or hard -----------------------------------------------------------


def draw_joins(logits: Tensor, n_partitions: int, generator: torch.Generator) -> Tensor:
    """Draw partitions (Eq. 14): True where a player is joined to the next.

    Args:
        logits: Of the gates. Shape: ``(chains, longest)``.
        n_partitions: G.
        generator: Source of randomness, on the CPU.

    Returns:
        Shape: ``(G, chains, longest)``.
    """
    u = torch.rand(n_partitions, *logits.shape, generator=generator).to(logits.device)
    return u < torch.sigmoid(logits.detach())


def coalition_ids(joins: Tensor, lengths: Tensor) -> Tensor:
    """Number the coalitions of each chain from 0.

    Args:
        joins: True where a player is joined to the next. Shape: ``(..., chains, longest)``.
        lengths: Players of each chain. Shape: ``(chains,)``.

    Returns:
        Padding gets the number of the last coalition. Shape: as ``joins``.

    Example:
        >>> coalition_ids(torch.tensor([[True, False, True, False]]), torch.tensor([3])).tolist()
        [[0, 0, 1, 1]]
    """
    place = torch.arange(joins.shape[-1], device=joins.device)
    cut = ~joins & (place < (lengths - 1).unsqueeze(1))
    return pad(cut.long(), (1, 0))[..., :-1].cumsum(-1)


def sums_of_coalitions(a: Tensor, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Contributions and sizes of the coalitions of partitions.

    Args:
        a: Contributions. Shape: ``(chains, longest)``.
        ids: See :func:`coalition_ids`. Shape: ``(..., chains, longest)``.
        lengths: Players of each chain. Shape: ``(chains,)``.

    Returns:
        A_C and c by coalition, zero after a chain's last one. Shape: as ``ids``.
    """
    there = torch.arange(a.shape[1], device=a.device) < lengths.unsqueeze(1)
    a = (a * there).expand(ids.shape)
    size = torch.zeros_like(ids).scatter_add(-1, ids, there.long().expand(ids.shape))
    return torch.zeros_like(a).scatter_add(-1, ids, a), size


def item_values(phi: Tensor, size: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """Value of each player's coalition, shared equally, times n (Eq. 15a of one partition).

    Args:
        phi: By coalition. Shape: ``(..., chains, longest)``.
        size: By coalition. Shape: as ``phi``.
        ids: See :func:`coalition_ids`. Shape: as ``phi``.
        lengths: Players of each chain. Shape: ``(chains,)``.

    Returns:
        Zero for padding. Shape: as ``phi``.
    """
    there = torch.arange(ids.shape[-1], device=ids.device) < lengths.unsqueeze(1)
    share = phi / size.clamp(min=1)
    return share.gather(-1, ids) * lengths.unsqueeze(1) * there


def sampled_surrogate(
    probabilities: Tensor, joins: Tensor, outcome: Tensor, lengths: Tensor
) -> Tensor:
    r"""Whose gradient is the estimate of :math:`\partial E[f] / \partial p` of MSI's code.

    .. math::
        \frac{\partial E[f]}{\partial p_t} = E[f | g_t = 1] - E[f | g_t = 0]

    Both means are taken over the drawn partitions; a gate that all of them have alike gets none.

    Args:
        probabilities: p, with gradient. Shape: ``(chains, longest)``.
        joins: The partitions. Shape: ``(G, chains, longest)``.
        outcome: f of each partition. Shape: ``(G, chains)``.
        lengths: Players of each chain. Shape: ``(chains,)``.

    Returns:
        Shape: ``(chains,)``.
    """
    g, f = joins.to(outcome.dtype), outcome.unsqueeze(-1)
    ones = g.sum(0)
    zeros = len(g) - ones
    mean_1 = (g * f).sum(0) / ones.clamp(min=1)
    mean_0 = ((1 - g) * f).sum(0) / zeros.clamp(min=1)
    place = torch.arange(joins.shape[-1], device=joins.device)
    known = (ones > 0) & (zeros > 0) & (place < (lengths - 1).unsqueeze(1))
    return ((mean_1 - mean_0) * known * probabilities).sum(-1)  # Eq. (13), sampled


# ---- games, for explanations and as truths -------------------------------------------------


def mean_game(a: Tensor, kappa: float) -> Game:
    """The game v of one chain.

    Args:
        a: Contributions. Shape: ``(n,)``.
        kappa: Smoothing of the mean.

    Example:
        >>> mean_game(torch.tensor([3.0, 1.0]), 0.0)(torch.tensor([[True, True], [False, False]]))
        tensor([2., 0.])
    """

    def game(coalitions: Tensor) -> Tensor:
        members = coalitions.to(a.dtype)
        size = members.sum(1)
        return torch.where(size > 0, members @ a / (size + kappa).clamp(min=1e-12), 0.0)

    return game


def quotient_game(game: Game, ids: Tensor) -> Game:
    """The game whose only players are the coalitions of a partition.

    Its Shapley values sum to v(N) whatever the partition, by efficiency: no objective for gates.

    Args:
        game: Of the single players.
        ids: Coalition of each player, from 0. Shape: ``(n,)``.
    """
    return lambda coalitions: game(coalitions[:, ids])
