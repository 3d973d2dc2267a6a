"""Columns of training interactions that no file has, and rows that move between the parts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction, cat_interactions
from torch import Tensor

from recbole_enhance.options.errors import OptionError

# None of them is entered as a field, so that no model embeds it; they survive negative sampling.
ROW_ID = "inter_idx"  # a value belongs to an interaction, not to a batch slot
FILE_ROW = "file_row"  # where an interaction stands in the interaction files, from 0
WEIGHT = "interaction_weight"  # of the interaction in the loss; their mean is 1


def stable_order(groups: np.ndarray) -> np.ndarray:
    """Row numbers by group, those of one group in their order; faster than a stable argsort.

    Args:
        groups: Number of each row's group, from 0, below the number of rows. Shape: ``(rows,)``.

    Example:
        >>> stable_order(np.array([1, 0, 1, 0])).tolist()
        [1, 3, 0, 2]
    """
    rows = len(groups)
    ordered = groups.astype(np.int64) * rows
    ordered += np.arange(rows)
    ordered.sort()
    ordered %= max(rows, 1)
    return ordered


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
    numbers, known = pd.factorize(codes)
    missing = np.flatnonzero(known == -1)
    if len(missing):
        numbers = np.where(numbers == missing[0], -1, numbers - (numbers > missing[0]))
        known = np.delete(known, missing)
    return numbers, known


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
