"""Histories of sequential models by one gather per column, in place of RecBole's loop per row."""

from typing import Any

import torch
from recbole.data.dataset import DIENDataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType
from torch import Tensor

from recbole_enhance.data.loaders import take

_PIECE = 8192  # histories that are written at once
_TOKENS = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)
_FLOATS = (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)


def prefixes(users: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Rows that have a history, and how many rows before them belong to it.

    Args:
        users: User of each row; a user's rows stand together, in the order of time.
            Shape: ``(rows,)``.
        longest: Most rows of a history.

    Returns:
        Row numbers without each user's first, and the lengths of their histories.

    Example:
        >>> prefixes(torch.tensor([7, 7, 7, 7, 2, 2]), longest=2)
        (tensor([1, 2, 3, 5]), tensor([1, 2, 2, 1]))
    """
    rows = torch.arange(len(users))
    first = torch.ones(len(users), dtype=torch.bool)
    first[1:] = users[1:] != users[:-1]
    start = torch.where(first, rows, torch.zeros_like(rows)).cummax(0)[0] if len(rows) else rows
    targets = (~first).nonzero().squeeze(1)
    return targets, (targets - start[targets]).clamp(max=longest)


def fill_histories(out: Tensor, values: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    """Write the rows before each target, oldest first, zeros after.

    Args:
        out: Where they go, of the wanted shape and type. Shape: ``(targets, L, ...)``.
        values: One entry per row. Shape: ``(rows, ...)``.
        targets: Row numbers. Shape: ``(targets,)``.
        lengths: How many rows before each. Shape: ``(targets,)``.

    Returns:
        ``out``.

    Example:
        >>> out = torch.empty(2, 2, dtype=torch.long)
        >>> fill_histories(out, torch.tensor([5, 6, 7]), torch.tensor([1, 2]), torch.tensor([1, 2]))
        tensor([[5, 0],
                [5, 6]])
    """
    padded = torch.cat([values, torch.zeros_like(values[:1])])
    place = torch.arange(out.shape[1])
    # Piece by piece: row numbers of all histories would take as much memory as the histories.
    pieces = zip(*(x.split(_PIECE) for x in (out, targets, lengths)))
    for part, target, length in pieces:
        index = (target - length).unsqueeze(1) + place
        index.masked_fill_(place >= length.unsqueeze(1), len(values))
        part.copy_(padded.index_select(0, index.flatten()).view(*index.shape, *values.shape[1:]))
    return out


class FastSequences:
    """Mixed in front of RecBole's ``SequentialDataset`` or ``DIENDataset``: the same columns.

    Attributes:
        interactions: All rows as they were read, by user and time; the parts of the split share
            them. A user's first row is in no part, and a whole history is the input of no row.
    """

    interactions: Interaction

    def data_augmentation(self: Any) -> None:
        """Make one row of each prefix of a history, as RecBole's method of this name."""
        self.logger.debug("data_augmentation")
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        longest = self.config["MAX_ITEM_LIST_LENGTH"]
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        self.interactions = features = self.inter_feat
        targets, lengths = prefixes(features[self.uid_field], longest)
        columns = {self.item_list_length_field: lengths}
        negatives = getattr(self, "neg_item_list", None)  # DIEN's
        for field in features:
            if field == self.uid_field:
                continue
            name = getattr(self, f"{field}_list_field")
            out = self.empty_histories(field, len(targets))
            columns[name] = fill_histories(out, features[field], targets, lengths)
            if negatives is not None and field == self.iid_field:
                out = torch.empty_like(out)
                columns[self.neg_item_list_field] = fill_histories(out, negatives, targets, lengths)
        rows = take(features, targets)
        rows.update(Interaction(columns))
        self.inter_feat = rows

    def empty_histories(self: Any, field: str, rows: int) -> Tensor:
        """Memory of the shape and type that RecBole gives the list column of a field."""
        name = getattr(self, f"{field}_list_field")
        length = self.field2seqlen[name]
        shape = (rows, *(length if isinstance(length, tuple) else (length,)))
        if self.field2type[field] in _FLOATS and field in self.config["numerical_features"]:
            shape += (2,)
        dtype = self.interactions[field].dtype
        if self.field2type[field] in _FLOATS:
            dtype = torch.float32  # times are exact only until rows are in order
        if isinstance(self, DIENDataset):
            dtype = torch.int64 if self.field2type[name] in _TOKENS else torch.float64
        return torch.empty(shape, dtype=dtype)


def with_fast_sequences(dataset_class: type) -> type:
    """The dataset class with vectorised histories, or itself where it makes its own."""
    own = getattr(dataset_class, "data_augmentation", None)
    if own not in (SequentialDataset.data_augmentation, DIENDataset.data_augmentation):
        return dataset_class
    members = {"__module__": dataset_class.__module__}
    return type(dataset_class.__name__, (FastSequences, dataset_class), members)
