"""A row of a table, and each method against its backbone."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recbole_enhance.leaderboard import statistics
from recbole_enhance.leaderboard.collect import FinishedRun
from recbole_enhance.leaderboard.measures import Measure
from recbole_enhance.leaderboard.statistics import SeedInterval, UserTest
from recbole_enhance.leaderboard.twins import TWIN, same_bits
from recbole_enhance.leaderboard.users import Users

ELSEWHERE = "the lists are from another tool"
_DECIMALS = 4  # RecBole's metric_decimal_place


class Row(NamedTuple):
    """A model, or a method over a model, with its seeds."""

    label: str
    name: str  # empty for the only setting of a label
    enhancer: str | None
    backbone: str
    family: str
    runs: tuple[FinishedRun, ...]
    results: Mapping[str, np.ndarray]  # metric -> value per run, NaN for none
    reasons: Mapping[str, str]  # metric -> why a value is missing
    cost: Mapping[str, float]
    training: Mapping[str, Any]
    tuning: Mapping[str, Any] | None

    @property
    def title(self) -> str:
        """Label and name."""
        return f"{self.label} ({self.name})" if self.name else self.label

    @property
    def external(self) -> bool:
        """Whether its lists were made elsewhere."""
        return self.runs[0].external

    @property
    def seeds(self) -> list[int]:
        """In order."""
        return [run.seed for run in self.runs]

    def mean(self, key: str) -> float:
        """Over the seeds that have a value."""
        return statistics.spread(self.results[key]).mean

    def deviation(self, key: str) -> float:
        """Unbiased standard deviation over seeds; NaN below two."""
        return statistics.spread(self.results[key]).deviation

    @property
    def at_limit(self) -> int:
        """Runs that used all epochs they had: without early stopping, they might gain from more."""
        ends = [(run.report.get("epochs_run"), run.options.get("epochs")) for run in self.runs]
        return sum(
            isinstance(most, int) and most > 1 and isinstance(done, (int, float)) and done >= most
            for done, most in ends
        )

    @property
    def decimals(self) -> int:
        """Of its results: rows of one table have the same."""
        return int(self.runs[0].options.get("metric_decimal_place") or _DECIMALS)


class Comparison(NamedTuple):
    """A method against the same backbone without it, on one metric."""

    row: Row
    base: Row
    measure: Measure
    value: float  # over the seeds that both have
    base_value: float
    seeds: SeedInterval
    users: UserTest | None
    corrected: Mapping[str, float]  # t_holm, t_bh, wilcoxon_holm, wilcoxon_bh, seeds_holm, seeds_bh

    @property
    def percent(self) -> float:
        """Difference in percent of the backbone's value; NaN if that is 0."""
        base = abs(self.base_value)
        return 100 * self.seeds.mean / base if base else np.nan

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or nothing, after Holm; ``maybe`` if seeds leave it open."""
        key = "seeds_holm" if self.users is None else "t_holm"
        mean = self.seeds.mean if self.users is None else self.users.mean
        side = np.sign(mean) * self.measure.direction
        if not self.corrected[key] < statistics.ALPHA or not side:
            return ""
        least, most = sorted(np.sign(mean) * end for end in (self.seeds.low, self.seeds.high))
        if most < 0:  # the other way; users without a value in some runs can make that
            return ""
        firm = least > 0
        return ("better" if side > 0 else "worse") + ("" if firm else " maybe")


def compare(
    rows: Sequence[Row],
    measures: Sequence[Measure],
    users: Users,
    against: Mapping[str, str],
) -> tuple[list[Comparison], dict[str, str]]:
    """Each method against its backbone, with p-values corrected over all of them.

    A named setting of a plain model, such as re-ranked lists, is compared with the unnamed setting
    of that model, if the table has it. Columns without a better side are not compared.

    Args:
        rows: Of a table.
        measures: Its metrics.
        users: The rows' values by user.
        against: Title of a row -> name of the row that the board compares it with.

    Returns:
        The comparisons, and for a method without one, why.
    """
    found, not_compared = [], {}
    for row in rows:
        if row.title not in against and not _is_compared(row, rows):
            continue
        base, reason = base_of(row, rows, against.get(row.title))
        seeds = sorted(set(row.seeds) & set(base.seeds)) if base else []
        if base is None or not seeds:
            not_compared[row.title] = (
                reason or f"no seed in common with {base.title if base else ''}"
            )
            continue
        if same_runs(row, base, seeds):
            not_compared[row.title] = TWIN.format(base.title)
            continue
        found += _of_pair(row, base, seeds, measures, users)
    return _corrected(found), not_compared


def compare_pair(
    row: Row, base: Row, measures: Sequence[Measure], users: Users
) -> list[Comparison]:
    """Any two rows of a table; p-values are corrected over the metrics.

    Args:
        row: The one.
        base: The other, which differences are against.
        measures: Metrics; columns without a better side are not compared.
        users: The rows' values by user.

    Raises:
        ValueError: If they have no seed in common.
    """
    seeds = sorted(set(row.seeds) & set(base.seeds))
    if not seeds:
        raise ValueError(f"{row.title} and {base.title} have no seed in common")
    return _corrected(_of_pair(row, base, seeds, measures, users))


def same_runs(row: Row, base: Row, seeds: Sequence[int]) -> bool:
    """Whether the runs of both rows are the same, bit for bit."""
    pairs = [(row.runs[row.seeds.index(s)], base.runs[base.seeds.index(s)]) for s in seeds]
    return all(same_bits(a, b) for a, b in pairs)


def _of_pair(
    row: Row, base: Row, seeds: Sequence[int], measures: Sequence[Measure], users: Users
) -> list[Comparison]:
    """Each metric that both have, not corrected yet."""
    places = [[r.seeds.index(seed) for seed in seeds] for r in (row, base)]
    pairs, found = users.pair(row, base, seeds), []
    for m in measures:
        if not m.direction:
            continue
        ours, theirs = row.results[m.key][places[0]], base.results[m.key][places[1]]
        if np.isnan(ours - theirs).all():
            continue
        test = None
        if m.key in pairs:
            by_user, base_by_user, dropped = pairs[m.key]
            test = statistics.user_test(by_user, base_by_user, m.direction)
            test = test._replace(dropped=dropped)
        both = ~np.isnan(ours - theirs)
        value, base_value = (statistics.spread(side[both]).mean for side in (ours, theirs))
        unit = 10.0**-row.decimals
        interval = statistics.seed_interval(statistics.differences(ours, theirs), unit)
        found.append(Comparison(row, base, m, value, base_value, interval, test, {}))
    return found


def _is_compared(row: Row, rows: Sequence[Row]) -> bool:
    if row.enhancer is not None or row.external:
        return True
    alike = [r for r in rows if (r.label, r.enhancer, r.external) == (row.label, None, False)]
    return bool(row.name) and any(not r.name for r in alike)


def base_of(row: Row, rows: Sequence[Row], against: str | None) -> tuple[Row | None, str]:
    """Find the row to compare a method with: the plain backbone, of the same name if there is one.

    Lists of another tool are compared with the row of the run that ``evaluate --like`` named.

    Args:
        row: Of a method.
        rows: All of the table.
        against: Name of the row over the same backbone that the board says; None if it says none.

    Returns:
        The row, or None and the reason.
    """
    if row.external:
        like = row.runs[0].report.get("against")
        ours = [r for r in rows if r.label == like and not r.external]
        if like is None:
            return None, f"{ELSEWHERE}, and judged without --like"
        return (ours[0], "") if ours else (None, f"{like} has no finished run")
    over = [r for r in rows if r.backbone == row.backbone]
    if against is not None:
        named = [r for r in over if r.name == against and r is not row]
        if len(named) == 1:
            return named[0], ""
        return None, f"{len(named) or 'no'} finished rows over {row.backbone} are named {against}"
    plain = [r for r in over if r.enhancer is None and r is not row]
    for name in (row.name, ""):
        named = [r for r in plain if r.name == name]
        if named:
            return named[0], ""
    if len(plain) == 1:
        return plain[0], ""
    if plain:
        return None, f"{len(plain)} settings of plain {row.backbone}, none of them by this name"
    return None, f"plain {row.backbone} has no finished run"


def _corrected(comparisons: list[Comparison]) -> list[Comparison]:
    """Fill in the corrected p-values; a kind of test over the whole table is a family."""
    nan = np.nan
    families = {
        "t": [c.users.p_t if c.users else nan for c in comparisons],
        "wilcoxon": [c.users.p_wilcoxon if c.users else nan for c in comparisons],
        "seeds": [c.seeds.p for c in comparisons],
    }
    columns = {
        f"{kind}_{short}": statistics.corrected(np.array(p, float), method)
        for kind, p in families.items()
        for short, method in (("holm", "holm"), ("bh", "fdr_bh"))
    }
    return [
        c._replace(corrected={key: float(column[place]) for key, column in columns.items()})
        for place, c in enumerate(comparisons)
    ]
