r"""Histories asked by the item that is scored: weights, scores of pairs and of all items.

.. math::
    s(u, i) = \langle \mu_u, v_i \rangle + \alpha \sum_t w_t(i) \langle v_t, v_i \rangle, \qquad
    w_t(i) = \mathrm{softmax}_t(\beta \cos(v_t, v_i) - \delta a_t)

The sum is here, its weight alpha and the user's own product are the caller's. Cosines are a
judgement of the embeddings, which they do not move: gradients reach the tables by the products
only, and beta by the weights. The age a_t is how many items are between a player and what is
predicted; without decay delta, beta = 0 is the plain mean.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag

from recbole_enhance.enhancer.rvrec.asked_histories import (
    SMALLEST_NORM,
    STEEPEST,
    AskedHistories,
)
from recbole_enhance.enhancer.rvrec.histories import Chains, unique_ids

RULE = 0.5  # neighbours of a larger centred cosine are one coalition
_PAIRS_AT_ONCE = 8192  # of a user and an item, for inference
_BLOCK = 2**19  # cosines of history items and items at once, 2 MB
_NARROWEST = 64  # items of a block: narrower products are slow


class UnitRows(NamedTuple):
    """A table as directions and lengths.

    Attributes:
        units: Rows of length 1, or 0. Shape: ``(n_items, d)``.
        norm: How long they were. Shape: ``(n_items,)``.
    """

    units: Tensor
    norm: Tensor


def query_weights(
    cosine: Tensor, there: Tensor, beta: Tensor, prior: Tensor | None = None
) -> Tensor:
    r"""Weights of the players of histories for items that ask.

    Args:
        cosine: Of items and players, without gradient. Shape: ``(rows, items, players)``.
        there: False for padding. Shape: ``(rows, players)``.
        beta: Shape: ``()``.
        prior: Of ``histories.recency``. Shape: as ``there``.

    Returns:
        They sum to 1 over the players, or are all 0 of an empty history. Shape: as ``cosine``.

    Example:
        >>> there = torch.tensor([[True, True, False]])
        >>> query_weights(torch.ones(1, 1, 3), there, torch.tensor(3.0)).flatten()
        tensor([0.5000, 0.5000, 0.0000])
    """
    absent = ~there.unsqueeze(1)
    logits = beta.clamp(-STEEPEST, STEEPEST) * cosine
    if prior is not None:
        logits = logits + prior.log().unsqueeze(1)
    logits = logits.masked_fill(absent, torch.finfo(logits.dtype).min)
    return logits.softmax(2).masked_fill(absent, 0.0)  # Eq. (15c)


def queried_coalitions(
    products: Tensor, cosine: Tensor, ids: Tensor, there: Tensor, beta: Tensor
) -> Tensor:
    r"""What each coalition adds to a score, up to alpha.

    .. math::
        \phi_C = w_C m_C, \quad w_C = \frac{|C| e^{\beta f_C}}{\sum_D |D| e^{\beta f_D}}, \quad
        m_C, f_C = \text{means of } \langle v_t, v_i \rangle, \cos(v_t, v_i) \text{ over } C

    Coalitions of one player are the plain form; beta = 0 is the plain mean, whatever they are.

    Args:
        products: Of items and players. Shape: ``(rows, items, players)``.
        cosine: Of the same, without gradient. Shape: as ``products``.
        ids: Coalition of each player, from 0. Shape: ``(rows, players)``.
        there: False for padding. Shape: as ``ids``.
        beta: Shape: ``()``.

    Returns:
        By coalition, zero where there is none; they sum to what the history adds. Shape: as
        ``products``.

    Example:
        >>> x, ids, there = torch.tensor([[[1.0, 3.0, 8.0]]]), [[0, 0, 1]], torch.ones(1, 3) > 0
        >>> queried_coalitions(x, 0 * x, torch.tensor(ids), there, torch.tensor(3.0)).flatten()
        tensor([1.3333, 2.6667, 0.0000])
    """
    index = ids.unsqueeze(1).expand_as(products)
    inside = there.unsqueeze(1).to(products)
    size = torch.zeros_like(products).scatter_add(2, index, inside.expand_as(products))
    total = torch.zeros_like(products).scatter_add(2, index, products * inside)
    keys = torch.zeros_like(products).scatter_add(2, index, cosine * inside)
    some = size.clamp(min=1)
    logits = beta.clamp(-STEEPEST, STEEPEST) * keys / some + some.log()
    logits = logits.masked_fill(size == 0, -3 * STEEPEST)
    return logits.softmax(2).masked_fill(size == 0, 0.0) * total / some  # Eq. (15d)


def products_and_cosines(history: Tensor, items: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """What weights and scores are made of.

    Args:
        history: Players' rows of the table, 0 for padding. Shape: ``(rows, players)``.
        items: Rows of the items that ask. Shape: ``(any, rows)``.
        table: Shape: ``(n_items, d)``.

    Returns:
        Products, and cosines without gradient. Shapes: ``(rows, any, players)``.
    """
    players = embedding(history, table)
    products = embedding(items.T, table) @ players.transpose(1, 2)
    norm = table.detach().norm(dim=1).clamp(min=SMALLEST_NORM)
    return products, products.detach() / (norm[items.T].unsqueeze(2) * norm[history].unsqueeze(1))


def history_scores(
    history: Tensor,
    there: Tensor,
    items: Tensor,
    table: Tensor,
    beta: Tensor,
    prior: Tensor | None = None,
) -> Tensor:
    """What histories add to the scores of items, up to alpha.

    Args:
        history: Players' rows of the table, 0 for padding. Shape: ``(rows, players)``.
        there: False for padding. Shape: as ``history``.
        items: Rows of the items that ask. Shape: ``(any, rows)``.
        table: Shape: ``(n_items, d)``.
        beta: Shape: ``()``.
        prior: Of ``histories.recency``. Shape: as ``history``.

    Returns:
        Zero of an empty history. Shape: as ``items``.

    Example:
        >>> table = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> there = torch.ones(1, 2, dtype=torch.bool)
        >>> asked = torch.tensor([[1]])
        >>> history_scores(torch.tensor([[1, 2]]), there, asked, table, torch.tensor(0.0))
        tensor([[0.5000]])
    """
    # Eq. (16b)
    scores: Tensor = AskedHistories.apply(table, beta, history, there, items, prior)
    return scores


@torch.no_grad()
def scores_of_pairs(
    history: Tensor,
    there: Tensor,
    items: Tensor,
    table: Tensor,
    beta: Tensor,
    prior: Tensor | None = None,
) -> Tensor:
    """:func:`history_scores` for inference, in parts of bounded memory."""
    parts = _blocks(len(history), max(1, _PAIRS_AT_ONCE // len(items)))
    scores = [
        history_scores(
            history[at], there[at], items[:, at], table, beta, None if prior is None else prior[at]
        )
        for at in parts
    ]
    return torch.cat(scores, dim=1)


@torch.no_grad()
def scores_of_all(
    chains: Chains, table: Tensor, beta: Tensor, prior: Tensor | None = None
) -> Tensor:
    """What histories add to the scores of all items, up to alpha: exact, in blocks of items.

    A history item's cosines with a block are made once for all users that have it.

    Args:
        chains: Histories.
        table: Shape: ``(n_items, d)``.
        beta: Shape: ``()``.
        prior: Of ``histories.recency``. Shape: ``(players,)``.

    Returns:
        Shape: ``(chains, n_items)``.
    """
    beta = beta.clamp(-STEEPEST, STEEPEST)
    if beta == 0:
        return uniform_scores(chains, table, prior)
    out = table.new_empty(len(chains.lengths), len(table))
    ids, place = unique_ids(len(table), chains.item)
    players = place.index_select(0, chains.item)
    units, norm = unit_rows(table)
    steep = beta * units[ids]
    scale = norm[chains.item] / beta
    if prior is not None:
        scale *= prior
    width = max(_NARROWEST, _BLOCK // max(len(ids), 1))
    scratch = table.new_empty(2, len(ids) * width)  # new pages for each block cost more than these
    for part in _blocks(len(table), width):
        items = units[part]
        logits, keys = scratch[:, : len(ids) * len(items)].view(2, len(ids), len(items))
        torch.mm(steep, items.T, out=logits)
        torch.exp(logits, out=keys)
        weight = _bags(players, keys, chains.starts, prior)
        logits *= keys
        total = _bags(players, logits, chains.starts, scale)
        torch.div(total, weight.clamp_(min=torch.finfo(total.dtype).tiny), out=out[:, part])
    return out.mul_(norm)


@torch.no_grad()
def scores_of_candidates(
    users: Tensor,
    history: Tensor,
    there: Tensor,
    items: Tensor,
    scored: Tensor | None,
    table: UnitRows,
    alpha: Tensor,
    beta: Tensor,
    prior: Tensor | None = None,
) -> Tensor:
    """Scores of some items of each user, in parts of bounded memory.

    Users of a part have histories of much the same length, so that little padding is multiplied.

    Args:
        users: Users' rows. Shape: ``(users, d)``.
        history: Players' rows of the table. Shape: ``(users, players)``.
        there: False for padding, which comes last. Shape: as ``history``.
        items: Shape: ``(users, any)``.
        scored: Table of items that users multiply; None if it is the one that asks histories.
        table: The one that does, of :func:`unit_rows`.
        alpha: Shape: ``()``.
        beta: Not 0. Shape: ``()``.
        prior: Of ``histories.recency``. Shape: as ``history``.

    Returns:
        Shape: as ``items``.
    """
    beta = beta.clamp(-STEEPEST, STEEPEST)
    units, norm = table
    scale = alpha / beta * norm
    lengths, order = there.sum(1).sort()
    at_once = max(1, _PAIRS_AT_ONCE // items.shape[1])
    parts, longest = order.split(at_once), [part[-1] for part in lengths.split(at_once)]
    scores = units.new_empty(items.shape)
    for rows, width in zip(parts, torch.stack(longest).tolist()):
        players, asked = history[rows, :width], items[rows]
        asking, own = beta * embedding(players, units), users[rows].unsqueeze(1)
        if scored is None:  # the user's row and the players' ask each item's row once
            products = torch.cat([own, asking], 1) @ embedding(asked, units).transpose(1, 2)
            own, logits = products[:, 0] * norm[asked], products[:, 1:]
        else:
            own = (own @ embedding(asked, scored).transpose(1, 2)).squeeze(1)
            logits = asking @ embedding(asked, units).transpose(1, 2)
        keys = logits.exp()
        mask = there[rows, :width].to(keys).unsqueeze(1)
        if prior is not None:
            mask = mask * prior[rows, :width].unsqueeze(1)
        weight = (mask @ keys).squeeze(1).clamp_(min=torch.finfo(keys.dtype).tiny)
        total = ((mask * scale[players].unsqueeze(1)) @ keys.mul_(logits)).squeeze(1)
        scores[rows] = total.div_(weight).mul_(norm[asked]).add_(own)
    return scores


def uniform_scores(chains: Chains, table: Tensor, prior: Tensor | None = None) -> Tensor:
    """:func:`scores_of_all` of beta = 0: means of histories, as one product."""
    return history_means(chains, table, prior) @ table.T


def history_means(chains: Chains, table: Tensor, prior: Tensor | None = None) -> Tensor:
    """Mean of each history by what players weigh, zero of an empty one. Shape: ``(chains, d)``."""
    if prior is None:
        return embedding_bag(chains.item, table, chains.starts, mode="mean")
    total = prior.new_zeros(len(chains.lengths)).index_add_(0, chains.row, prior)
    return _bags(chains.item, table, chains.starts, prior / total[chains.row])


def _bags(rows: Tensor, table: Tensor, starts: Tensor, weights: Tensor | None) -> Tensor:
    """Sums of a table's rows over bags. Shape: ``(bags, d)``."""
    weights = None if weights is None else weights.to(table)
    return embedding_bag(rows, table, starts, mode="sum", per_sample_weights=weights)


