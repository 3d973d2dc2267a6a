"""Accuracy against one metric for all dials: what is run, and which point is best.

All rows select their epoch on the same half of the validation interactions; the other half judges,
is trained on (the controls), or is left alone (the backbone, and its re-ranked lists).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from recbole.evaluator.register import metrics_dict

from recbole_enhance.enhancer.dvr.reward import read_reward
from recbole_enhance.enhancer.dvr.utility import refuse_unsteerable
from recbole_enhance.leaderboard import collect
from recbole_enhance.leaderboard.measures import Measure, measure_of
from recbole_enhance.leaderboard.rows import RowSpec
from recbole_enhance.leaderboard.spec import Board, read_board
from recbole_enhance.metric import ranking
from recbole_enhance.metric.groups import GroupGap
from recbole_enhance.metric.name import Metric
from recbole_enhance.metric.registry import register, requirements_of
from recbole_enhance.options.errors import InputError, OptionError

BACKBONE, VALUES, DIRECT = "backbone", "values", "direct"
RERANKED, COMBINED, CONTROL = "re-ranked", "direct on accuracy, re-ranked", "control"
DIALS = (VALUES, DIRECT, RERANKED, COMBINED)
_JUDGES = 0.5
_STRENGTHS = {VALUES: (0.02, 0.05, 0.1), DIRECT: (0.005, 0.01, 0.02, 0.04)}
_LAMBDAS = (0.1, 0.2, 0.3)
_QUICK = {VALUES: (0.1,), DIRECT: (0.02,)}
_QUICK_LAMBDAS = (0.2,)
_QUICK_EPOCHS = 10
# A strength that gains accuracy over BPR on ml-100k and on amazon-beauty: docs/papers/dvr.md.
_ON_ACCURACY = 0.04
_RERANKERS = {"ild": "mmr", "calibration": "calibrated"}  # of what categories tell
# The rows differ in these.
_OF_THE_ROWS = (
    "dvr_reward",
    "dvr_strength",
    "dvr_weighting",
    "dvr_values",
    "dvr_utility",
    "dvr_judges",
    "rerank",
    "rerank_lambda",
    "train_on_validation",
    "interaction_weight_field",
    "metrics",
    "topk",
    "valid_metric",
)


class Setting(NamedTuple):
    """One row of the board: which dial, where it stands, and what is run."""

    dial: str
    value: float
    row: RowSpec


class Frontier(NamedTuple):
    """What is asked.

    Attributes:
        board: All that is run.
        settings: Of each of its rows.
        accuracy: What must not fall.
        metric: What is to be moved.
    """

    board: Board
    settings: tuple[Setting, ...]
    accuracy: Measure
    metric: Measure


class Point(NamedTuple):
    """A setting's results, each the mean over seeds, of validation and test."""

    dial: str
    value: float
    name: str
    seeds: int
    valid_accuracy: float
    valid_metric: float
    test_accuracy: float
    test_metric: float


def read_frontier(
    words: Mapping[str, str], metric: str | None, accuracy: str | None, quick: bool
) -> Frontier:
    """Read what is asked.

    Args:
        words: Options of the command line as text: of the board and of its runs, ``model`` (DVR)
            and ``backbone``.
        metric: What is to be moved, as ``cc@20``.
        accuracy: What must not fall; None takes NDCG at the same length.
        quick: Whether one setting of each dial, one seed and a few epochs are enough.

    Raises:
        ValueError: In one line: the option, its value and what is allowed.
    """
    register()
    words = dict(words)
    model, backbone = words.pop("model", "DVR"), words.pop("backbone", "BPR")
    if model.lower() != "dvr":
        raise OptionError("model", model, "frontier works with model=DVR only")
    for key in words:
        if key in _OF_THE_ROWS:
            raise OptionError(
                key, words[key], "the rows of a frontier set this option; leave it out"
            )
    moved, kept = _read_metrics(metric, accuracy)
    dataset = words.get("datasets") or words.get("dataset") or ""
    if not dataset or any(mark in dataset for mark in "[,{"):
        raise OptionError("dataset", dataset, "the name of one dataset is expected")
    folder = f"{dataset}-{backbone}-{moved}".lower() + ("-quick" if quick else "")
    words.setdefault("out", str(Path("frontiers", folder)))
    words.setdefault("name", f"{moved} against {kept}: {backbone} on {dataset}")
    if quick:
        words = {"seeds": "1", "epochs": str(_QUICK_EPOCHS), **words}
    settings = tuple(_settings(backbone, moved, kept, quick))
    board = read_board(None, {**words, "models": backbone})
    names = dict.fromkeys(["Recall", *(metrics_dict[m.name].__name__ for m in (kept, moved))])
    options = {"metrics": list(names), "topk": [moved.k], "valid_metric": str(kept)}
    board = replace(board, rows=tuple(s.row for s in settings), options=options)
    return Frontier(board, settings, measure_of(str(kept)), measure_of(str(moved)))


def _read_metrics(metric: str | None, accuracy: str | None) -> tuple[Metric, Metric]:
    if metric is None:
        raise InputError("--metric=NAME@K is missing, as cc@20")
    read = {}
    for option, text in (("metric", metric), ("accuracy", accuracy)):
        if text is None:
            continue
        try:
            read[option] = read_reward(text)
        except ValueError as error:
            allowed = "NAME@K, a metric of ranked lists, as cc@20 (docs/metrics.md)"
            raise OptionError(option, text, allowed) from error
    moved = read["metric"]
    kept = read.get("accuracy", Metric("ndcg", moved.k))
    if kept.name not in ranking.ACCURACY or kept.k != moved.k:
        names = ", ".join(ranking.ACCURACY)
        raise OptionError("accuracy", accuracy, f"one of {names}, at the metric's @{moved.k}")
    if moved.name in ranking.ACCURACY or moved.name == "loss":
        raise OptionError(
            "metric", metric, "measures accuracy; choose one that does not, such as cc@20"
        )
    try:
        refuse_unsteerable(str(moved))
    except OptionError as error:
        raise OptionError("metric", metric, error.allowed) from error
    return moved, kept


