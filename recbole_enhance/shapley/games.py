"""Exact Shapley values and Harsanyi dividends of small games: the truth for networks."""

from collections.abc import Callable

import torch
from torch import Tensor

Game = Callable[[Tensor], Tensor]
_MAX_PLAYERS = 20


def all_coalitions(n_players: int) -> Tensor:
    """List every coalition; row *b* holds the players whose bit is set in *b*.

    Args:
        n_players: Number of players, at most 20 (a million coalitions).

    Returns:
        Boolean membership. Shape: ``(2 ** n_players, n_players)``.

    Raises:
        ValueError: If there are too many players to enumerate.

    Example:
        >>> all_coalitions(2).int().tolist()
        [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    if not 1 <= n_players <= _MAX_PLAYERS:
        raise ValueError(f"n_players={n_players}: enumeration takes 1 to {_MAX_PLAYERS} players")
    bits = torch.arange(2**n_players).unsqueeze(1) >> torch.arange(n_players)
    return (bits & 1).bool()


def shapley_values(game: Game, n_players: int) -> Tensor:
    r"""Shapley values by enumeration of all coalitions.

    .. math::
        \phi_m = \sum_{S \subseteq N \setminus \{m\}} \frac{|S|! (n - |S| - 1)!}{n!}
        [v(S \cup \{m\}) - v(S)] \qquad \text{(DVR, Eq. 5.2)}

    Args:
        game: Maps boolean coalitions ``(batch, n_players)`` to values ``(batch,)``.
        n_players: Number of players, at most 20.

    Returns:
        One value for each player, in the game's unit, float64. Shape: ``(n_players,)``.

    Example:
        >>> glove = lambda s: (s[:, 0] & (s[:, 1] | s[:, 2])).double()  # one left, two right gloves
        >>> [round(x, 4) for x in shapley_values(glove, 3).tolist()]
        [0.6667, 0.1667, 0.1667]
    """
    coalitions = all_coalitions(n_players)
    v = game(coalitions).double()
    size = coalitions.sum(1)
    log_factorial = torch.lgamma(torch.arange(n_players + 1, dtype=torch.float64) + 1)
    last = torch.tensor(n_players - 1)
    weight = torch.exp(  # |S|! (n - |S| - 1)! / n!; the full coalition is never "without m"
        log_factorial[size.clamp(max=n_players - 1)]
        + log_factorial[(last - size).clamp(min=0)]
        - log_factorial[n_players]
    )
    index = torch.arange(len(v)).unsqueeze(1)
    joined = index | (1 << torch.arange(n_players))  # (2^n, n): S with m
    marginal = v[joined] - v.unsqueeze(1)
    return (weight.unsqueeze(1) * marginal * ~coalitions).sum(0)  # Eq. (5.2)


def harsanyi_dividends(game: Game, n_players: int) -> Tensor:
    r"""Harsanyi dividends :math:`I(S) = \sum_{T \subseteq S} (-1)^{|S| - |T|} v(T)`.

    Args:
        game: Maps boolean coalitions ``(batch, n_players)`` to values ``(batch,)``.
        n_players: Number of players, at most 20.

    Returns:
        Dividend of each coalition in the order of :func:`all_coalitions`. Shape: ``(2 ** n,)``.

    Example:
        >>> both = lambda s: s.all(1).double()
        >>> harsanyi_dividends(both, 2).tolist()
        [0.0, 0.0, 0.0, 1.0]
    """
    dividends = game(all_coalitions(n_players)).double().clone()
    for player in range(n_players):  # Moebius transform, one bit at a time
        pairs = dividends.view(-1, 2, 2**player)
        pairs[:, 1] -= pairs[:, 0]
    return dividends


def shapley_from_dividends(dividends: Tensor, members: Tensor) -> Tensor:
    r"""Share each Harsanyi dividend equally among the players of its coalition.

    .. math:: \phi_m = \sum_{S \ni m} I(S) / |S| \qquad \text{(DVR, Eq. 5.3)}

    Args:
        dividends: :math:`I(S)` of each unit, in the game's unit. Shape: ``(units,)``.
        members: 1 where the player belongs to the unit's coalition; may carry a gradient
            (straight-through). Shape: ``(units, players)``.

    Returns:
        Shapley values, which sum to the dividends of the coalitions. Shape: ``(players,)``.

    Raises:
        ValueError: If the two disagree on the number of units.

    Example:
        >>> members = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> shapley_from_dividends(torch.tensor([1.0, 3.0]), members).tolist()
        [2.5, 1.5]
    """
    if dividends.shape[0] != members.shape[0]:
        raise ValueError(f"{dividends.shape[0]} dividends for {members.shape[0]} coalitions")
    size = members.detach().sum(1).clamp(min=1)
    return (dividends / size) @ members.to(dividends.dtype)  # Eq. (5.3), (5.8)


def permutation_shapley(
    game: Game, n_players: int, n_permutations: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Estimate Shapley values from random orders of the players.

    Args:
        game: Maps boolean coalitions ``(batch, n_players)`` to values ``(batch,)``.
        n_players: Number of players.
        n_permutations: Number of orders drawn, at least 2.
        generator: Source of randomness.

    Returns:
        Mean marginal contribution and its standard error, float64. Shapes: ``(n_players,)`` twice.

    Raises:
        ValueError: If fewer than two orders are asked for: the error needs two.
    """
    if n_permutations < 2:
        raise ValueError(f"n_permutations={n_permutations}: at least 2")
    order = torch.rand(n_permutations, n_players, generator=generator).argsort(1)
    rank = order.argsort(1)  # (p, n): position of each player
    steps = torch.arange(n_players + 1).view(1, -1, 1)
    coalitions = rank.unsqueeze(1) < steps  # (p, n + 1, n): the first `step` players
    v = game(coalitions.reshape(-1, n_players)).double().view(n_permutations, n_players + 1)
    marginal = v.diff(dim=1).gather(1, rank)  # (p, n): by player, not by position
    return marginal.mean(0), marginal.std(0) / n_permutations**0.5
