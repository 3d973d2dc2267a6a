"""Values as predicted by a regression over all samples, in place of noisy single values."""

import torch
from torch import Tensor


def ranks(numbers: Tensor) -> Tensor:
    """Rank of each number among all, between 0 and 1; equal ones share the middle one.

    Args:
        numbers: Shape: ``(n,)``.

    Returns:
        Shape: ``(n,)``, float64.

    Example:
        >>> ranks(torch.tensor([5.0, 7.0, 5.0, 9.0])).tolist()
        [0.25, 0.625, 0.25, 0.875]
    """
    _, level, size = numbers.unique(return_inverse=True, return_counts=True)
    middle: Tensor = (size.cumsum(0) - size / 2).double() / max(len(numbers), 1)
    return middle[level]


def amortised(values: Tensor, features: Tensor) -> Tensor:
    """Ranks of values as least squares predict them of features, their squares and products.

    The features enter as ranks too, so that no unit and no outlier decides.

    Args:
        values: Shape: ``(n,)``.
        features: Shape: ``(n, features)``.

    Returns:
        Predicted rank of each value, larger is better; about 0 to 1. Shape: ``(n,)``, float64.

    Example:
        >>> x = torch.arange(6.0)
        >>> [round(v, 3) for v in amortised(x, x.unsqueeze(1)).tolist()]
        [0.083, 0.25, 0.417, 0.583, 0.75, 0.917]
    """
    columns = [ranks(column) for column in features.unbind(1)]
    products = [a * b for place, a in enumerate(columns) for b in columns[place:]]
    design = torch.stack([torch.ones(len(values), dtype=torch.float64), *columns, *products], 1)
    # gelsd: a feature that is constant, or two that are the same, are no trouble.
    target = ranks(values).unsqueeze(1)
    weights: Tensor = torch.linalg.lstsq(design, target, driver="gelsd").solution
    return (design @ weights).squeeze(1)