def _settings(backbone: str, moved: Metric, kept: Metric, quick: bool) -> list[Setting]:
    strengths, lambdas = (_QUICK, _QUICK_LAMBDAS) if quick else (_STRENGTHS, _LAMBDAS)
    # The backbone, bit for bit, on the validation half that all rows select on.
    still = {"dvr_reward": "loss", "dvr_strength": 0, "dvr_judges": _JUDGES}
    on_accuracy = {
        "dvr_reward": str(kept),
        "dvr_strength": _ON_ACCURACY,
        "dvr_weighting": "direct",
    }
    settings = [_setting(BACKBONE, 0, backbone, "backbone", still)]
    for strength in strengths[VALUES]:
        options = {"dvr_reward": str(moved), "dvr_strength": strength}
        settings.append(_setting(VALUES, strength, backbone, f"values-{strength}", options))
    for strength in strengths[DIRECT]:
        options = {"dvr_reward": str(moved), "dvr_strength": strength, "dvr_weighting": "direct"}
        settings.append(_setting(DIRECT, strength, backbone, f"direct-{strength}", options))
    first = f"direct-{kept.name}-{_ON_ACCURACY}"
    settings.append(_setting(COMBINED, 0, backbone, first, on_accuracy))
    how = _reranker(moved)
    for weight in lambdas if how else ():
        again = {"rerank": how, "rerank_lambda": weight}
        for dial, name, options in (
            (RERANKED, how, still),
            (COMBINED, f"{first}-{how}", on_accuracy),
        ):
            settings.append(
                _setting(dial, weight, backbone, f"{name}-{weight}", {**options, **again})
            )
    added = {"train_on_validation": _JUDGES}
    plain = RowSpec(backbone, name="validation-added", options=added)
    settings.append(Setting(CONTROL, 0, plain))
    name = f"validation-added-{first}"
    settings.append(_setting(CONTROL, _ON_ACCURACY, backbone, name, {**on_accuracy, **added}))
    return settings


def _setting(
    dial: str, value: float, backbone: str, name: str, options: Mapping[str, Any]
) -> Setting:
    return Setting(dial, value, RowSpec("DVR", backbone, name, options))


def _reranker(moved: Metric) -> str | None:
    """The re-ranker for a metric; None where none is about it."""
    if issubclass(metrics_dict[moved.name], GroupGap):
        return None
    if "categories" in requirements_of(moved.name):
        return _RERANKERS.get(moved.name, "coverage")
    return "popularity"


# ---- results -----------------------------------------------------------------------------------


def read_points(frontier: Frontier) -> list[Point]:
    """Results of the rows that are finished, in their order.

    Raises:
        InputError: If the backbone has none.
    """
    runs = collect.collect(frontier.board.out).runs
    points = []
    for dial, value, row in frontier.settings:
        seeds = frontier.board.seeds
        mine = [run.report for run in runs if run.name == row.name and run.seed in seeds]
        if not mine:
            continue
        means = [
            # A metric without a value for any user is null in metrics.json.
            float(np.mean([report[part][measure.key] for report in mine], dtype=float))
            for part in ("best_valid_result", "test_result")
            for measure in (frontier.accuracy, frontier.metric)
        ]
        points.append(Point(dial, value, str(row.name), len(mine), *means))
    if not points or points[0].dial != BACKBONE:
        raise InputError(f"{frontier.board.out}: no run of the backbone is finished")
    return points


def recommended(points: Sequence[Point], direction: int) -> int:
    """The point that moves the metric most and keeps the backbone's accuracy, both on validation.

    Args:
        points: The backbone first. Controls are no choice.
        direction: 1 if the metric should rise, -1 if it should fall.

    Returns:
        Its place; 0, the backbone, if no dial keeps the accuracy and improves the metric.

    Example:
        >>> def point(dial, accuracy, metric):
        ...     return Point(dial, 0.1, "", 1, accuracy, metric, 0.0, 0.0)
        >>> recommended([point("backbone", 0.3, 0.5), point("values", 0.31, 0.6),
        ...              point("direct", 0.29, 0.9), point("control", 0.4, 0.8)], 1)
        1
    """
    plain = points[0]
    best, place = direction * plain.valid_metric, 0
    for number, point in enumerate(points):
        keeps = point.dial != CONTROL and point.valid_accuracy >= plain.valid_accuracy
        if keeps and direction * point.valid_metric > best:
            best, place = direction * point.valid_metric, number
    return place


def table(points: Sequence[Point], best: int) -> pd.DataFrame:
    """All numbers, with the changes against the backbone in percent.

    Args:
        points: The backbone first.
        best: Place of the recommended one.
    """
    rows = pd.DataFrame(points)
    for column in ("valid_accuracy", "valid_metric", "test_accuracy", "test_metric"):
        start = rows[column].iloc[0]
        rows[f"{column}_change_percent"] = 100 * (rows[column] / start - 1) if start else np.nan
    rows["recommended"] = np.arange(len(rows)) == best
    return rows
