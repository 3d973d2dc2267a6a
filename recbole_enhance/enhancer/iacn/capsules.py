r"""Interest capsules: dynamic routing and label-aware attention as pure functions.

Reference:
    Chao Li et al. "Multi-Interest Network with Dynamic Routing for Recommendation at Tmall." in
    CIKM 2019.
    Yukuo Cen et al. "Controllable Multi-Interest Framework for Recommendation." in KDD 2020.

Equation numbers are those of docs/papers/iacn.md: IaCN's own text has none that could be read.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_EPS = 1e-9  # under the root of a squashed vector's length


def squash(z: Tensor) -> Tensor:
    r"""Shrink vectors to a length below 1, keeping their direction.

    .. math:: v = \frac{|z|^2}{1 + |z|^2} \frac{z}{|z|}

    Args:
        z: Shape: ``(..., d)``.

    Returns:
        Shape: ``(..., d)``; zero stays zero, with a finite gradient.

    Example:
        >>> squash(torch.tensor([3.0, 4.0])).norm().item()  # 25 / 26
        0.9615384936332703
    """
    square = z.square().sum(-1, keepdim=True)
    return z * (square / ((1 + square) * torch.sqrt(square + _EPS)))  # Eq. (4)


def capsules_of(n: Tensor, most: int) -> Tensor:
    r"""Say which capsules a history of n items may have: the first K_u.

    .. math:: K_u = \max(1, \min(K, \lfloor \log_2 n \rfloor))

    Args:
        n: Items in the history. Shape: ``(batch,)``.
        most: K.

    Returns:
        True for these. Shape: ``(batch, K)``.

    Example:
        >>> capsules_of(torch.tensor([0, 1, 3, 4, 8, 50]), 4).sum(1).tolist()
        [1, 1, 1, 2, 3, 4]
    """
    # No logarithm: 8 must give 3, not 2.99.
    least = 2 ** torch.arange(1, most + 1, device=n.device)
    least[0] = 0
    return n.unsqueeze(1) >= least  # Eq. (6)


class Routed(NamedTuple):
    """What a history became.

    Attributes:
        capsules: v; zero where the user has no such capsule. Shape: ``(batch, K, d)``.
        weights: w, how much of each item went to each capsule; zero for padding.
            Shape: ``(batch, L, K)``.
        used: True for the user's capsules. Shape: ``(batch, K)``.
    """

    capsules: Tensor
    weights: Tensor
    used: Tensor


def route(
    a: Tensor,
    maps: Tensor,
    mask: Tensor,
    logits: Tensor,
    iterations: int,
    adaptive: bool = True,
    stop_gradient: bool = True,
) -> Routed:
    r"""Dynamic routing of items to capsules.

    .. math::
        w_{lj} = m_l \, \mathrm{softmax}_j(b_{lj}), \quad
        v_j = \mathrm{squash}\big(\textstyle\sum_l w_{lj} S_j a_l\big), \quad
        b_{lj} \leftarrow b_{lj} + v_j \cdot S_j a_l

    Maps are linear, so they act on the K sums and not on the L items.

    Args:
        a: Items. Shape: ``(batch, L, d)``.
        maps: S, one for all capsules or one for each. Shape: ``(1 or K, d, d)``.
        mask: True where there is an item. Shape: ``(batch, L)``.
        logits: b at the start. Shape: ``(batch, L, K)``.
        iterations: r, at least 1.
        adaptive: Whether short histories get fewer capsules, by :func:`capsules_of`.
        stop_gradient: Whether only the last weighted sum has a gradient, as in MIND and ComiRec.

    Returns:
        Capsules and the last weights.
    """
    K = logits.shape[-1]
    used = torch.ones(len(a), K, dtype=torch.bool, device=a.device)
    if adaptive:
        used = capsules_of(mask.sum(1), K)
    # Capsules before items: torch's softmax is vectorised over what comes after its dimension.
    b = logits.transpose(1, 2).masked_fill(~used.unsqueeze(-1), float("-inf")).contiguous()
    a = a * mask.unsqueeze(2)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not stop_gradient):
        if K > 1 and iterations > 1:
            rows = used[:, 1].nonzero().squeeze(1)  # a lone capsule gets every item, whatever b is
            items, logits = a[rows], b[rows]
            for _ in range(iterations - 1):
                w = torch.softmax(logits, dim=1)  # Eq. (2): over capsules; padding's a is 0
                v = squash(_mapped(w @ items, maps))  # Eqs. (3), (4)
                asked = _mapped(v, maps.transpose(1, 2))
                logits = logits + asked @ items.transpose(1, 2)  # Eq. (5)
            b = b.index_copy(0, rows, logits)
        w = torch.softmax(b, dim=1)
    weights = w.transpose(1, 2) * mask.unsqueeze(2)
    return Routed(squash(_mapped(w @ a, maps)), weights, used)


def _mapped(x: Tensor, maps: Tensor) -> Tensor:
    """Each capsule's vector times its map. Shape: ``(batch, K, d)``."""
    if len(maps) == 1:
        return x @ maps[0].T
    return (maps @ x.unsqueeze(-1)).squeeze(-1)


