r"""What each run of consecutive items of a history adds to a score of RVRec, exactly.

Two readings. Additive: weights stay what they are, and

.. math:: s(u, i) = \langle \mu_u, e_i \rangle + \sum_k \phi_k, \quad
          \phi_k = \alpha \sum_{t \in C_k} w_t \langle x_t, e_i \rangle

for backbones that multiply what is enhanced, and for all of them with the item query, whose weights
are those that the target item asks for; where the backbone has a head of its own (ProtoMF's
cosines), phi are the Shapley values of the game of the coalitions, which sum to the same. Removal:
what the score loses when the coalition leaves and the other weights are normalised anew: as the
model would weigh what is left, by the item query exactly.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding

from recbole_enhance.enhancer.rvrec.histories import Chains, recency
from recbole_enhance.enhancer.rvrec.item_query import products_and_cosines, query_weights
from recbole_enhance.shapley import coalition as game
from recbole_enhance.shapley.games import permutation_shapley, shapley_values

_ENUMERATED = 10  # coalitions; more are estimated from random orders, whose sums are exact too
_ORDERS = 64


class Histories(NamedTuple):
    """Histories of some users and what the model makes of them, as padded rows.

    Attributes:
        item: Ids, 0 for padding. Shape: ``(users, H)``.
        lengths: Shape: ``(users,)``.
        ids: Coalition of each player, from 0. Shape: ``(users, H)``.
        p: Probability that a player is joined to the next. Shape: ``(users, H)``.
        weights: w; zero for padding, and with the item query until :func:`asked_by`. Shape:
            ``(users, H)``.
    """

    item: Tensor
    lengths: Tensor
    ids: Tensor
    p: Tensor
    weights: Tensor


class Tables(NamedTuple):
    """What scores are made of.

    Attributes:
        users: The backbone's table of users.
        items: Means of all items.
        scored: The table of items that is multiplied.
        asked: The one by which items ask histories.
        linear: Whether the score is a sum over the history: the product of means, or the item
            query's.
    """

    users: Tensor
    items: Tensor
    scored: Tensor
    asked: Tensor
    linear: bool


@torch.no_grad()
def tables_of(model: Any) -> Tables:
    """Tables of a model of RVRec, whole."""
    users, items, *_ = model.adapter.base(model)
    means = model.rvrec.means(model.rvrec.items, items)
    head = model.adapter.head(model, users, means)
    product = head[0] is users and head[1] is means
    linear = product or model.rvrec.item_query
    return Tables(users, means, head[1], model.history_items(head[1]), linear)


@torch.no_grad()
def histories_of(model: Any, tables: Tables, users: Tensor) -> Histories:
    """Histories, gates and weights of users.

    Args:
        model: Of RVRec with prototypes.
        tables: Its tables.
        users: Shape: ``(users,)``.
    """
    longest = model.rvrec.longest
    if model.rvrec.item_query:
        chains = model.rvrec.read.last(users, longest)
        item = padded(chains, chains.item, longest)
        joins = model.rvrec.joins(item, tables.asked)
        ids = game.coalition_ids(joins, chains.lengths)
        p = joins.to(tables.asked)
        return Histories(item, chains.lengths, ids, p, torch.zeros_like(p))
    enhanced = model.enhanced_users(users, tables.users, tables.items)
    chains, weighted = enhanced.chains, enhanced.weighted
    ids = game.coalition_ids(weighted.logits > 0, chains.lengths)
    return Histories(
        padded(chains, chains.item, longest),
        chains.lengths,
        ids,
        weighted.logits.sigmoid(),
        padded(chains, weighted.weights, longest),
    )


@torch.no_grad()
def asked_by(model: Any, tables: Tables, history: Histories, target: Tensor) -> Histories:
    """Histories with the weights that the query of one item gives each; unchanged without it.

    Args:
        model: Of RVRec with prototypes.
        tables: Its tables.
        history: Of some users.
        target: Item of each. Shape: ``(users,)``.
    """
    if not model.rvrec.item_query:
        return history
    age = history.lengths.unsqueeze(1) - 1 - torch.arange(history.item.shape[1]).to(target)
    there, prior = age >= 0, recency(age.clamp(min=0), model.rvrec.decay)
    _, cosine = products_and_cosines(history.item, target.unsqueeze(0), tables.asked)
    weights = query_weights(cosine, there, model.rvrec.beta, prior)
    return history._replace(weights=weights.squeeze(1))


def padded(chains: Chains, values: Tensor, longest: int) -> Tensor:
    """Players' values as rows. Shape: ``(chains, longest)``."""
    flat = values.new_zeros(len(chains.lengths) * longest)
    return flat.index_copy(0, chains.places(longest), values).view(-1, longest)


