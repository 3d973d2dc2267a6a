r"""Embeddings as diagonal Gaussians: RVRec's PEO, its distance and its contrastive loss.

References:
    Yunqi Mi et al. "A Plug-and-play Model-agnostic Embedding Enhancement Approach for Explainable
    Recommendation." in IEEE Transactions on Multimedia 2025 (arXiv 2509.03130).
    Ziwei Fan et al. "Sequential Recommendation via Stochastic Self-Attention." in WWW 2022.

Equation numbers are those of docs/papers/rvrec.md.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import pad

_SIGMA_BIAS, _SIGMA_STD = -2.0, 1e-2  # sigma starts near 0.37, almost alike for all


def wasserstein2_squared(mu: Tensor, sigma: Tensor, nu: Tensor, tau: Tensor) -> Tensor:
    r"""Squared 2-Wasserstein distance of diagonal Gaussians.

    .. math:: W_2^2 = \|\mu - \nu\|^2 + \|\sigma - \tau\|^2

    The root of it is a metric, it is not; it has a gradient where the root has none.

    Args:
        mu: Mean of the first. Shape: ``(..., d)``.
        sigma: Standard deviations of the first. Shape: as ``mu``.
        nu: Mean of the second. Shape: as ``mu``.
        tau: Standard deviations of the second. Shape: as ``mu``.

    Example:
        >>> one = torch.ones(1, 2)
        >>> wasserstein2_squared(one, one, 3 * one, 2 * one)
        tensor([10.])
    """
    return (mu - nu).square().sum(-1) + (sigma - tau).square().sum(-1)  # Eq. (8)


def pairwise_wasserstein2_squared(x: Tensor, y: Tensor) -> Tensor:
    """The same between all pairs, of points (mu ; sigma), by one product of matrices.

    Args:
        x: Shape: ``(n, 2 d)``.
        y: Shape: ``(m, 2 d)``.

    Returns:
        Never negative. Shape: ``(n, m)``.
    """
    squares = x.square().sum(1, keepdim=True) + y.square().sum(1)
    return torch.addmm(squares, x, y.T, alpha=-2).clamp(min=0)  # Eq. (8)


def contrastive_loss(
    positive: Tensor, own: Tensor, shared: Tensor, row: Tensor, temperature: float
) -> Tensor:
    r"""Pull the positive's distribution close, push the negatives' away.

    .. math:: -\log \frac{e^{-W_{ui} / \tau_c}}{e^{-W_{ui} / \tau_c} + \sum_j e^{-W_{uj} / \tau_c}}

    Args:
        positive: Squared distances to the positives. Shape: ``(batch,)``.
        own: Those to the negatives of each row. Shape: ``(any, batch)``.
        shared: Those of each user to negatives that all have; infinite for none.
            Shape: ``(users, m)``.
        row: User of each row. Shape: ``(batch,)``.
        temperature: tau_c.

    Returns:
        Mean over the batch. Shape: ``()``.

    Example:
        >>> zero = torch.zeros(1, 1)
        >>> contrastive_loss(zero[0], zero[:0], zero, torch.tensor([0]), 1.0)  # log 2
        tensor(0.6931)
    """
    s_positive = -positive / temperature
    # Of each user once. A finite stand-in for a sum without a term, which has no gradient.
    s_shared = (-shared / temperature).clamp(min=torch.finfo(shared.dtype).min / 2)
    s_shared = pad(s_shared, (0, 1), value=torch.finfo(shared.dtype).min / 2).logsumexp(1)
    s_shared = s_shared.index_select(0, row).unsqueeze(0)
    parts = [s_positive.unsqueeze(0), -own / temperature, s_shared]
    return (torch.cat(parts).logsumexp(0) - s_positive).mean()  # Eq. (9)


class GaussianHeads(nn.Module):
    """From embeddings to means and standard deviations (Eqs. 1-4).

    The mean is the embedding itself, or with a head starts as it, exactly: its last layer is zero.

    Args:
        size: d.
        hidden: Width of the layers between.
        floor: Smallest standard deviation.
        mean_head: Whether the mean has a head, as in the paper.
    """

    def __init__(self, size: int, hidden: int, floor: float, mean_head: bool = True) -> None:
        super().__init__()
        self.floor, self.mean_head = floor, mean_head
        self.shared = nn.Linear(size, hidden, bias=False)
        self.deviation_in, self.deviation_out = nn.Linear(hidden, hidden), nn.Linear(hidden, size)
        nn.init.normal_(self.deviation_out.weight, std=_SIGMA_STD)
        nn.init.constant_(self.deviation_out.bias, _SIGMA_BIAS)
        if mean_head:
            self.mean_in, self.mean_out = nn.Linear(hidden, hidden), nn.Linear(hidden, size)
            nn.init.zeros_(self.mean_out.weight)
            nn.init.zeros_(self.mean_out.bias)

    def mean(self, e: Tensor) -> Tensor:
        """Means of embeddings ``(rows, d)``. Shape: as ``e``."""
        if not self.mean_head:
            return e
        z = functional.relu(self.shared(e))  # Eq. (1)
        return e + self.mean_out(functional.relu(self.mean_in(z)))  # Eq. (2)

    def points(self, e: Tensor) -> Tensor:
        """Points (mu ; sigma), whose distance is W2, of ``(rows, d)``. Shape: ``(rows, 2 d)``."""
        return torch.cat([self.mean(e), self.deviation(e)], dim=1)

    def deviation(self, e: Tensor) -> Tensor:
        """Standard deviations of embeddings ``(rows, d)``, at least the floor. Shape: as ``e``."""
        z = functional.relu(self.shared(e))  # Eq. (1)
        raw = self.deviation_out(functional.relu(self.deviation_in(z)))  # Eq. (3)
        # ELU + 1 as in STOSA: the paper's formula may be negative.
        return (functional.elu(raw) + 1 + self.floor**2).sqrt()  # Eq. (4)