def attend_to_items(a: Tensor, map: Tensor, mask: Tensor, queries: Tensor) -> Routed:
    """Plain attention in place of routing: each of K learned queries reads the whole history.

    Args:
        a: Items. Shape: ``(batch, L, d)``.
        map: S, which maps them. Shape: ``(d, d)``.
        mask: True where there is an item. Shape: ``(batch, L)``.
        queries: Shape: ``(K, d)``.

    Returns:
        Heads as capsules; all of them are used, and a query's weights sum to 1 over items.
    """
    items = a @ map.T
    scores = items @ queries.T / queries.shape[1] ** 0.5
    scores = scores.masked_fill(~mask.unsqueeze(-1), torch.finfo(scores.dtype).min)
    w = torch.softmax(scores, dim=1) * mask.unsqueeze(-1).to(a.dtype)
    used = torch.ones(len(a), len(queries), dtype=torch.bool, device=a.device)
    return Routed(w.transpose(1, 2) @ items, w, used)


def label_aware(
    capsules: Tensor, used: Tensor, query: Tensor, power: float = 1.0, hard: bool = False
) -> tuple[Tensor, Tensor]:
    r"""Let an item ask the capsules: scaled dot products, a power, a softmax.

    .. math::
        s_j = v_j \cdot q / \sqrt{d}, \quad
        \alpha = \mathrm{softmax}_j(\mathrm{sgn}(s_j) |s_j|^p), \quad
        v_u = \textstyle\sum_j \alpha_j v_j

    Args:
        capsules: v. Shape: ``(batch, K, d)``.
        used: True for the user's capsules. Shape: ``(batch, K)``.
        query: The item's interest vector. Shape: ``(batch, d)``.
        power: p; 0 gives the mean of the capsules.
        hard: Take the capsule with the largest product alone.

    Returns:
        :math:`v_u`, shape ``(batch, d)``, and :math:`\alpha`, shape ``(batch, K)``.

    Example:
        >>> v = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> used, q = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[2.0, 0.0]])
        >>> label_aware(v, used, q, hard=True)[1].tolist(), label_aware(v, used, q, 0)[1].tolist()
        ([[1.0, 0.0]], [[0.5, 0.5]])
    """
    _, alpha = _attention(capsules, used, query.unsqueeze(1), power, hard)
    return (alpha.transpose(1, 2) @ capsules).squeeze(1), alpha.squeeze(-1)  # Eq. (9)


def label_aware_score(
    capsules: Tensor, used: Tensor, query: Tensor, power: float = 1.0, hard: bool = False
) -> Tensor:
    r"""What items that ask get: :math:`v_u \cdot q = \sum_j \alpha_j \, v_j \cdot q`.

    Args:
        capsules: v. Shape: ``(batch, K, d)``.
        used: True for the user's capsules. Shape: ``(batch, K)``.
        query: Vectors of T items for each. Shape: ``(batch, T, d)``.
        power: As of :func:`label_aware`.
        hard: As of :func:`label_aware`.

    Returns:
        Shape: ``(batch, T)``.

    Example:
        >>> v = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> used, q = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
        >>> label_aware_score(v, used, q, hard=True).tolist()
        [[2.0, 3.0]]
    """
    products, alpha = _attention(capsules, used, query, power, hard)
    return (alpha * products).sum(1)


def _attention(
    capsules: Tensor, used: Tensor, query: Tensor, power: float, hard: bool
) -> tuple[Tensor, Tensor]:
    """Products of capsules and items, and the items' attention. Shape: ``(batch, K, T)`` both."""
    products = capsules @ query.transpose(1, 2)
    s = products / query.shape[-1] ** 0.5  # Eq. (7)
    unused = ~used.unsqueeze(-1)
    if hard:
        best = s.masked_fill(unused, float("-inf")).argmax(1, keepdim=True)
        return products, torch.zeros_like(s).scatter(1, best, 1.0)
    if power == 0:
        s = s * 0  # sgn(s)|s|^p tends to sgn(s), which is not uniform
    elif power != 1:
        s = torch.sign(s) * s.abs().clamp(min=torch.finfo(s.dtype).tiny) ** power
    return products, torch.softmax(s.masked_fill(unused, float("-inf")), dim=1)  # Eq. (8)


def sampled_cross_entropy(
    user: Tensor, positive: Tensor, negatives: Tensor, hits: Tensor | None = None
) -> Tensor:
    """Cross entropy of the positive among itself and negatives that the batch shares.

    Args:
        user: Shape: ``(batch, d)``.
        positive: Vector of each row's item. Shape: ``(batch, d)``.
        negatives: Vectors of the shared negatives. Shape: ``(M, d)``.
        hits: True where a negative is the row's own item: it does not count.
            Shape: ``(batch, M)``.

    Returns:
        Mean over the batch. Shape: ``()``.
    """
    own = (user * positive).sum(-1, keepdim=True)
    others = user @ negatives.T
    if hits is not None:
        others = others.masked_fill(hits, float("-inf"))
    return (torch.logsumexp(torch.cat([own, others], dim=1), dim=1) - own.squeeze(1)).mean()