@torch.no_grad()
def scores_with(
    model: Any, tables: Tables, users: Tensor, weights: Tensor, item: Tensor, target: Tensor
) -> Tensor:
    """Scores of pairs with prototypes of given weights.

    Args:
        model: Of RVRec with prototypes.
        tables: Its tables.
        users: Shape: ``(pairs,)``.
        weights: Of the history's players. Shape: ``(pairs, H)``.
        item: The history's items. Shape: ``(pairs, H)``.
        target: Item that is scored. Shape: ``(pairs,)``.
    """
    mu = model.rvrec.means(model.rvrec.users, embedding(users, tables.users))
    if model.rvrec.item_query:
        prototype = (weights.unsqueeze(1) @ embedding(item, tables.asked)).squeeze(1)
        own, _ = model.adapter.head(model, mu, tables.items[:1])
        added = model.rvrec.alpha * (prototype * embedding(target, tables.asked)).sum(1)
        return (own * embedding(target, tables.scored)).sum(1) + added
    prototype = (weights.unsqueeze(1) @ embedding(item, tables.items)).squeeze(1)
    out = mu + model.rvrec.alpha * prototype
    scored, _ = model.adapter.head(model, out, tables.items[:1])
    return (scored * embedding(target, tables.scored)).sum(1)


def without_coalition(weights: Tensor, leaves: Tensor) -> Tensor:
    """Weights of the items that stay, rescaled to sum to 1; zero where none stays.

    Args:
        weights: Shape: ``(pairs, H)``.
        leaves: True for who leaves. Shape: ``(pairs, H)``.
    """
    left = weights * ~leaves
    return left / left.sum(1, keepdim=True).clamp(min=1e-12)


class Attribution(NamedTuple):
    """Why one user got one item.

    Attributes:
        base: Score without a history.
        score: The score.
        additive: phi of each coalition; base and they sum to the score. Shape: ``(K,)``.
        removal: What the score loses without each. Shape: ``(K,)``.
        shapley: Shapley value in the game of the target item: alpha times Eq. (12) by the user's
            query, of the coalitions in the game of weights made anew by the item's; None where
            scores are no sums over the history. Shape: ``(K,)``.
        items: What each player adds. Shape: ``(n,)``.
        weights: w of each player. Shape: ``(n,)``.
    """

    base: float
    score: float
    additive: Tensor
    removal: Tensor
    shapley: Tensor | None
    items: Tensor
    weights: Tensor


@torch.no_grad()
def attribute(
    model: Any, tables: Tables, user: Tensor, history: Histories, target: Tensor
) -> Attribution:
    """Explain one pair.

    Args:
        model: Of RVRec with prototypes.
        tables: Its tables.
        user: Shape: ``(1,)``.
        history: Of that user alone.
        target: The item. Shape: ``(1,)``.
    """
    history = asked_by(model, tables, history, target)
    n = int(history.lengths[0])
    item, ids, w = history.item[:, :n], history.ids[:, :n], history.weights[:, :n]
    K = int(ids.max()) + 1 if n else 0
    members = ids[0] == torch.arange(K, device=ids.device).unsqueeze(1)  # (K, n)

    def score(weights: Tensor) -> Tensor:
        many = len(weights)
        return scores_with(
            model, tables, user.expand(many), weights, item.expand(many, -1), target.expand(many)
        )

    ends = score(torch.cat([torch.zeros_like(w), w]))
    removal = ends[1] - score(without_coalition(w.expand(K, -1), members))
    phi = None
    if tables.linear:
        if model.rvrec.item_query:
            a = (embedding(item[0], tables.asked) * embedding(target, tables.asked)).sum(1)
        else:
            a = (embedding(item[0], tables.items) * embedding(target, tables.scored)).sum(1)
        each = model.rvrec.alpha * w[0] * a
        additive = torch.zeros(K, device=w.device).index_add(0, ids[0], each)
        if model.rvrec.item_query:

            def gains(coalitions: Tensor) -> Tensor:
                stays = coalitions[:, ids[0]] > 0
                return score(without_coalition(w.expand(len(stays), -1), ~stays)) - ends[0]

            phi = _values_of_the_game(gains, K).to(w)
        else:
            phi = _values_of_runs(model, a, members)
    else:

        def lifts(coalitions: Tensor) -> Tensor:
            return score(coalitions[:, ids[0]] * w) - ends[0]

        additive = _values_of_the_game(lifts, K).to(w)
        total = torch.zeros(K, device=w.device).index_add(0, ids[0], w[0])
        each = additive[ids[0]] * w[0] / total[ids[0]]
    return Attribution(ends[0].item(), ends[1].item(), additive, removal, phi, each, w[0])


def _values_of_runs(model: Any, a: Tensor, members: Tensor) -> Tensor:
    """Alpha times Eq. (12) of coalitions ``(K, n)`` with contributions ``(n,)``."""
    size = members.sum(1)
    values = game.coalition_values(
        members.to(a.dtype) @ a,
        a.sum().expand(len(size)),
        size,
        torch.full_like(size, len(a)),
        game.coalition_tables(len(a), model.rvrec.prototypes.kappa),
    )
    return (model.rvrec.alpha * values).float()


def _values_of_the_game(lifts: Any, n_coalitions: int) -> Tensor:
    if n_coalitions == 0:
        return torch.zeros(0)
    if n_coalitions <= _ENUMERATED:
        return shapley_values(lifts, n_coalitions)
    generator = torch.Generator().manual_seed(0)
    return permutation_shapley(lifts, n_coalitions, _ORDERS, generator)[0]