def unit_rows(table: Tensor) -> UnitRows:
    """Directions and lengths of a table's rows."""
    norm = table.norm(dim=1)
    return UnitRows(table / norm.clamp(min=SMALLEST_NORM).unsqueeze(1), norm)


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(first, first + size) for first in range(0, n, size))


def rule_joins(items: Tensor, table: Tensor) -> Tensor:
    r"""Which neighbours a rule without parameters joins.

    .. math:: \cos(v_t - \bar v, v_{t+1} - \bar v) > 0.5, \quad \bar v = \text{mean of all items}

    Args:
        items: Rows of the table, 0 for padding. Shape: ``(..., players)``.
        table: Row 0 is padding. Shape: ``(n_items, d)``.

    Returns:
        The last of a row is joined to none. Shape: as ``items``.

    Example:
        >>> table = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.9], [-2.0, -1.9]])
        >>> rule_joins(torch.tensor([[1, 2, 3]]), table)
        tensor([[ True, False, False]])
    """
    centred = torch.nn.functional.normalize(table - table[1:].mean(0), dim=1)
    rows = embedding(items, centred)
    joined = (rows[..., :-1, :] * rows[..., 1:, :]).sum(-1) > RULE
    joined = joined & (items[..., 1:] != 0) & (items[..., :-1] != 0)
    return torch.nn.functional.pad(joined, (0, 1))
