"""An account of the rows of the files: how many were read, dropped and why, and split."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from recbole_enhance.data.user_lists import among, once, pair_keys
from recbole_enhance.options.errors import DataError

CLEANED = ".cleaned.json"  # after the dataset's name: what was dropped before it was written
PARTS = ("training", "validation", "test")
_PIECE = 1 << 20  # rows that are looked up at once
_MOST_WORDS = 60  # characters of an option's value in a line


class Counts(NamedTuple):
    """Interactions, and the users and items that have one."""

    interactions: int
    users: int
    items: int

    @classmethod
    def of(cls, users: Any, items: Any) -> "Counts":
        """Count interactions by their users and items, as tokens or ids, without missing ones."""
        return cls(len(users), _number_of(users), _number_of(items))

    def __str__(self) -> str:
        return (
            f"{self.interactions:,} interactions of {self.users:,} users and {self.items:,} items"
        )


class Account:
    """Filled while a dataset is read, filtered and split.

    Attributes:
        files: Name of each file -> its rows.
        cleaned: Of files that ``values --write_clean`` wrote: the run whose values decided, and
            what was dropped or weighted; empty for other files.
        read: Of the interaction files.
        kept: After all filters.
        dropped: Reason -> what it took, in the order in which the filters were applied.
        filled: Column -> number of missing cells, which were filled by its mean or by padding.
        parts: Name of each part of the split -> what it holds.
        repeated: Pairs of a user and an item that stand more than once, by where they stand.
        split: How the data were split, and what is ranked.
        catalogue: Users and items that there are, those without interactions too.
    """

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.cleaned: dict[str, Any] = {}
        self.read = self.kept = Counts(0, 0, 0)
        self.dropped: dict[str, Counts] = {}
        self.filled: dict[str, int] = {}
        self.parts: dict[str, Counts] = {}
        self.repeated: dict[str, int] = {}
        self.split: dict[str, Any] = {}
        self.catalogue: dict[str, int] = {}

    def read_cleaning(self, path: Path) -> None:
        """Read the file that ``values --write_clean`` writes beside cleaned data, if there is one.

        Raises:
            DataError: If its content has another form.
        """
        if not path.is_file():
            return
        try:
            told = json.loads(path.read_bytes())
            self.cleaned = {
                "run": str(told["run"]),
                "share": float(told["share"]),
                "soft": bool(told["soft"]),
                "dropped": {name: int(told["dropped"][name]) for name in Counts._fields},
                **({"zero": True} if told.get("zero") else {}),
            }
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(path, "is not what values --write_clean writes") from error

    def drop(self, reason: str, after: Counts) -> None:
        """Record what a filter dropped, by what it has left."""
        if after != self.kept:
            lost = Counts(*(was - now for was, now in zip(self.kept, after)))
            self.dropped[reason] = lost
        self.kept = after

    def count_parts(
        self, pairs: Sequence[tuple[np.ndarray, np.ndarray]], n_items: int, split: Mapping[str, Any]
    ) -> None:
        """Record the size of each part, and how many pairs are in two of them.

        Args:
            pairs: Ids of users and items of training, validation and test. Shape:
                ``(interactions,)``.
            n_items: Number of item ids, padding included.
            split: How they were split.
        """
        self.split = dict(split)
        self.parts = {name: Counts.of(*part) for name, part in zip(PARTS, pairs)}
        keys = [pair_keys(users, items, n_items) for users, items in pairs]
        for number, name in enumerate(PARTS):
            own = keys[number]
            self.repeated[f"within {name}"] = int(np.count_nonzero(own[1:] == own[:-1]))
            for other in range(number):
                both = _in_both(own, keys[other])
                self.repeated[f"{name} and {PARTS[other]}"] = both

    def size(self) -> dict[str, int]:
        """Numbers of interactions, users and items, to compare the data of two runs by."""
        return {"interactions": self.kept.interactions, **self.catalogue}

    def as_json(self) -> dict[str, Any]:
        """What ``data.json`` of a run holds."""
        return {
            "files": self.files,
            **({"cleaned": self.cleaned} if self.cleaned else {}),
            "read": self.read._asdict(),
            "dropped": [
                {"reason": reason, **lost._asdict()} for reason, lost in self.dropped.items()
            ],
            "kept": self.kept._asdict(),
            "catalogue": self.catalogue,
            "filled": self.filled,
            "split": self.split,
            "parts": {name: counts._asdict() for name, counts in self.parts.items()},
            "repeated": self.repeated,
        }

    def lines(self) -> list[str]:
        """The account in three lines."""
        files = ", ".join(f"{name} {rows:,}" for name, rows in self.files.items())
        drops = [
            f"{lost.interactions:,} by {_short(reason)}" for reason, lost in self.dropped.items()
        ]
        filled = [f"{cells:,} empty cells of {name}" for name, cells in self.filled.items()]
        parts = [
            f"{counts.interactions:,} {name} ({counts.users:,} users)"
            for name, counts in self.parts.items()
        ]
        repeated = [
            f"{pairs:,} pairs repeated {'in' if ' and ' in where else ''} {where}".replace(
                "  ", " "
            )
            for where, pairs in self.repeated.items()
            if pairs
        ]
        how = ", ".join(f"{name} {value}" for name, value in self.split.items())
        return [
            f"data: {self.read} read ({files}){self._cleaning()}",
            f"kept: {self.kept}; dropped: {', '.join(drops) or 'nothing'}"
            + (f"; filled: {', '.join(filled)}" if filled else ""),
            f"split: {', '.join(parts)}; {how}" + (f"; {', '.join(repeated)}" if repeated else ""),
        ]

    def _cleaning(self) -> str:
        if not self.cleaned:
            return ""
        share, run = f"{self.cleaned['share']:.3g}", _short(self.cleaned["run"])
        if self.cleaned["soft"]:
            return f"; the {share} of training with the lowest values in {run} has lower weights"
        if "zero" in self.cleaned:
            return f"; the {share} of training with the lowest values in {run} has weight 0"
        dropped = Counts(**self.cleaned["dropped"])
        return (
            f"; before that, {dropped.interactions:,} training interactions were dropped, the "
            f"{share} with the lowest values in {run} ({dropped.users:,} users and "
            f"{dropped.items:,} items have none left)"
        )


def _number_of(values: Any) -> int:
    """How many different ones there are; ids and categories are counted without a hash."""
    if isinstance(values, pd.Series) and isinstance(values.dtype, pd.CategoricalDtype):
        values = values.cat.codes.to_numpy()
    if not isinstance(values, np.ndarray) or values.dtype.kind != "i":
        return int(pd.Series(values).nunique())
    there = np.zeros(int(values.max(initial=-1)) + 2, dtype=bool)
    for piece in np.array_split(values, -(-len(values) // _PIECE) or 1):
        there[piece] = True
    return int(np.count_nonzero(there[:-1]))  # the last is that of -1, where a cell is missing


def _in_both(some: np.ndarray, others: np.ndarray) -> int:
    """How many different numbers stand in both, which are sorted."""
    few, many = sorted((some, others), key=len)
    return int(among(torch.from_numpy(once(few)), torch.from_numpy(many)).count_nonzero())


def _short(text: str) -> str:
    return text if len(text) <= _MOST_WORDS else text[: _MOST_WORDS - 3] + "..."
