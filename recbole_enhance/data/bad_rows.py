"""Rows of a user's table that cannot be used: refused by line, or left out and counted."""

import itertools
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from recbole_enhance.data.tables import Table
from recbole_enhance.options.errors import DataError

_SHOWN = 5  # lines named for each problem
_WIDTH = "cells and columns do not match"


class Check(NamedTuple):
    """Something that rows of a piece must not be.

    Attributes:
        column: The column's name in the table.
        bad: True where a row is so. Shape: ``(rows,)``.
        problem: What is wrong, or what is expected.
        cells: What stands there. Shape: ``(rows,)``.
    """

    column: str
    bad: np.ndarray
    problem: str
    cells: Any


class BadRows:
    """Judges the rows of one table.

    Args:
        table: The table.
        skip: Whether bad rows are left out; else the first is refused.

    Attributes:
        counts: Problem -> rows that are left out by it.
        read: Rows that were judged.
    """

    def __init__(self, table: Table, skip: bool) -> None:
        self.table, self.skip = table, skip
        self.counts: Counter[str] = Counter()
        self.read = 0
        self._rows: dict[str, list[int]] = {}

    def judge(self, checks: list[Check], rows: int) -> np.ndarray | None:
        """Which rows of the next piece are good; None if all are.

        Args:
            checks: What they must not be; the first that a row is counts it.
            rows: Their number.

        Raises:
            DataError: Naming the line, column and value of the first bad row, unless they are left
                out.
        """
        start, self.read = self.read, self.read + rows
        checks = [check for check in checks if check.bad.any()]
        if not self.skip:
            self._refuse_widths()
            if checks:
                first = min(checks, key=lambda check: int(check.bad.argmax()))
                row = int(first.bad.argmax())
                value = first.cells[row].as_py()
                value = None if value == "" else value  # which the problem says
                raise self.table.bad(start + row, first.column, value, first.problem)
        if not checks:
            return None
        good = np.ones(rows, dtype=bool)
        for check in checks:
            bad = np.flatnonzero(check.bad & good)
            told = f"{check.column}: {check.problem}"
            self.counts[told] += len(bad)
            some = self._rows.setdefault(told, [])
            some += (start + bad[: _SHOWN - len(some)]).tolist()
            good[bad] = False
        return good

    def _refuse_widths(self) -> None:
        if self.table.ragged:
            line, problem = next(self.table.odd_lines())
            raise DataError(self.table.name, problem, line)

    def finish(self) -> list[str]:
        """What was left out, in a line for each problem.

        Raises:
            DataError: If no row was read, or none is left.
        """
        if not self.skip:
            self._refuse_widths()
        where: dict[str, list[int]] = {}
        if self.table.ragged:
            self.counts[_WIDTH] = len(self.table.ragged)
            odd = itertools.islice(self.table.odd_lines(), _SHOWN)
            where[_WIDTH] = [line for line, _ in odd]
        left = self.read - sum(n for told, n in self.counts.items() if told != _WIDTH)
        if left <= 0:
            problem = "has no rows" if not self.counts else "has no good rows"
            raise DataError(self.table.name, problem)
        lines = self.table.lines_of([row for rows in self._rows.values() for row in rows])
        where |= {told: [lines[row] for row in rows] for told, rows in self._rows.items()}
        return [
            f"{self.table.name}: {count:,} rows left out: {told} "
            f"({self.table.of_lines} {', '.join(map(str, where[told]))}"
            f"{', ...' if count > len(where[told]) else ''})"
            for told, count in self.counts.items()
        ]
