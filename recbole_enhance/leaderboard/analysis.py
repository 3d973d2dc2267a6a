"""From runs of one protocol to the rows of a table, and each method against its backbone."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recbole_enhance.leaderboard import ATTACK, EXPLAIN, collect
from recbole_enhance.leaderboard.against import ELSEWHERE, Comparison, Row, compare
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
from recbole_enhance.leaderboard.protocol import MASKS, Table, value_text
from recbole_enhance.leaderboard.ranks import Ranking, best_rows, ranking
from recbole_enhance.leaderboard.users import Users
from recbole_enhance.storage.run_folder import EXTERNAL, VOLATILE

_CODE = "code of "  # a module of the user's
# Decides no number, or stands in the protocol.
_NOT_TRAINING = (
    *VOLATILE,
    "eval_batch_size",
    "eval_memory_mb",
    "metrics",
    "load_col",
    "eval_args",
    "eval_candidates_file",  # its content is in the protocol
    *MASKS,
    "model",
    "dataset",
    "variant",
    "dataset_save_path",
    "dataloaders_save_path",
    "save_dataset",
    "save_dataloaders",
    "valid_metric_bigger",
)
# Family -> what makes its columns, and why they are empty where no reason was recorded.
_NOT_EXAMINED = {
    EXPLANATION: (EXPLAIN, "the run was not explained, or its model has no explanations"),
    ATTACKED: (ATTACK, "the run was not attacked in this way"),
}


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
    rows, measures, repeated = filled_rows(table, collected)
    main = _main(table, measures)
    rank = {title: place for place, title in enumerate(_board_rows(collected.board))}

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


def filled_rows(table: Table, collected: Collected) -> tuple[list[Row], list[Measure], list[Left]]:
    """The rows of a table, each with a value or a reason for every metric; nothing is compared.

    Args:
        table: Runs of one protocol.
        collected: What lies in the folder, for names and tuning.

    Returns:
        The rows, the metrics in the order of columns, and runs that repeat a setting and a seed.
    """
    rows, repeated = make_rows(table, collected)
    keys = list(dict.fromkeys(key for row in rows for key in row.results))
    measures = sorted(map(measure_of, keys), key=_order(rows))
    return [_filled(row, measures) for row in rows], measures, repeated


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
            reasons[m.key] = f"{ELSEWHERE}, and it cannot be computed from lists"
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
    training = {key: value for key, value in run.options.items() if key not in left_out}
    code = run.environment.get("code_sha256") or {}
    return {**training, **{f"{_CODE}{module}": sha[:8] for module, sha in code.items()}}


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    def values(key: str) -> set[str]:
        # Runs without a module differ by their class already.
        having = [s for s in settings if key in s or not key.startswith(_CODE)]
        return {json.dumps(setting.get(key), default=str) for setting in having}

    keys = sorted({key for setting in settings for key in setting})
    return [key for key in keys if len(values(key)) > 1]


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
