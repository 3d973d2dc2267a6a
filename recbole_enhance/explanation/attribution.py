r"""What each stretch of a history adds to a score of RVRec, exactly.

Two readings. Additive: weights stay what they are, and

.. math:: s(u, i) = \langle \mu_u, e_i \rangle + \sum_k \phi_k, \quad
          \phi_k = \alpha \sum_{t \in C_k} w_t \langle x_t, e_i \rangle

for backbones that multiply what is enhanced; where the backbone has a head of its own (ProtoMF's
cosines), phi are the Shapley values of the game of the coalitions, which sum to the same. Removal:
what the score loses when the coalition leaves and the other weights are normalised anew.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding

from recbole_enhance.enhancer.rvrec.histories import Chains
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
        weights: w; zero for padding. Shape: ``(users, H)``.
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
        linear: Whether the score is the product of means.
    """

    users: Tensor
    items: Tensor
    scored: Tensor
    linear: bool


@torch.no_grad()
def tables_of(model: Any) -> Tables:
    """Tables of a model of RVRec, whole."""
    users, items, *_ = model.adapter.base(model)
    means = model.rvrec.means(model.rvrec.items, items)
    head = model.adapter.head(model, users, means)
    return Tables(users, means, head[1], head[0] is users and head[1] is means)


@torch.no_grad()
def histories_of(model: Any, tables: Tables, users: Tensor) -> Histories:
    """Histories, gates and weights of users.

    Args:
        model: Of RVRec with prototypes.
        tables: Its tables.
        users: Shape: ``(users,)``.
    """
    enhanced = model.enhanced_users(users, tables.users, tables.items)
    chains, weighted = enhanced.chains, enhanced.weighted
    longest = model.rvrec.longest
    ids = game.coalition_ids(weighted.logits > 0, chains.lengths)
    return Histories(
        padded(chains, chains.item, longest),
        chains.lengths,
        ids,
        weighted.logits.sigmoid(),
        padded(chains, weighted.weights, longest),
    )


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
    prototype = (weights.unsqueeze(1) @ embedding(item, tables.items)).squeeze(1)
    out = mu + model.rvrec.alpha * prototype
    scored, _ = model.adapter.head(model, out, tables.items[:1])
    return (scored * embedding(target, tables.scored)).sum(1)


def without_coalition(weights: Tensor, leaves: Tensor) -> Tensor:
    """Weights of who stays, which sum to 1 again; zero where nobody stays.

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
        shapley: alpha times Eq. (12) in the game of the target item; None where scores are no
            products of means. Shape: ``(K,)``.
        items: What each player adds. Shape: ``(n,)``.
    """

    base: float
    score: float
    additive: Tensor
    removal: Tensor
    shapley: Tensor | None
    items: Tensor


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
        a = (embedding(item[0], tables.items) * embedding(target, tables.scored)).sum(1)
        each = model.rvrec.alpha * w[0] * a
        additive = torch.zeros(K, device=w.device).index_add(0, ids[0], each)
        size = members.sum(1)
        kappa = model.rvrec.prototypes.kappa
        values = game.coalition_values(
            members.to(a.dtype) @ a,
            a.sum().expand(K),
            size,
            torch.full_like(size, n),
            game.coalition_tables(n, kappa),
        )
        phi = (model.rvrec.alpha * values).float()
    else:

        def lifts(coalitions: Tensor) -> Tensor:
            return score(coalitions[:, ids[0]] * w) - ends[0]

        additive = _values_of_the_game(lifts, K).to(w)
        total = torch.zeros(K, device=w.device).index_add(0, ids[0], w[0])
        each = additive[ids[0]] * w[0] / total[ids[0]]
    return Attribution(ends[0].item(), ends[1].item(), additive, removal, phi, each)


def _values_of_the_game(lifts: Any, n_coalitions: int) -> Tensor:
    if n_coalitions == 0:
        return torch.zeros(0)
    if n_coalitions <= _ENUMERATED:
        return shapley_values(lifts, n_coalitions)
    generator = torch.Generator().manual_seed(0)
    return permutation_shapley(lifts, n_coalitions, _ORDERS, generator)[0]
