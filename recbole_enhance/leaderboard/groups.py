"""Which users gain: the main metric in groups of users, of rows and against their backbones."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from recbole_enhance.leaderboard import collect, statistics
from recbole_enhance.leaderboard.against import Row
from recbole_enhance.leaderboard.analysis import Analysis
from recbole_enhance.leaderboard.statistics import SeedInterval

ACTIVITY = "activity"


class Gain(NamedTuple):
    """A method against its backbone in one group of users, or in the first less in the last."""

    row: Row
    base: Row
    field: str
    group: str
    value: float  # mean over seeds; NaN for a difference of two groups
    base_value: float
    percent: SeedInterval  # of the backbone's mean in the group


class Groups(NamedTuple):
    """The main metric of a table by groups of users.

    Attributes:
        means: Of each run; columns ``row`` (its place in the table), ``seed``, ``field``,
            ``group``, ``mean``. The groups of ``activity`` are called by number, because their
            bounds differ between splits.
        gains: Each compared row in each group of users, paired by seed. The groups of ``activity``
            have an order. For them there is one more line: by how much more the users with the
            fewest training interactions gain than those with the most, in percent of each one's own
            mean.
    """

    means: pd.DataFrame
    gains: list[Gain]


def read_groups(analysis: Analysis) -> Groups:
    """Read the groups of all runs of a table."""
    means = _means(analysis)
    return Groups(means, _gains(analysis, means))


def _means(analysis: Analysis) -> pd.DataFrame:
    tables = [
        _of_run(table, analysis.main.key).assign(row=number, seed=seed)
        for number, row in enumerate(analysis.rows)
        for seed, table in zip(row.seeds, map(collect.groups, row.runs))
        if table is not None
    ]
    columns = ["row", "seed", "field", "group", "mean"]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


def _of_run(table: pd.DataFrame, key: str) -> pd.DataFrame:
    table = table[(table["metric"] == key) & ~table["group"].str.startswith("gap: ")]
    active = table["field"] == ACTIVITY
    if active.any():
        number = (active.cumsum()[active]).astype(str)
        table = table.assign(group=table["group"].mask(active, "level " + number))
    return table.dropna(subset=["mean"])


def _gains(analysis: Analysis, every: pd.DataFrame) -> list[Gain]:
    pairs = {(c.row.title, c.base.title): (c.row, c.base) for c in analysis.comparisons}
    places = {row.title: place for place, row in enumerate(analysis.rows)}
    return [
        gain
        for row, base in pairs.values()
        for field in dict.fromkeys(every["field"])
        for gain in _of_pair(
            row, base, every[every["field"] == field], places[row.title], places[base.title]
        )
    ]


def _of_pair(
    row: Row, base: Row, table: pd.DataFrame, place: int, base_place: int
) -> Iterator[Gain]:
    ours, theirs = (
        table[table["row"] == p].pivot(index="seed", columns="group", values="mean")
        for p in (place, base_place)
    )
    seeds = ours.index.intersection(theirs.index)
    groups = [g for g in dict.fromkeys(table["group"]) if g in ours and g in theirs]
    if not len(seeds) or not groups:
        return
    ours, theirs = ours.loc[seeds, groups], theirs.loc[seeds, groups]
    both = ours.notna() & theirs.notna()
    ours, theirs = ours.where(both), theirs.where(both)
    field = str(table["field"].iloc[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        change = 100 * (ours - theirs) / theirs.mean().abs()
    change = change.replace([np.inf, -np.inf], np.nan)
    for group in groups:
        interval = statistics.seed_interval(change[group].to_numpy(float))
        values = float(ours[group].mean()), float(theirs[group].mean())
        yield Gain(row, base, field, group, *values, interval)
    if field == ACTIVITY and len(groups) > 1:
        more = (change[groups[0]] - change[groups[-1]]).to_numpy(float)
        name = f"{groups[0]} less {groups[-1]}"
        yield Gain(row, base, field, name, np.nan, np.nan, statistics.seed_interval(more))
