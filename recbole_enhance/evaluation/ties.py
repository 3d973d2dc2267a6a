"""Lists whose ties are broken by one random order of the items, drawn once by ``seed``.

torch's ``topk`` in practice breaks ties by id. Ids are in the order of first appearance in the
data, so a model that gives equal scores would list popular items.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# The n largest of each row, best first, and their columns: (scores, n) -> (rows, n) both.
Top = Callable[[Tensor, int], tuple[Tensor, Tensor]]
_BLOCK = 8
_FEW = 2  # threads, in which numpy's partition of rows is faster than torch's top-k


def _torch_top(scores: Tensor, n: int) -> tuple[Tensor, Tensor]:
    values, items = scores.topk(n, dim=1)
    return values, items


def best(scores: Tensor, n: int, in_order: bool = True) -> tuple[Tensor, Tensor]:
    """The n largest of each row, and where they are; torch's top-k in two steps.

    They lie in the n blocks of the largest maxima, so that no more than those need be searched:
    a quarter of the time of one step for 200 of 12,000, in one thread.

    Args:
        scores: Shape: ``(rows, columns)``, at least n columns.
        n: Number of values.
        in_order: Whether the largest comes first; else they are in any order.

    Returns:
        Values and their columns. Shape of both: ``(rows, n)``.

    Example:
        >>> best(torch.tensor([[3.0, 9.0, 5.0]]), 2)
        (tensor([[9., 5.]]), tensor([[1, 2]]))
    """
    blocks = scores.shape[1] // _BLOCK
    if blocks <= n:
        top = scores.topk(n, dim=1, sorted=in_order)
        return top.values, top.indices
    whole = blocks * _BLOCK
    folded = scores[:, :whole].view(len(scores), _BLOCK, blocks)  # a block is a column of a row
    chosen = _largest(folded.amax(1), n)
    found = folded.gather(2, chosen.unsqueeze(1).expand(-1, _BLOCK, -1))
    found = torch.cat([found.flatten(1), scores[:, whole:]], 1)
    index = _largest(found, n)
    values = found.gather(1, index)
    if in_order:
        values, order = values.sort(1, descending=True)
        index = index.gather(1, order)
    # Only where the n best stand is asked for: row of the fold and block of each, or the rest.
    row, number = index // n, index % n
    place = chosen.gather(1, number).add_(row, alpha=blocks)
    return values, torch.where(row < _BLOCK, place, index + (whole - _BLOCK * n))


def _largest(scores: Tensor, n: int) -> Tensor:
    """Columns of the n largest of each row, in any order. Shape: ``(rows, n)``."""
    plain = scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64)
    if not plain or torch.get_num_threads() > _FEW:
        return scores.topk(n, dim=1, sorted=False).indices
    return torch.from_numpy(np.argpartition(scores.detach().numpy(), -n, axis=1)[:, -n:])


def drawn_order(n_items: int, seed: int) -> Tensor:
    """Places of the items in a random order, the same for every model. Shape: ``(n_items,)``."""
    return torch.randperm(n_items, generator=torch.Generator().manual_seed(seed))


def ranked(scores: Tensor, k: int, place: Tensor, top: Top = _torch_top) -> tuple[Tensor, Tensor]:
    """The k best of each row; of equal scores, those with the smallest place.

    Args:
        scores: -inf where an item is no candidate. Shape: ``(rows, n_items)``.
        k: Length of the lists.
        place: Of each item, from :func:`drawn_order`. Shape: ``(n_items,)``.
        top: What finds the largest, in place of torch's ``topk``.

    Returns:
        Scores and items, best first. Shape: ``(rows, k)`` both.

    Example:
        >>> ranked(torch.tensor([[2.0, 1.0, 1.0, 1.0]]), 3, torch.tensor([3, 2, 0, 1]))
        (tensor([[2., 1., 1.]]), tensor([[0, 2, 3]]))
    """
    best, index = top(scores, min(k + 1, scores.shape[1]))
    values, items = best[:, :k], index[:, :k]
    equal = (best[:, 1:] == best[:, :-1]) & (best[:, 1:] > -torch.inf)
    tied = equal.any(1).nonzero().squeeze(1)
    if not len(tied):
        return values, items
    items = items.clone()
    place = place.to(scores.device)
    items[tied] = _by_place(scores, values, items, tied, equal[:, k - 1 : k].any(1), place)
    return values, items


def _by_place(
    scores: Tensor, values: Tensor, items: Tensor, tied: Tensor, open_end: Tensor, place: Tensor
) -> Tensor:
    """Items of the tied rows, where a list may end amid equal scores. Shape: ``(tied, k)``."""
    own, own_values = items[tied], values[tied]
    ends = open_end[tied].nonzero().squeeze(1)
    if len(ends):
        last = own_values[ends, -1:]
        # Places as float32 are exact up to 16 million items.
        among = torch.where(scores[tied[ends]] == last, -place.float(), -torch.inf)
        first = among.topk(own.shape[1], dim=1).indices
        number = torch.arange(own.shape[1], device=own.device)
        n_better = (own_values[ends] > last).sum(1, keepdim=True)
        chosen = first.gather(1, (number - n_better).clamp(min=0))
        own[ends] = torch.where(number < n_better, own[ends], chosen)
    # Stable sorts, the last key first: by score, and among equals by place.
    order = place[own].argsort(dim=1)
    by_score = own_values.gather(1, order).argsort(dim=1, descending=True, stable=True)
    return own.gather(1, order.gather(1, by_score))
