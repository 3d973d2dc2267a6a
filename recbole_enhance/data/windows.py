"""Histories that are prefixes of others, so that a causal model reads them in one window."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

_PIECE = 1 << 16  # histories that are compared at once


class Windows(NamedTuple):
    """Which histories are read in which others.

    Attributes:
        row: The row whose history holds the others of its window. Shape: ``(windows,)``.
        window: Window of each row. Shape: ``(rows,)``.
        place: Of the row's last item in its window, from 0. Shape: ``(rows,)``.
    """

    row: Tensor
    window: Tensor
    place: Tensor


def links(histories: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Compare each history with the one before.

    Args:
        histories: Items, oldest first, zeros after. Shape: ``(rows, L)``.
        lengths: Items of each. Shape: ``(rows,)``.

    Returns:
        Where a history begins with the one before; and where it is another one, both have no room
        left, and it is the one before without its oldest item and with one more.

    Example:
        >>> histories = torch.tensor([[5, 0], [5, 6], [6, 7], [7, 0]])
        >>> [x.tolist() for x in links(histories, torch.tensor([1, 2, 2, 1]))]
        [[False, True, False, False], [False, False, True, False]]
    """
    grows = torch.zeros(len(histories), dtype=torch.bool, device=histories.device)
    slides, place = grows.clone(), torch.arange(histories.shape[1], device=histories.device)
    old, new = histories[:-1], histories[1:]
    begins = ((old == new) | (place >= lengths[:-1].unsqueeze(1))).all(1)
    grows[1:] = begins & (lengths[1:] >= lengths[:-1])
    full = torch.minimum(lengths[1:], lengths[:-1]) == histories.shape[1]
    slides[1:] = (old[:, 1:] == new[:, :-1]).all(1) & full & ~grows[1:]
    return grows, slides


def starts(grows: Tensor, slides: Tensor, step: int, offset: int = 0) -> Tensor:
    """Say where windows begin.

    Args:
        grows: From :func:`links`. Shape: ``(rows,)``.
        slides: From :func:`links`. Shape: ``(rows,)``.
        step: At most so many rows that slide are in one window; 1 lets none share.
        offset: Rows that slide are counted from here, below ``step``.

    Returns:
        True for the first row of a window. Shape: ``(rows,)``.
    """
    rows = torch.arange(len(grows), device=grows.device)
    slides = _sliding(grows, slides)
    first = torch.where(slides, 0, rows).cummax(0)[0] if len(rows) else rows
    return ~grows & ~(slides & ((rows - first + offset) % step != 0))


def _sliding(grows: Tensor, slides: Tensor) -> Tensor:
    """Without those after a history that grew: their windows are kept apart."""
    slides = slides.clone()
    slides[1:] &= ~grows[:-1]
    return slides


def windows_of(histories: Tensor, lengths: Tensor, step: int) -> Windows:
    """Find which neighbouring rows one window serves.

    A row whose history is the beginning of its window's is exact. One of several that slide is read
    without its oldest items, at most ``step - 1`` of them; it keeps one at least.

    Args:
        histories: Items, oldest first, zeros after. Shape: ``(rows, L)``.
        lengths: Items of each. Shape: ``(rows,)``.
        step: As of :func:`starts`.

    Example:
        >>> histories = torch.tensor([[5, 0], [5, 6], [9, 0], [1, 2], [2, 3]])
        >>> lengths = torch.tensor([1, 2, 1, 2, 2])
        >>> [x.tolist() for x in windows_of(histories, lengths, step=1)]
        [[1, 2, 3, 4], [0, 0, 1, 2, 3], [0, 1, 0, 1, 1]]
        >>> [x.tolist() for x in windows_of(histories, lengths, step=2)]
        [[1, 2, 4], [0, 0, 1, 2, 2], [0, 1, 0, 0, 1]]
    """
    grows, slides = links(histories, lengths)
    first = starts(grows, slides, min(step, histories.shape[1]))
    window = first.cumsum(0) - 1
    ends = torch.ones_like(first)
    ends[:-1] = first[1:]
    row = ends.nonzero().squeeze(1)
    slid = _sliding(grows, slides).cumsum(0)
    return Windows(row, window, lengths - 1 - (slid[row][window] - slid))


class Neighbours:
    """Order of training rows in which those of a window stand together.

    Args:
        part: The training part of a sequential dataset.
        step: As of :func:`starts`.
    """

    def __init__(self, part: Any, step: int) -> None:
        features = part.inter_feat
        users = features[part.uid_field]
        histories = features[part.iid_field + part.config["LIST_SUFFIX"]]
        lengths = features[part.item_list_length_field]
        by_length = torch.argsort(lengths, stable=True)
        self.rows = by_length[torch.argsort(users[by_length], stable=True)]
        self.step = min(step, histories.shape[1])
        self.grows, self.slides = torch.zeros(2, len(users), dtype=torch.bool)
        for start in range(1, len(users), _PIECE):  # a bounded copy of the histories
            rows = self.rows[start - 1 : start + _PIECE]
            piece, of = slice(start, start + _PIECE), users[rows]
            same = of[1:] == of[:-1]
            grows, slides = links(histories[rows], lengths[rows])
            self.grows[piece], self.slides[piece] = grows[1:] & same, slides[1:] & same

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """Windows in random order, and each with its rows; where they begin is drawn anew.

        Returns:
            Row numbers. Shape: ``(rows,)``.
        """
        offset = int(torch.randint(self.step, (1,), generator=generator))
        window = starts(self.grows, self.slides, self.step, offset).cumsum(0) - 1
        n = int(window[-1]) + 1 if len(window) else 0
        place = torch.randperm(n, generator=generator)
        return self.rows[torch.argsort(place[window], stable=True)]
