r"""Shapley values of the samples of one training step, and the weights that follow from them.

The game of a batch B is the change of a utility U by the optimiser's step, to first order:

.. math:: v(S) = -\frac{\eta}{|B|} \Big\langle \sum_{m \in S} g_m,\, H \nabla U \Big\rangle

with the gradient :math:`g_m` of a sample's loss and the optimiser's preconditioner H, held fixed.
It is additive, so that the Shapley value of a sample is its own term, exactly.

Reference:
    Wang, Mittal, Song, Jia. "Data Shapley in One Training Run." in ICLR 2025.
"""

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop, SparseAdam

from recbole_enhance.options.errors import OptionError

_SECOND_MOMENT = {Adam: "exp_avg_sq", AdamW: "exp_avg_sq", SparseAdam: "exp_avg_sq"}
_SQUARES = {**_SECOND_MOMENT, RMSprop: "square_avg", Adagrad: "sum"}
LEARNERS = ("adam", "adamw", "adagrad", "rmsprop", "sgd", "sparse_adam")


def values_from_slopes(slopes: Tensor) -> Tensor:
    r"""Values of a batch whose loss is the mean over its samples.

    Args:
        slopes: :math:`\langle g_m, \eta H \nabla U \rangle`. Shape: ``(batch,)``.

    Returns:
        :math:`\phi_m`, in the unit of U; their sum is U's first-order change by the step. Shape:
        ``(batch,)``.

    Example:
        >>> values_from_slopes(torch.tensor([2.0, -4.0])).tolist()
        [-1.0, 2.0]
    """
    return -slopes / len(slopes)


def odd_weights(values: Tensor, strength: float) -> Tensor:
    r"""Weights that grow with the value and are odd around 1, divided by their mean.

    .. math:: w_m = 2 \sigma(\beta z_m) / \overline{w}, \qquad
        z_m = \phi_m / \sqrt{\overline{\phi^2}}

    Not centred: a batch of useful samples only is no reason to mistrust half of them. Odd, because
    an even term, as in :math:`e^{\beta z}`, would favour outliers of either sign.

    Args:
        values: :math:`\phi`. Shape: ``(batch,)``.
        strength: :math:`\beta`.

    Returns:
        Weights of mean 1; 1 exactly if the strength is 0 or no sample has a value. Shape:
        ``(batch,)``.

    Example:
        >>> odd_weights(torch.tensor([1.0, -1.0, 0.0]), 0.0).tolist()
        [1.0, 1.0, 1.0]
        >>> odd_weights(torch.tensor([1.0, -1.0]), 100.0).tolist()
        [2.0, 0.0]
    """
    rms = values.square().mean().sqrt()
    z = torch.where(rms > 0, values / rms, 0.0)
    weights = 2 * torch.sigmoid(strength * z)
    return weights / weights.mean()


def step_sizes(optimizer: Optimizer) -> dict[Tensor, Tensor | float]:
    r"""How far the optimiser moves each coordinate per unit of gradient: :math:`\eta H`.

    H is 1 for SGD, :math:`1 / (\sqrt{\hat v} + \epsilon)` for Adam and its kin. Momentum spreads
    one gradient over several steps and is left out; so is weight decay, which no sample causes. A
    coordinate that never had a gradient has no scale yet, and gets 0.

    Args:
        optimizer: One of :data:`LEARNERS`.

    Returns:
        A tensor of the parameter's shape, or a number for all of it; nothing for a parameter
        that has not moved yet.

    Raises:
        OptionError: If the optimiser is of another kind.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> list(step_sizes(SGD([weight], lr=0.1)).values())
        [0.1]
    """
    kind = type(optimizer)
    if kind is not SGD and kind not in _SQUARES:
        raise OptionError("learner", kind.__name__.lower(), f"one of {', '.join(LEARNERS)}")
    sizes: dict[Tensor, Tensor | float] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter)
            if kind is SGD:
                sizes[parameter] = group["lr"]
            elif state:
                squares = state[_SQUARES[kind]]
                scale = 1.0
                if kind in _SECOND_MOMENT:
                    scale = 1 - group["betas"][1] ** float(state["step"])
                # In place: a table's worth of fresh memory costs more than the arithmetic.
                size = (squares / scale).sqrt_().add_(group["eps"]).reciprocal_().mul_(group["lr"])
                sizes[parameter] = size.masked_fill_(~(squares > 0), 0.0)
    return sizes
