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


def number_of_capsules(n: Tensor, most: int) -> Tensor:
    r"""How many interests a history of n items may have.

    .. math:: K_u = \max(1, \min(K, \lfloor \log_2 n \rfloor))

    Args:
        n: Items in the history. Shape: ``(batch,)``.
        most: K.

    Returns:
        Shape: ``(batch,)``.

    Example:
        >>> number_of_capsules(torch.tensor([0, 1, 3, 4, 8, 50]), 4).tolist()
        [1, 1, 1, 2, 3, 4]
    """
    # No logarithm: 8 must give 3, not 2.99.
    powers = 2 ** torch.arange(1, most + 1, device=n.device)
    return (n.unsqueeze(1) >= powers).sum(1).clamp(min=1)  # Eq. (6)


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
    u: Tensor,
    mask: Tensor,
    logits: Tensor,
    iterations: int,
    adaptive: bool = True,
    stop_gradient: bool = True,
) -> Routed:
    r"""Dynamic routing of items to capsules.

    .. math::
        w_{lj} = m_l \, \mathrm{softmax}_j(b_{lj}), \quad
        v_j = \mathrm{squash}\big(\textstyle\sum_l w_{lj} u_{lj}\big), \quad
        b_{lj} \leftarrow b_{lj} + v_j \cdot u_{lj}

    Args:
        u: Mapped items, one row for all capsules or one for each. Shape: ``(batch, L, 1 or K, d)``.
        mask: True where there is an item. Shape: ``(batch, L)``.
        logits: b at the start. Shape: ``(batch, L, K)``.
        iterations: r, at least 1.
        adaptive: Whether short histories get fewer capsules, by :func:`number_of_capsules`.
        stop_gradient: Whether only the last weighted sum has a gradient, as in MIND and ComiRec.

    Returns:
        Capsules and the last weights.
    """
    K = logits.shape[-1]
    used = torch.ones(len(u), K, dtype=torch.bool, device=u.device)
    if adaptive:
        n = number_of_capsules(mask.sum(1), K)
        used = torch.arange(K, device=u.device) < n.unsqueeze(1)
    # Capsules before items: torch's softmax is vectorised over what comes after its dimension.
    b = logits.transpose(1, 2).masked_fill(~used.unsqueeze(-1), float("-inf")).contiguous()
    u = u.squeeze(2) if u.shape[2] == 1 else u.transpose(1, 2)  # (batch, L, d) or (batch, K, L, d)
    fixed = u.detach() if stop_gradient else u
    present = mask.unsqueeze(1).to(u.dtype)
    for step in range(iterations):
        last = step == iterations - 1
        w = torch.softmax(b, dim=1) * present  # Eq. (2): over capsules, and masked after
        v = squash(_sum_of_items(w, u if last else fixed))  # Eqs. (3), (4)
        if not last:
            b = b + _agreement(v, fixed)  # Eq. (5)
    return Routed(v, w.transpose(1, 2), used)


def _sum_of_items(w: Tensor, u: Tensor) -> Tensor:
    """Weighted sums of the mapped items. Shape: ``(batch, K, d)``."""
    return w @ u if u.dim() == 3 else (w.unsqueeze(2) @ u).squeeze(2)


def _agreement(v: Tensor, u: Tensor) -> Tensor:
    """Products of capsules and mapped items. Shape: ``(batch, K, L)``."""
    return v @ u.transpose(1, 2) if u.dim() == 3 else (u @ v.unsqueeze(-1)).squeeze(-1)


def attend_to_items(u: Tensor, mask: Tensor, queries: Tensor) -> Routed:
    """Plain attention in place of routing: each of K learned queries reads the whole history.

    Args:
        u: Mapped items. Shape: ``(batch, L, 1, d)``.
        mask: True where there is an item. Shape: ``(batch, L)``.
        queries: Shape: ``(K, d)``.

    Returns:
        Heads as capsules; all of them are used, and a query's weights sum to 1 over items.
    """
    items = u.squeeze(2)
    scores = items @ queries.T / queries.shape[1] ** 0.5
    scores = scores.masked_fill(~mask.unsqueeze(-1), torch.finfo(scores.dtype).min)
    w = torch.softmax(scores, dim=1) * mask.unsqueeze(-1).to(u.dtype)
    used = torch.ones(len(u), len(queries), dtype=torch.bool, device=u.device)
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
    s = (capsules @ query.unsqueeze(-1)).squeeze(-1) / query.shape[-1] ** 0.5  # Eq. (7)
    if hard:
        best = s.masked_fill(~used, float("-inf")).argmax(-1, keepdim=True)
        alpha = torch.zeros_like(s).scatter(1, best, 1.0)
    else:
        if power == 0:
            s = s * 0  # sgn(s)|s|^p tends to sgn(s), which is not uniform
        elif power != 1:
            s = torch.sign(s) * s.abs().clamp(min=torch.finfo(s.dtype).tiny) ** power
        alpha = torch.softmax(s.masked_fill(~used, float("-inf")), dim=-1)  # Eq. (8)
    return (alpha.unsqueeze(1) @ capsules).squeeze(1), alpha  # Eq. (9)


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
