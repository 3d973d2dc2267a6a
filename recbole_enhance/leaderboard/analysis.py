"""From runs of one protocol to the rows of a table, and each method against its backbone."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recbole_enhance.leaderboard import ATTACK, EXPLAIN, collect, statistics
from recbole_enhance.leaderboard.collect import Collected, FinishedRun, Left
from recbole_enhance.leaderboard.measures import (
    ATTACK_COLUMNS,
    ATTACKED,
    COST,
    EXPLANATION,
    FAMILIES,
    TRAINING,
    Measure,
    attack_results,
    explanation_results,
    history_results,
    measure_of,
)
from recbole_enhance.leaderboard.protocol import Table, value_text
from recbole_enhance.leaderboard.ranks import Ranking, best_rows, ranking
from recbole_enhance.leaderboard.statistics import SeedInterval, UserTest
from recbole_enhance.leaderboard.twins import TWIN, same_bits
from recbole_enhance.leaderboard.users import Users
from recbole_enhance.storage.run_folder import EXTERNAL, VOLATILE

# Decides no number, or stands in the protocol.
_NOT_TRAINING = (
    *VOLATILE,
    "eval_batch_size",
    "eval_memory_mb",
    "metrics",
    "load_col",
    "eval_args",
    "eval_candidates_file",  # its content is in the protocol
    "model",
    "dataset",
    "variant",
    "dataset_save_path",
    "dataloaders_save_path",
    "save_dataset",
    "save_dataloaders",
    "valid_metric_bigger",
)
# Family -> what makes its columns, and why they are empty where no reason was left.
_NOT_EXAMINED = {
    EXPLANATION: (EXPLAIN, "the run was not explained, or its model has no explanations"),
    ATTACKED: (ATTACK, "the run was not attacked so"),
}
_ELSEWHERE = "the lists were made elsewhere"
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


class Analysis(NamedTuple):
    """A table with all that pages show of it."""

    table: Table
    rows: list[Row]
    measures: list[Measure]
    main: Measure
    comparisons: list[Comparison]
    not_compared: dict[str, str]  # title of a method's row -> why
    best: dict[str, tuple[list[int], list[int]]]  # metric -> rows that are best, second best
    ranking: tuple[list[Row], Ranking] | None
    repeated: list[Left]
    failed: list[Left]


def analyse(table: Table, collected: Collected) -> Analysis:
    """Make the rows of a table, and compare them.

    Args:
        table: Runs of one protocol.
        collected: What lies in the folder, for names, order and tuning.
    """
    rows, repeated = make_rows(table, collected)
    keys = list(dict.fromkeys(key for row in rows for key in row.results))
    measures = sorted(map(measure_of, keys), key=_order(rows))
    main = _main(table, measures)
    rank = {title: place for place, title in enumerate(_board_rows(collected.board))}
    rows = [_filled(row, measures) for row in rows]

    def place(row: Row) -> tuple[int, float, str]:
        value = row.mean(main.key) * -main.direction
        return rank.get(row.title, len(rank)), np.inf if np.isnan(value) else value, row.title

    rows.sort(key=place)
    users = Users(rows)
    comparisons, not_compared = compare(rows, measures, users, _against(collected.board))
    best = {
        m.key: best_rows([row.mean(m.key) for row in rows], m.direction, rows[0].decimals)
        for m in measures
    }
    here = table.dataset, str(table.variant or "")
    failed = [cell for cell in collected.failed if (cell.dataset, cell.variant or "") == here]
    return Analysis(
        table,
        rows,
        measures,
        main,
        comparisons,
        not_compared,
        best,
        _ranking(rows, main, users),
        repeated,
        failed,
    )


def _order(rows: Sequence[Row]) -> Callable[[Measure], tuple[int, int]]:
    """Families in their order; attacks as the row that has most of them, others as they came."""
    families = list(FAMILIES)
    fullest = max(rows, key=lambda row: len(row.results)).results
    place = {key: number for number, key in enumerate(fullest)}

    def key(m: Measure) -> tuple[int, int]:
        within = place.get(m.key, len(place)) if m.family == ATTACKED else 0
        return families.index(m.family), within

    return key


def make_rows(table: Table, collected: Collected) -> tuple[list[Row], list[Left]]:
    """Put the seeds of one setting together; settings that differ never share a row.

    Args:
        table: Runs of one protocol.
        collected: For what tuning left.

    Returns:
        The rows, and runs that repeat a setting and a seed.
    """
    settings: dict[tuple[str, str], dict[str, dict[int, FinishedRun]]] = {}
    repeated = []
    for run in table.runs:
        setting = json.dumps(_training(run, table), sort_keys=True, default=str)
        seeds = settings.setdefault((run.label, run.name or ""), {}).setdefault(setting, {})
        if run.seed in seeds:
            alike = "name" if run.external else "options"
            reason = f"same {alike} and seed as {seeds[run.seed].place}, and only that run counts"
            repeated.append(
                Left(run.place, run.label, table.dataset, table.variant, run.seed, reason)
            )
            continue
        seeds[run.seed] = run
    from recbole_enhance.experiment.names import model_families  # slow

    families = model_families()
    rows = []
    for (label, name), of_label in settings.items():
        differing = _differing([json.loads(text) for text in of_label])
        for text, by_seed in of_label.items():
            training = json.loads(text)
            setting = ", ".join(f"{key}={value_text(training.get(key))}" for key in differing)
            runs = tuple(by_seed[seed] for seed in sorted(by_seed))
            rows.append(
                _row(
                    label,
                    "; ".join(filter(None, (EXTERNAL * runs[0].external, name, setting))),
                    runs,
                    training,
                    collected,
                    families,
                )
            )
    return rows, repeated


def compare(
    rows: Sequence[Row],
    measures: Sequence[Measure],
    users: Users,
    against: Mapping[str, str],
) -> tuple[list[Comparison], dict[str, str]]:
    """Each method against its backbone, with p-values corrected over all of them.

    Columns without a better side are not compared.

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
        if row.enhancer is None and not row.external and row.title not in against:
            continue
        base, reason = base_of(row, rows, against.get(row.title))
        seeds = sorted(set(row.seeds) & set(base.seeds)) if base else []
        if base is None or not seeds:
            not_compared[row.title] = (
                reason or f"no seed in common with {base.title if base else ''}"
            )
            continue
        places = [[r.seeds.index(seed) for seed in seeds] for r in (row, base)]
        if all(same_bits(row.runs[a], base.runs[b]) for a, b in zip(*places)):
            not_compared[row.title] = TWIN.format(base.title)
            continue
        pairs = users.pair(row, base, seeds)
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
    return _corrected(found), not_compared


