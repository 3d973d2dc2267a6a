"""Importance of training triplets: the inputs, outputs and objective of TIL's network."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

_LARGEST_CLIPPED = 5.0  # the release's matrix factorisation


class WeightNet(nn.Module):
    r"""Importance of a triplet by its state, :math:`h_\Phi(s) = softplus(W_2 relu(W_1 s + b_1))`.

    Args:
        n_inputs: Length of s.
        n_hidden: Width of the hidden layer.
    """

    def __init__(self, n_inputs: int, n_hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_inputs, n_hidden)
        self.output = nn.Linear(n_hidden, 1, bias=False)

    def forward(self, state: Tensor) -> Tensor:
        """Weigh states ``(batch, n_inputs)``; weights ``(batch,)`` are above 0."""
        return softplus(self.output(torch.relu(self.hidden(state)))).squeeze(1)


def unified_state(user: Tensor, positive: Tensor, negative: Tensor, centre: Tensor) -> Tensor:
    """State of TIL-UI: ``[u*i + c_u*i ; u*j + c_u*j]``.

    Args:
        user: u, rows of the user table. Shape: ``(batch, d)``.
        positive: i. Shape: ``(batch, d)``.
        negative: j. Shape: ``(batch, d)``.
        centre: c_u, mean vector of the user's training items. Shape: ``(batch, d)``.

    Returns:
        Shape: ``(batch, 2 d)``.

    Example:
        >>> u, i, j, c = torch.tensor([[[2.0]], [[3.0]], [[5.0]], [[7.0]]])
        >>> unified_state(u, i, j, c).tolist()
        [[27.0, 45.0]]
    """
    both = user + centre
    return torch.cat([both * positive, both * negative], dim=1)


def multi_interest_state(
    user: Tensor, positive: Tensor, negative: Tensor, c_i: Tensor, c_j: Tensor
) -> Tensor:
    """State of TIL-MI: ``[u*i + u*c_i + c_i*i ; u*j + u*c_j + c_j*j]``.

    Args:
        user: u, rows of the user table. Shape: ``(batch, d)``.
        positive: i. Shape: ``(batch, d)``.
        negative: j. Shape: ``(batch, d)``.
        c_i: Mean vector of the positive's cluster. Shape: ``(batch, d)``.
        c_j: Of the negative's. Shape: ``(batch, d)``.

    Returns:
        Shape: ``(batch, 2 d)``.

    Example:
        >>> u, i, j, c, k = torch.tensor([[[2.0]], [[3.0]], [[5.0]], [[7.0]], [[11.0]]])
        >>> multi_interest_state(u, i, j, c, k).tolist()
        [[41.0, 87.0]]
    """
    halves = [user * (v + c) + c * v for v, c in ((positive, c_i), (negative, c_j))]
    return torch.cat(halves, dim=1)


def scale(h: Tensor, how: str) -> Tensor:
    """Turn the network's outputs into weights.

    Args:
        h: Shape: ``(batch,)``.
        how: ``raw``, ``clip`` into [0, 5], or ``norm`` to mean 1.

    Returns:
        Shape: ``(batch,)``.

    Example:
        >>> scale(torch.tensor([1.0, 7.0]), "norm").tolist()
        [0.25, 1.75]
    """
    if how == "clip":
        return h.clamp(0, _LARGEST_CLIPPED)
    return h * (len(h) / h.sum()) if how == "norm" else h


class Side(NamedTuple):
    """A batch at parameters moved to one side.

    Attributes:
        losses: l of each triplet. Shape: ``(batch,)``.
        weights: w of each triplet, with its graph in Phi. Shape: ``(batch,)``.
    """

    losses: Tensor
    weights: Tensor


def lookahead_objective(plus: Side, minus: Side, alpha: float, step: float) -> Tensor:
    r"""What Phi minimises: the outer loss, to first order in alpha, up to a constant.

    With :math:`\Theta' = \Theta - \alpha \nabla L_{in}` and :math:`v = \nabla L_{out}(\Theta')`,

    .. math:: \frac{d L_{out}}{d \Phi} = - \alpha \frac{d}{d \Phi} \langle \nabla L_{in}, v \rangle
              \approx - \alpha \frac{d}{d \Phi} \frac{1}{B} \sum_k
              \frac{w^+_k l^+_k - w^-_k l^-_k}{2 \epsilon}

    by central differences along v. Where weights do not move with the parameters, the sum is
    :math:`w_k c_k` with :math:`c_k = (l^+_k - l^-_k) / 2 \epsilon`. No approximation is made in the
    step: the hypergradient is exact but for the differences.

    Args:
        plus: At :math:`\Theta + \epsilon v`.
        minus: At :math:`\Theta - \epsilon v`.
        alpha: Rate of the lookahead.
        step: :math:`\epsilon`.

    Returns:
        Shape: ``()``.
    """
    change = plus.weights * plus.losses - minus.weights * minus.losses
    return -alpha * (change / (2 * step)).mean()
