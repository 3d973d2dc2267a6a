"""Merges what several processes collected into the rows and the order of a single process.

Metrics are computed from the merged rows. A mean of the processes' own metrics would be wrong: the
Gini index and the coverage of all lists are not means over parts of them.
"""

import torch
from torch import Tensor

from recbole_enhance.options import launched
from recbole_enhance.storage import processes

_ROW_NUMBERS = "rec.positive_u"
_WHOLE = ("data.item_embedding",)  # which every process has


def all_sound(own: bool) -> bool:
    """Whether the scores of all processes are finite."""
    return float(processes.add_up(torch.tensor(float(own)))) == launched.size()


def merged(parts: dict[str, Tensor], n_rows: int) -> dict[str, Tensor]:
    """Put the rows of all processes together, in the first of them.

    Args:
        parts: Key -> this process's tensor; none where it had no batch.
        n_rows: How many rows it ranked.

    Returns:
        The same for all rows; for the other processes nothing.
    """
    shapes = [[key, str(t.dtype), list(t.shape[1:])] for key, t in sorted(parts.items())]
    counts = torch.zeros(launched.size(), dtype=torch.long)
    counts[launched.rank()] = n_rows
    before = int(processes.add_up(counts)[: launched.rank()].sum())
    whole: dict[str, Tensor] = {}
    for key, dtype, width in processes.share(shapes):  # the first process has a batch if any has
        if key in _WHOLE:
            whole[key] = parts[key]
            continue
        empty = torch.zeros((0, *width), dtype=getattr(torch, dtype.removeprefix("torch.")))
        own = parts.get(key, empty)
        rows = processes.gathered(own + before if key == _ROW_NUMBERS else own)
        if rows is not None:
            whole[key] = rows
    return whole if launched.is_first() else {}
