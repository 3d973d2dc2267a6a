"""Candidates of sampled evaluation, ``uniN`` and ``popN``, as a file that any model can read.

A row for each held-out interaction: the part (``valid`` or ``test``), the user, the item, and the
candidates that the item is ranked among, all as tokens. Where the parts have different numbers of
candidates, the last cells of the shorter rows are empty.
"""

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.options.errors import DataError
from recbole_enhance.options.read import one_line

PARTS = ("valid", "test")
_BEFORE = 3  # columns before the candidates: part, user, item


def candidate_table(
    parts: Mapping[str, tuple[Any, Tensor]], dataset: Any
) -> tuple[list[str], list[np.ndarray]]:
    """Lay candidates out as the columns of the file.

    Args:
        parts: ``valid``, ``test`` or both -> held-out interactions, and their candidates. Shape of
            the candidates: ``(N, rows)``.
        dataset: RecBole's, with the names of the columns and the tokens.

    Returns:
        Header, and an array of text for each column.
    """
    fields = dataset.uid_field, dataset.iid_field
    width = max(len(candidates) for _, candidates in parts.values())
    blocks = []
    for part, (rows, candidates) in parts.items():
        cells = np.full((len(rows), _BEFORE + width), "", dtype=object)
        cells[:, 0] = part
        for place, field in enumerate(fields, 1):
            cells[:, place] = dataset.id2token(field, rows[field].numpy())
        tokens = dataset.id2token(dataset.iid_field, candidates.T.numpy())
        cells[:, _BEFORE : _BEFORE + len(candidates)] = tokens
        blocks.append(cells)
    header = ["part", *fields, *(str(number) for number in range(1, width + 1))]
    return header, list(np.concatenate(blocks).T)


def read_candidates(
    path: Path, part: str, number: int, rows: Any, dataset: Any, used: UserLists | None
) -> Tensor:
    """Read the candidates of held-out interactions, and check that they fit the data.

    Args:
        path: The file, compressed or not.
        part: ``valid`` or ``test``.
        number: Candidates of each interaction.
        rows: The interactions that are ranked.
        dataset: The built part that they are of; the file may have rows for all of it.
        used: What each user has; None where a user may have an item again, so that only the
            held-out item itself is no candidate.

    Returns:
        Item ids. Shape: ``(number, rows)``.

    Raises:
        DataError: Naming the file, and the line, column and value where there is one.
    """
    fields = dataset.uid_field, dataset.iid_field
    table = _Table.read(Path(path), ["part", *fields])
    table.refuse(~np.isin(table.cells[:, 0], PARTS), "valid or test is expected", 0)
    table = table.only(table.cells[:, 0] == part)
    if not len(table.cells):
        raise DataError(table.path, f"has no rows of part {part}")
    filled = table.cells[:, _BEFORE:] != ""
    # All before the first empty cell, and as many as there should be.
    full = (filled.sum(1) == number) & filled[:, :number].all(1)
    table.refuse(~full, f"{number} candidates are expected (eval_args.mode)")
    users = table.ids(dataset, fields[0], 1)
    items = table.ids(dataset, fields[1], 2)
    candidates = table.ids(dataset, fields[1], slice(_BEFORE, _BEFORE + number))
    size = dataset.user_num, dataset.item_num
    there = _numbered(users, items, size)
    held, ranked = (
        _numbered(some[fields[0]].numpy(), some[fields[1]].numpy(), size)
        for some in (dataset.inter_feat, rows)
    )
    table.refuse(~np.isin(there, held), f"is not a held-out interaction of part {part}")
    place = pd.Index(there).get_indexer(pd.Index(ranked))
    if len(lost := np.flatnonzero(place < 0)):
        one = (dataset.id2token(field, int(rows[field][int(lost[0])])) for field in fields)
        user, item = (str(token) for token in one)
        problem = f"has no row for user {user!r} and item {item!r}, held out in part {part}"
        raise DataError(table.path, problem)
    table, candidates = table.only(place), candidates[place]
    if used is None:
        known = candidates == items[place, None]
    else:
        of_rows = rows[fields[0]][:, None].expand(-1, number)
        known = used.holds(of_rows, torch.from_numpy(candidates)).numpy()
    table.refuse(known, "the user already has this item, so it cannot be a candidate", _BEFORE)
    return torch.from_numpy(candidates.T.copy())


class _Table(NamedTuple):
    """Some rows of the file, with their lines."""

    path: Path
    header: list[str]
    cells: np.ndarray  # text, (rows, columns)
    lines: np.ndarray  # from 1

    @classmethod
    def read(cls, path: Path, first: list[str]) -> "_Table":
        """Read all rows, whose first columns must have these names."""
        try:
            table = pd.read_csv(
                path, header=None, dtype=str, na_filter=False, skip_blank_lines=False
            )
        except (ValueError, OSError, EOFError, zlib.error) as error:
            line = re.search(r"in line (\d+)", str(error))  # of pandas: too many cells
            problem = f"not a table of candidates ({one_line(error)})"
            raise DataError(path, problem, int(line[1]) if line else None) from error
        cells = table.fillna("").to_numpy(dtype=object)
        header = list(cells[0])
        if header[:_BEFORE] != first or len(header) == _BEFORE:
            expected = f"columns {', '.join(first)} and candidates are expected"
            raise DataError(path, expected, 1)
        return cls(path, header, cells[1:], np.arange(2, len(cells) + 1))

    def only(self, rows: np.ndarray) -> "_Table":
        """Some of the rows, by a mask or by their numbers."""
        return self._replace(cells=self.cells[rows], lines=self.lines[rows])

    def refuse(self, bad: np.ndarray, problem: str, column: int | None = None) -> None:
        """Refuse the file for its first bad row.

        Args:
            bad: Shape: ``(rows,)``, or ``(rows, columns)`` for cells from ``column`` on.
            problem: What is wrong.
            column: The cell that the message shows.
        """
        if not bad.any():
            return
        row = int(np.flatnonzero(bad.any(1) if bad.ndim == 2 else bad)[0])
        line = int(self.lines[row])
        if column is None:
            raise DataError(self.path, problem, line)
        column += int(bad[row].argmax()) if bad.ndim == 2 else 0
        raise DataError(self.path, problem, line, self.header[column], self.cells[row, column])

    def ids(self, dataset: Any, field: str, columns: int | slice) -> np.ndarray:
        """Ids of tokens; the padding item and what the data do not have are refused."""
        cells = self.cells[:, columns]
        known = pd.Index(dataset.field2id_token[field], dtype=object)
        found = known.get_indexer(pd.Index(cells.ravel(), dtype=object)).reshape(cells.shape)
        first = columns.start if isinstance(columns, slice) else columns
        self.refuse(found < 1, "this id is not in the data", first)
        return found


def _numbered(users: np.ndarray, items: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A number for each interaction; repeated pairs have different numbers."""
    n_users, n_items = size
    pairs = users.astype(np.int64) * n_items + items
    again = pd.Series(pairs).groupby(pairs).cumcount().to_numpy()
    return pairs + again * n_users * n_items
