"""K-means by Lloyd's iterations from a k-means++ start, as one function of tensors."""

import torch
from torch import Tensor

_MAX_ITERATIONS = 100  # what is left to gain by then is far below a new start's spread


def spread_start(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    r"""Draw centres far from one another, by k-means++.

    The first is uniform; the next is drawn with :math:`p(x) \propto \min_c \|x - c\|^2` (Arthur and
    Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007).

    Args:
        points: Shape: ``(n, d)``.
        k: Number of centres, at most n.
        generator: Source of randomness, on the CPU.

    Returns:
        Some of the points; equal ones only where fewer than k differ. Shape: ``(k, d)``.
    """
    uniform = torch.rand(k, generator=generator, dtype=torch.float64).to(points.device)
    chosen = [points[(uniform[0] * len(points)).long()]]
    distance = (points - chosen[0]).square().sum(1)
    for u in uniform[1:]:
        mass = distance.double().cumsum(0)
        place = torch.searchsorted(mass, (u * mass[-1]).unsqueeze(0), right=True)
        chosen.append(points[place.clamp(max=len(points) - 1)].squeeze(0))
        distance = torch.minimum(distance, (points - chosen[-1]).square().sum(1))
    return torch.stack(chosen)


def cluster_means(points: Tensor, label: Tensor, centres: Tensor) -> Tensor:
    """Mean of each cluster's points; a cluster without points keeps its centre.

    Args:
        points: Shape: ``(n, d)``.
        label: Cluster of each point. Shape: ``(n,)``.
        centres: Used where a cluster is empty. Shape: ``(k, d)``.

    Returns:
        Shape: ``(k, d)``.

    Example:
        >>> points, old = torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [7.0]])
        >>> cluster_means(points, torch.tensor([0, 0]), old).tolist()
        [[1.0], [7.0]]
    """
    sizes = torch.bincount(label, minlength=len(centres)).unsqueeze(1)
    sums = torch.zeros_like(centres).index_add_(0, label, points)
    return torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Number of the centre that is nearest to each point. Shape: ``(n,)``.

    Example:
        >>> nearest(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [4.0]])).tolist()
        [0, 1]
    """
    # |x - c|^2 without |x|^2, which is the same for all centres.
    return torch.addmm(centres.square().sum(1), points, centres.t(), alpha=-2).argmin(1)


def lloyd(points: Tensor, centres: Tensor, tolerance: float = 0.0) -> Tensor:
    """Move centres to their points' means until hardly a point changes its cluster.

    Args:
        points: Shape: ``(n, d)``.
        centres: Where to start. Shape: ``(k, d)``.
        tolerance: Share of the points that may still change; 0 goes on until none does.

    Returns:
        Centres. Shape: ``(k, d)``.
    """
    label = nearest(points, centres)
    for _ in range(_MAX_ITERATIONS):
        centres = cluster_means(points, label, centres)
        before, label = label, nearest(points, centres)
        if (label != before).sum() <= tolerance * len(points):
            break
    return centres


def kmeans(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Cluster points.

    Args:
        points: On any device. Shape: ``(n, d)``.
        k: Number of clusters.
        generator: Source of randomness, on the CPU.

    Returns:
        Cluster of each point, in ``range(k)``. Shape: ``(n,)``.

    Raises:
        ValueError: If there are fewer points than clusters.

    Example:
        >>> points = torch.tensor([[0.0], [9.0], [0.1], [9.1]])
        >>> label = kmeans(points, 2, torch.Generator().manual_seed(0))
        >>> bool(label[0] == label[2] and label[1] == label[3] and label[0] != label[1])
        True
    """
    if not 1 <= k <= len(points):
        raise ValueError(f"{k} clusters of {len(points)} points")
    return nearest(points, lloyd(points, spread_start(points, k, generator)))