def base_of(row: Row, rows: Sequence[Row], against: str | None) -> tuple[Row | None, str]:
    """Find the row to compare a method with: the plain backbone, of the same name if there is one.

    Lists made elsewhere are compared with the row of the run that ``evaluate --like`` named.

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
            return None, f"{_ELSEWHERE}, and judged without --like"
        return (ours[0], "") if ours else (None, f"{like} has no finished run")
    over = [r for r in rows if r.backbone == row.backbone]
    if against is not None:
        named = [r for r in over if r.name == against and r is not row]
        if len(named) == 1:
            return named[0], ""
        return None, f"{len(named) or 'no'} finished rows over {row.backbone} are named {against}"
    plain = [r for r in over if r.enhancer is None]
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


def _row(
    label: str,
    name: str,
    runs: tuple[FinishedRun, ...],
    training: Mapping[str, Any],
    collected: Collected,
    families: Mapping[str, str],
) -> Row:
    report = runs[0].report
    results = [_results(run, collected.board) for run in runs]
    keys = dict.fromkeys(key for result in results for key in result)
    values = {key: np.array([result.get(key, np.nan) for result in results]) for key in keys}
    backbone = str(report.get("backbone") or label)
    enhancer = report.get("enhancer")
    family = "method" if enhancer else families.get(backbone.lower(), "other")
    family = EXTERNAL if runs[0].external else family
    parts = runs[0].place.split("/")
    return Row(
        label,
        name,
        enhancer,
        backbone,
        family,
        runs,
        values,
        {},
        _cost(runs),
        training,
        collected.tuning.get("/".join(parts[1:-1])),
    )


def _results(run: FinishedRun, board: Mapping[str, Any]) -> dict[str, float]:
    """Test results, NaN for null; explanations, attacks and history as the board asks for them."""
    values = {
        key: np.nan if value is None else float(value)
        for key, value in run.report["test_result"].items()
    }
    values.update(explanation_results(run.explanation, run.label))
    attack, columns = board.get(ATTACK), board.get("history_columns")
    if isinstance(attack, Mapping):
        values.update(attack_results(run.attack, attack.get("columns") or ATTACK_COLUMNS))
    if isinstance(columns, list) and columns:
        best = run.report.get("best_epoch")
        values.update(history_results(collect.history(run), columns, best))
    return values


def _filled(row: Row, measures: Sequence[Measure]) -> Row:
    """Give every metric of the table a value or a reason."""
    results, reasons = dict(row.results), {}
    for m in measures:
        values = results.setdefault(m.key, np.full(len(row.runs), np.nan))
        known = int(np.count_nonzero(~np.isnan(values)))
        if not known and row.external:
            reasons[m.key] = f"{_ELSEWHERE}, and lists alone do not decide it"
        elif known < len(values) and known:
            reasons[m.key] = f"{known} of {len(values)} seeds have a value"
        elif not known and m.family in _NOT_EXAMINED:
            kind, reason = _NOT_EXAMINED[m.family]
            found = [run.not_examined[kind][1] for run in row.runs if kind in run.not_examined]
            reasons[m.key] = found[0] if found else reason
        elif not known and m.family == TRAINING:
            reasons[m.key] = "not in the run's history"
        elif not known:
            measured = any(m.key in run.report["test_result"] for run in row.runs)
            reasons[m.key] = (
                "no user has a value" if measured else "not among the metrics of the run"
            )
    return row._replace(results=results, reasons=reasons)


def _cost(runs: Sequence[FinishedRun]) -> dict[str, float]:
    """Means over seeds, NaN for what no run has."""
    cost = {}
    for key in COST:
        found = [
            (run.report.get("seconds") or {}).get("fit")
            if key == "fit_seconds"
            else run.report.get(key)
            for run in runs
        ]
        numbers = [float(value) for value in found if isinstance(value, (int, float))]
        cost[key] = float(np.mean(numbers)) if numbers else np.nan
    return cost


def _main(table: Table, measures: Sequence[Measure]) -> Measure:
    """The metric that validation selected by, or the first."""
    wanted = str(table.protocol.get("valid_metric") or "").lower()
    return next((m for m in measures if m.key == wanted), measures[0])


def _ranking(rows: Sequence[Row], main: Measure, users: Users) -> tuple[list[Row], Ranking] | None:
    with_users = [row for row in rows if users.has(row, main.key)]
    if len(with_users) < 3:
        return None
    values = users.averages(with_users, main.key)
    if np.count_nonzero(~np.isnan(values).any(axis=1)) < 2:
        return None
    return with_users, ranking(values, main.direction)


def _training(run: FinishedRun, table: Table) -> dict[str, Any]:
    if run.external:
        return {}
    left_out = {*_NOT_TRAINING, *table.protocol}
    return {key: value for key, value in run.options.items() if key not in left_out}


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = sorted({key for setting in settings for key in setting})
    return [
        key
        for key in keys
        if len({json.dumps(setting.get(key), default=str) for setting in settings}) > 1
    ]


def _against(board: Mapping[str, Any]) -> dict[str, str]:
    """Title of a row -> name of the row that it is compared with."""
    return {
        title: str(row["against"])
        for title, row in _board_rows(board).items()
        if row.get("against") is not None
    }


def _board_rows(board: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Title -> row, in the order of ``board.yaml``; what is not as expected is left out."""
    rows = board.get("rows")
    return {
        f"{row['label']} ({row['name']})" if row.get("name") else str(row["label"]): row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, Mapping) and "label" in row
    }
