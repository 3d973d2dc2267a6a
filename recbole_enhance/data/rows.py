"""Columns that we add to training interactions, and rows that move between the parts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction, cat_interactions
from torch import Tensor

from recbole_enhance.options.errors import OptionError

# None of them is entered as a field, so that no model embeds it; they survive negative sampling.
ROW_ID = "inter_idx"  # a value belongs to an interaction, not to a batch slot
FILE_ROW = "file_row"  # where an interaction stands in the interaction files, from 0
WEIGHT = "interaction_weight"  # of the interaction in the loss; their mean is 1


def stable_order(values: np.ndarray) -> np.ndarray:
    """Row numbers by rising value, equal ones in their order; faster than a stable argsort.

    Args:
        values: Whole or other numbers. Shape: ``(rows,)``.

    Example:
        >>> stable_order(np.array([1, 0, 1, 0])).tolist()
        [1, 3, 0, 2]
    """
    rows, kind = len(values), np.int32 if len(values) <= np.iinfo(np.int32).max else np.int64
    if not rows or values.dtype.kind != "i":
        return np.argsort(values, kind="stable").astype(kind)
    low, high = int(values.min()), int(values.max())
    if (high - low + 1) * rows > np.iinfo(np.int64).max:
        return np.argsort(values, kind="stable").astype(kind)
    ordered = values.astype(np.int64)  # of value and row in one number, which sorts in place
    ordered -= low
    ordered *= rows
    ordered += np.arange(rows, dtype=kind)
    ordered.sort()
    ordered %= rows
    return ordered.astype(kind)


def by_first_appearance(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number codes in the order in which they appear; -1 stays.

    Args:
        codes: At least -1. Shape: ``(rows,)``.

    Returns:
        The new number of each row, and the code of each number.

    Example:
        >>> by_first_appearance(np.array([4, -1, 2, 4]))
        (array([ 0, -1,  1,  0]), array([4, 2]))
    """
    if len(codes) and codes[0] == 0:  # read from a file of which no row has gone, they are in order
        most = np.maximum.accumulate(codes)
        if (most[1:] - most[:-1] <= 1).all():
            return codes.astype(np.int64), np.arange(most[-1] + 1)
    rows, last = len(codes), int(codes.max(initial=-1))
    first = np.full(last + 2, rows)
    first[codes[::-1]] = np.arange(rows)[::-1]  # of several rows the first is written last
    first = first[:-1]  # without that of -1
    known = np.argsort(first)[: np.count_nonzero(first < rows)]
    numbers = np.full(last + 2, -1)
    numbers[known] = np.arange(len(known))
    return numbers[codes], known


def reorder(interaction: Interaction, index: Tensor) -> None:
    """Put rows into another order, in place.

    Args:
        interaction: The rows.
        index: Row numbers in the new order. Shape: ``(rows,)``.
    """
    for name, column in interaction.interaction.items():
        interaction.interaction[name] = column.index_select(0, index)


def number_rows(train_data: Any) -> int:
    """Add the column :data:`ROW_ID` to the training split.

    Args:
        train_data: RecBole's training loader.

    Returns:
        The number of training interactions.
    """
    interactions = train_data._dataset.inter_feat
    interactions.update(Interaction({ROW_ID: torch.arange(len(interactions))}))
    return len(interactions)


def weigh_rows(part: Any, weights: Tensor) -> None:
    """Add the column :data:`WEIGHT`, divided by its mean, so that the loss keeps its scale.

    Args:
        part: The training part.
        weights: Numbers of at least 0. Shape: ``(interactions,)``.

    Raises:
        OptionError: If there is a number below 0, or none above.
    """
    option = "interaction_weight_field"
    weights = weights.float()
    bad = weights[~(weights >= 0) | weights.isinf()]
    if len(bad):
        raise OptionError(
            option, part.config[option], f"has {bad[0]:g}: weights must be at least 0"
        )
    if not weights.any():
        raise OptionError(option, part.config[option], "is 0 for all training interactions")
    # In float64: the mean of many ones is 1, and they stay what they are.
    weights = (weights.double() / weights.double().mean()).float()
    part.inter_feat.update(Interaction({WEIGHT: weights}))


class Moved(NamedTuple):
    """The training part as it was split off, and the validation interactions added to it."""

    training: Any
    added: Any


def random_part(n: int, share: float, seed: int) -> Tensor:
    """Choose rows by chance; those of a smaller share are among those of a larger one.

    Args:
        n: Number of rows.
        share: Of them that is chosen, rounded down.
        seed: Of the choice.

    Returns:
        True for the chosen ones. Shape: ``(n,)``.

    Example:
        >>> int(random_part(7, 0.5, 2020).sum())
        3
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order < int(n * share)


def train_on_validation(parts: Sequence[Any], share: float, seed: int) -> list[Any]:
    """Add a random share of the validation interactions to training; the others select.

    Args:
        parts: Training, validation and test part.
        share: Between 0 and 1.
        seed: Of the choice; DVR's judges are chosen with the same one.

    Returns:
        The parts; the first has the attribute ``moved``, a :class:`Moved`.

    Raises:
        OptionError: If that is none of them.
    """
    training, validation, *others = parts
    rows = validation.inter_feat
    taken = random_part(len(rows), share, seed)
    if not taken.any():
        why = f"is less than one of {len(rows)} validation interactions"
        raise OptionError("train_on_validation", share, why)
    added = validation.copy(rows[taken])
    whole = training.copy(cat_interactions([training.inter_feat, added.inter_feat]))
    whole.moved = Moved(training, added)
    return [whole, validation.copy(rows[~taken]), *others]
