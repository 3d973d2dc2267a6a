"""Curves of a board: rows that differ in one number, accuracy against each other metric."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from recbole_enhance.explanation.html import COLOURS
from recbole_enhance.leaderboard import PLOTS
from recbole_enhance.leaderboard.measures import (
    DIVERSITY,
    EXPLANATION,
    FAIRNESS,
    Measure,
    measure_of,
)
from recbole_enhance.leaderboard.pictures import file_name, files, matplotlib_text, write_file
from recbole_enhance.options.errors import OptionError, RunFolderError
from recbole_enhance.options.read import nearest

CSV = "board.csv"
_NAMED = re.compile(r"(?P<curve>.*\D)-(?P<value>\d+(?:\.\d+)?)")  # as CC-0.05
_DRAWN = (DIVERSITY, FAIRNESS, EXPLANATION)
_MARKS = "oDv^Ps*X"
_BESIDE = 0.6  # of the curves' span: farther points are named at the side


class Curve(NamedTuple):
    """Rows of one setting with several values.

    Attributes:
        name: The setting, as ``CC``.
        rows: Titles of the rows, by rising value.
        values: The values.
    """

    name: str
    rows: Sequence[str]
    values: Sequence[float]


def write_curves(folder: Path, accuracy: str) -> list[Path]:
    """Draw a picture for each metric of a board beside those of accuracy, for each dataset.

    Args:
        folder: Of a board with its ``board.csv``; its run folders need not be there.
        accuracy: As ``ndcg@20``.

    Returns:
        Paths of the pictures, a PNG and an SVG of each: ``plots/DATASET-curve-METRIC.png``.

    Raises:
        RunFolderError: If there is no such board, or it has no rows that make a curve.
        OptionError: If it has no such metric.
        ValueError: If ``plots`` is a link.
    """
    path = folder / CSV
    if not path.is_file():
        raise RunFolderError(folder, f"no board: {CSV} is missing")
    lines = pd.read_csv(path, dtype={"variant": str}, keep_default_na=False, na_values={"mean": ""})
    keys = list(dict.fromkeys(lines["metric"]))
    if accuracy.lower() not in keys:
        said = f"one of {', '.join(keys)}{nearest(accuracy.lower(), keys)}"
        raise OptionError("accuracy", accuracy, said)
    main = measure_of(accuracy.lower())
    written = []
    for (dataset, variant), table in lines.groupby(["dataset", "variant"], sort=False):
        title = file_name(f"{dataset} {variant}")
        curves, backbone = _curves(table)
        means = table.pivot(index="row", columns="metric", values="mean")
        for measure in map(measure_of, keys):
            if measure.family not in _DRAWN or not curves:
                continue
            drawn = files(_draw, curves, backbone, means, main, measure)
            name = f"{title}-curve-{measure.key.replace('@', '-at-')}"
            for suffix, content in drawn.items():
                written.append(write_file(folder / PLOTS / f"{name}.{suffix}", content))
    if not written:
        raise RunFolderError(folder, "no curves: no two rows have names as CC-0.05 and CC-0.1")
    return written


def _curves(table: pd.DataFrame) -> tuple[list[Curve], str]:
    """The curves of a table, and the title of the backbone of the first."""
    found: dict[tuple[str, str], list[tuple[float, str]]] = {}
    backbones = {}
    named = table.drop_duplicates("row")
    for row, name, label, backbone in named[["row", "name", "label", "backbone"]].to_numpy():
        match = _NAMED.fullmatch(str(name))
        if match is not None:
            found.setdefault((label, match["curve"]), []).append((float(match["value"]), row))
            backbones[label, match["curve"]] = backbone
    several = {key: sorted(rows) for key, rows in found.items() if len(rows) > 1}
    one_label = len({label for label, _ in several}) == 1
    curves = [
        Curve(
            name if one_label else f"{label} ({name})",
            [row for _, row in rows],
            [value for value, _ in rows],
        )
        for (label, name), rows in several.items()
    ]
    return curves, next((backbones[key] for key in several), "")


def _draw(
    figure: Any,
    curves: Sequence[Curve],
    backbone: str,
    means: pd.DataFrame,
    accuracy: Measure,
    metric: Measure,
) -> None:
    x, y = means[accuracy.key], means[metric.key]
    figure.set_size_inches(6.4, 4.6)
    axes = figure.add_subplot()
    start = [backbone] if backbone in means.index else []
    for number, curve in enumerate(curves):
        rows = [*start, *curve.rows]
        style = {"color": COLOURS[number % len(COLOURS)], "lw": 1, "ms": 4}
        axes.plot(x[rows], y[rows], marker=_MARKS[number % len(_MARKS)], label=curve.name, **style)
        axes.annotate(
            f"{curve.values[-1]:g}",
            (x[curve.rows[-1]], y[curve.rows[-1]]),
            (4, 3),
            textcoords="offset points",
            fontsize=7,
            color=style["color"],
        )
    on_curves = {row for curve in curves for row in curve.rows}
    _points(axes, [row for row in means.index if row not in on_curves], backbone, x, y)
    if start:
        axes.axvline(x[backbone], color="0.6", lw=0.8, ls=":")
    axes.set_xlabel(matplotlib_text(accuracy.heading))
    axes.set_ylabel(matplotlib_text(metric.heading))
    axes.legend(frameon=False, fontsize=7)


def _points(
    axes: Any, rows: Sequence[str], backbone: str, x: Mapping[str, float], y: Mapping[str, float]
) -> None:
    """Rows on no curve; those far from the curves are named in the legend, not drawn."""
    axes.margins(0.08)
    spans = axes.get_xlim(), axes.get_ylim()
    for number, row in enumerate(rows):
        at = x[row], y[row]
        near = all(
            low - _BESIDE * (high - low) <= value <= high + _BESIDE * (high - low)
            for value, (low, high) in zip(at, spans)
        )
        title = row if near else f"{row}: {at[0]:.4g}, {at[1]:.4g}"
        mark = "s" if row == backbone else "x+1"[number % 3]
        shown: Any = ([at[0]], [at[1]]) if near else ([], [])
        axes.plot(*shown, mark, color="black", ms=6, label=matplotlib_text(title), zorder=5)
