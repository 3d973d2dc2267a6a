"""The values of every user, aligned over the runs of a table."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from recbole_enhance.leaderboard import collect, statistics


class Users:
    """Per-user tables of all runs, on one index of users.

    Args:
        rows: Of a table; read are the runs that have a ``per_user.csv.gz``.

    Raises:
        ValueError: If such a file is no table of users.
    """

    def __init__(self, rows: Sequence[Any]) -> None:
        runs = [run for row in rows for run in row.runs]
        with ThreadPoolExecutor(4) as pool:  # pandas' parser lets go of the interpreter's lock
            tables = list(pool.map(collect.per_user, runs))
        self.index = pd.Index([])
        for table in tables:
            if table is not None and not table.index.equals(self.index):
                self.index = self.index.union(table.index, sort=False)
        self._tables: dict[str, pd.DataFrame | None] = {
            run.place: table for run, table in zip(runs, tables)
        }

    def has(self, row: Any, key: str) -> bool:
        """Whether each run of a row has the metric by user."""
        tables = [self._tables[run.place] for run in row.runs]
        return all(table is not None and key in table for table in tables)

    def pair(
        self, row: Any, base: Any, seeds: Sequence[int]
    ) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
        """Seed-averaged values of two rows, over the seeds that both have.

        Args:
            row: One row.
            base: The other.
            seeds: Seeds of both.

        Returns:
            Metric -> values of the one and the other, user by user, NaN in both where a user has
            no seed with two values, and the number of those who have a value at all. Shape of
            the values: ``(users,)``.
        """
        runs = [[r.runs[r.seeds.index(seed)] for seed in seeds] for r in (row, base)]
        tables = [self._tables[run.place] for side in runs for run in side]
        first = tables[0]
        if first is None or any(table is None for table in tables):
            return {}
        keys = [key for key in first if all(key in table for table in tables)]  # type: ignore
        sides = [np.stack([self._values(run.place, keys) for run in side]) for side in runs]
        ours, theirs = statistics.seed_average(*sides)
        some = ~(np.isnan(sides[0]).all(axis=0) & np.isnan(sides[1]).all(axis=0))
        dropped = (some & np.isnan(ours)).sum(axis=0)
        return {key: (ours[:, n], theirs[:, n], int(dropped[n])) for n, key in enumerate(keys)}

    def averages(self, rows: Sequence[Any], key: str) -> np.ndarray:
        """Each row's values averaged over the seeds that all rows have. Shape: ``(users, rows)``.

        NaN everywhere if they have none in common.
        """
        seeds = sorted(set.intersection(*(set(row.seeds) for row in rows)))
        if not seeds:
            return np.full((len(self.index), len(rows)), np.nan)
        columns: list[np.ndarray] = []
        for row in rows:  # of a table
            runs = [row.runs[row.seeds.index(seed)] for seed in seeds]
            values = np.stack([self._values(run.place, [key])[:, 0] for run in runs])
            columns.append(statistics.seed_average(values, values)[0])
        return np.stack(columns, axis=1)

    def _values(self, place: str, keys: Sequence[str]) -> np.ndarray:
        table = self._tables[place]
        assert table is not None
        values: np.ndarray = table[list(keys)].to_numpy(np.float64)
        if len(table) == len(self.index) and table.index.equals(self.index):
            return values
        aligned = np.full((len(self.index), len(keys)), np.nan)
        aligned[self.index.get_indexer(table.index)] = values
        return aligned
