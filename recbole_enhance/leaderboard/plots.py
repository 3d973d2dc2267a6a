"""Plots of a table: files by matplotlib, and descriptions that plotly.js draws in the page."""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from recbole_enhance.explanation.html import COLOURS
from recbole_enhance.leaderboard import groups
from recbole_enhance.leaderboard.against import Row
from recbole_enhance.leaderboard.analysis import Analysis
from recbole_enhance.leaderboard.measures import Measure, trade_off
from recbole_enhance.leaderboard.pictures import (
    LABEL_MARGIN,
    escaped,
    files,
    label_places,
    layout,
    matplotlib_text,
)
from recbole_enhance.leaderboard.ranks import pareto_front

_MOST_RANKS = 15  # numbers that fit beside each other on the axis of ranks


class Plot(NamedTuple):
    """A picture in two forms: files, and a description for plotly.js."""

    name: str  # of its files
    title: str
    about: str
    plotly: dict[str, Any]
    files: dict[str, bytes]  # suffix -> content


class _Point(NamedTuple):
    row: Row
    x: float
    y: float
    x_error: float
    y_error: float
    front: bool
    label: tuple[int, int] | None  # side of the point: 1 right or above, -1 left or below


class _Groups(NamedTuple):
    field: str
    groups: list[str]
    titles: list[str]  # of the rows
    values: np.ndarray  # (rows, groups)
    errors: np.ndarray


def plots(analysis: Analysis, grouped: groups.Groups, name: str) -> list[Plot]:
    """Draw what can be drawn of a table.

    Args:
        analysis: The table.
        grouped: Its groups of users.
        name: Start of the files' names.

    Returns:
        Accuracy against diversity, two plots of bars for each field of groups, and the
        critical-difference diagram; those without data are left out.
    """
    made = [_trade_off(analysis, f"{name}-tradeoff")]
    made += _groups(analysis, grouped, name)
    made.append(_critical_difference(analysis, f"{name}-ranks"))
    return [plot for plot in made if plot is not None]


# ---- accuracy against diversity ----------------------------------------------------------------


def _trade_off(analysis: Analysis, name: str) -> Plot | None:
    axes = trade_off(analysis.measures, analysis.main)
    if not axes:
        return None
    x, y = axes[0], axes[1]
    rows = [row for row in analysis.rows if not np.isnan(row.mean(x.key) + row.mean(y.key))]
    if not rows:
        return None
    values = np.array([[row.mean(x.key), row.mean(y.key)] for row in rows])
    errors = np.nan_to_num([[row.deviation(x.key), row.deviation(y.key)] for row in rows])
    front = pareto_front(values, (x.direction, y.direction))
    labels = label_places(values, [len(row.title) for row in rows], front, errors)
    points = [
        _Point(row, v[0], v[1], e[0], e[1], bool(f), label)
        for row, v, e, f, label in zip(rows, values, errors, front, labels)
    ]
    steps = [(a, b) for a in points for b in points if _is_step(a, b, analysis)]
    title = f"{y.title} against {x.title}"
    about = (
        f"Means over seeds with their standard deviations; {x.title} {x.arrow}, {y.title} "
        f"{y.arrow} is better. No other row beats the rows on the line in both. Grey lines lead "
        "from a backbone to the method over it."
    )
    if None in labels:
        about += " Names that would cover others are left out: point at a mark to see its name."
    return Plot(
        name,
        title,
        about,
        _trade_off_plotly(points, steps, x, y),
        files(_draw_trade_off, points, steps, x, y),
    )


def _is_step(base: _Point, method: _Point, analysis: Analysis) -> bool:
    return any(
        c.base.title == base.row.title and c.row.title == method.row.title
        for c in analysis.comparisons
        if c.measure.key == analysis.main.key
    )


def _colours(rows: Sequence[Row]) -> dict[str, str]:
    """One colour for a backbone and the methods over it."""
    names = list(dict.fromkeys(row.backbone for row in sorted(rows, key=lambda r: r.backbone)))
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}


def _line_of_front(points: Sequence[_Point]) -> list[_Point]:
    return sorted((point for point in points if point.front), key=lambda p: (p.x, p.y))


def _draw_trade_off(
    figure: Any,
    points: Sequence[_Point],
    steps: Sequence[tuple[_Point, _Point]],
    x: Measure,
    y: Measure,
) -> None:
    figure.set_size_inches(6.4, 4.4)
    axes = figure.add_subplot()
    colours = _colours([point.row for point in points])
    for base, method in steps:
        axes.annotate(
            "",
            (method.x, method.y),
            (base.x, base.y),
            arrowprops={"arrowstyle": "->", "color": "0.6", "shrinkA": 5, "shrinkB": 5},
        )
    front = _line_of_front(points)
    axes.plot(
        [p.x for p in front], [p.y for p in front], "--", color="0.35", lw=1, label="Pareto front"
    )
    for point in points:
        colour = colours[point.row.backbone]
        axes.errorbar(
            point.x,
            point.y,
            point.y_error,
            point.x_error,
            color=colour,
            lw=0.8,
            marker="D" if point.row.enhancer else "o",
            ms=6 if point.front else 5,
            mfc=colour if point.front else "white",
        )
        if point.label is None:
            continue
        right, up = point.label
        axes.annotate(
            matplotlib_text(point.row.title),
            (point.x, point.y),
            (6 * right, 5 * up),
            textcoords="offset points",
            fontsize=8,
            ha="left" if right > 0 else "right",
            va="bottom" if up > 0 else "top",
        )
    axes.set_xlabel(f"{matplotlib_text(x.title)} {x.arrow}")
    axes.set_ylabel(f"{matplotlib_text(y.title)} {y.arrow}")
    axes.margins(LABEL_MARGIN)
    axes.legend(frameon=False, fontsize=8)


def _trade_off_plotly(
    points: Sequence[_Point], steps: Sequence[tuple[_Point, _Point]], x: Measure, y: Measure
) -> dict[str, Any]:
    colours = _colours([point.row for point in points])
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [a.x, b.x],
            "y": [a.y, b.y],
            "hoverinfo": "skip",
            "line": {"color": "#999999", "width": 1},
            "showlegend": False,
        }
        for a, b in steps
    ]
    front = _line_of_front(points)
    data.append(
        {
            "type": "scatter",
            "mode": "lines",
            "x": [p.x for p in front],
            "y": [p.y for p in front],
            "line": {"color": "#888888", "dash": "dash", "width": 1.5},
            "name": "Pareto front",
            "hoverinfo": "skip",
        }
    )
    for p in points:
        colour = colours[p.row.backbone]
        symbol = ("diamond" if p.row.enhancer else "circle") + ("" if p.front else "-open")
        data.append(
            {
                "type": "scatter",
                "mode": "markers+text" if p.label else "markers",
                "x": [p.x],
                "y": [p.y],
                "text": [escaped(p.row.title)],
                "showlegend": False,
                "textposition": _side(p.label or (1, 1)),
                "name": escaped(p.row.title),
                "cliponaxis": False,
                "marker": {"color": colour, "size": 11, "symbol": symbol, "line": {"width": 2}},
                "error_x": {"array": [p.x_error], "color": colour, "thickness": 1, "width": 3},
                "error_y": {"array": [p.y_error], "color": colour, "thickness": 1, "width": 3},
                "hovertemplate": f"%{{text}}<br>{escaped(x.title)} %{{x:.4f}}<br>"
                f"{escaped(y.title)} %{{y:.4f}}<extra></extra>",
            }
        )
    return {"data": data, "layout": layout(f"{x.title} {x.arrow}", f"{y.title} {y.arrow}", 440)}


def _side(label: tuple[int, int]) -> str:
    """A corner in plotly's words."""
    right, up = label
    return f"{'top' if up > 0 else 'bottom'} {'right' if right > 0 else 'left'}"


# ---- groups ------------------------------------------------------------------------------------


def _groups(analysis: Analysis, grouped: groups.Groups, name: str) -> list[Plot | None]:
    """The main metric in each group of users, and the methods' changes of it."""
    every, title = grouped.means, analysis.main.title
    made: list[Plot | None] = []
    for number, field in enumerate(dict.fromkeys(every["field"]), start=1):
        names = list(dict.fromkeys(every["group"][every["field"] == field]))
        over_seeds = every[every["field"] == field].groupby(["row", "group"], sort=False)["mean"]
        means, deviations = (
            column.unstack().reindex(range(len(analysis.rows)), columns=names).to_numpy(float)
            for column in (over_seeds.mean(), over_seeds.std())
        )
        known = ~np.isnan(means).all(axis=1)
        titles = [row.title for row, keep in zip(analysis.rows, known) if keep]
        found = _Groups(str(field), names, titles, means[known], np.nan_to_num(deviations[known]))
        about = (
            f"Mean of {title} in each group of {field}, over seeds, with the standard deviation "
            "over seeds."
        )
        made.append(_bars(found, f"{name}-groups-{number}", f"{title} by {field}", about, title))
        mine = {(g.row.title, g.group): g.percent for g in grouped.gains if g.field == field}
        titles = list(dict.fromkeys(of_row for of_row, _ in mine))
        changes, halves = (
            np.array([[value(mine.get((t, g))) for g in names] for t in titles], float)
            for value in (lambda i: i.mean if i else np.nan, lambda i: i.high - i.mean if i else 0)
        )
        found = _Groups(str(field), names, titles, changes, np.nan_to_num(halves))
        about = (
            f"Change of {title} against the backbone in each group of {field}, percent of the "
            "backbone's, with the 95 % interval over seeds."
        )
        heading = f"Change of {title} by {field}"
        made.append(_bars(found, f"{name}-gains-{number}", heading, about, f"change of {title}, %"))
    return made


def _bars(found: _Groups, name: str, title: str, about: str, axis: str) -> Plot | None:
    if not found.titles:
        return None
    if found.field == groups.ACTIVITY:
        about += " Level 1 has the users with the fewest training interactions."
    # Short lines, so that bars have room on a phone.
    labels = ["<br>".join(map(escaped, textwrap.wrap(title, 24))) for title in found.titles]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": escaped(group),
            "x": _listed(found.values[:, n]),
            "y": labels,
            "marker": {"color": COLOURS[n % len(COLOURS)]},
            "error_x": {"array": _listed(found.errors[:, n]), "thickness": 1, "width": 2},
        }
        for n, group in enumerate(found.groups)
    ]
    height = 100 + len(labels) * max(9 * len(found.groups) + 12, 42)
    axes = {**layout(axis, "", height), "barmode": "group", "hovermode": "y"}
    axes["margin"] = {**axes["margin"], "t": 48}
    axes["yaxis"] = {**axes["yaxis"], "autorange": "reversed"}
    axes["legend"] = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
    drawn = files(_draw_bars, found.titles, found.groups, found.values, found.errors, axis)
    return Plot(name, title, about, {"data": data, "layout": axes}, drawn)


def _draw_bars(
    figure: Any,
    titles: Sequence[str],
    groups: Sequence[str],
    means: np.ndarray,
    deviations: np.ndarray,
    metric: str,
) -> None:
    figure.set_size_inches(6.4, 1.2 + len(titles) * (0.1 * len(groups) + 0.12))
    axes = figure.add_subplot()
    height = 0.8 / len(groups)
    for n, group in enumerate(groups):
        axes.barh(
            np.arange(len(titles)) + (n - (len(groups) - 1) / 2) * height,
            means[:, n],
            height,
            xerr=deviations[:, n],
            color=COLOURS[n % len(COLOURS)],
            label=matplotlib_text(group),
            error_kw={"lw": 0.8},
        )
    axes.set_yticks(range(len(titles)), [matplotlib_text(t) for t in titles])
    axes.invert_yaxis()  # the first row on top
    axes.set_xlabel(matplotlib_text(metric))
    axes.grid(axis="y", visible=False)
    axes.margins(y=0.01)
    columns = min(4, len(groups))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8, ncols=columns)


# ---- critical difference -----------------------------------------------------------------------


def _critical_difference(analysis: Analysis, name: str) -> Plot | None:
    if analysis.ranking is None:
        return None
    rows, result = analysis.ranking
    about = (
        f"Average rank by {analysis.main.title} over {result.users} users, 1 is best. Rows under "
        f"one bar do not differ: their ranks are within {result.distance:.3f} (Nemenyi, 5 %). "
        f"Friedman's test that all rows have the same rank: p {_p(result.p_friedman)}."
    )
    order = np.argsort(result.ranks, kind="stable")[::-1]
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "showlegend": False,
            "x": [float(result.ranks[n]) for n in order],
            "y": [escaped(rows[n].title) for n in order],
            "error_x": {"array": [result.distance / 2] * len(order), "thickness": 2, "width": 6},
            "marker": {"size": 10, "color": COLOURS[0]},
            "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
        }
    ]
    axes = layout("average rank; rows without a common bar differ", "", 120 + 34 * len(order))
    axes["yaxis"]["type"] = "category"
    drawn = files(
        _draw_ranks, [row.title for row in rows], result.ranks, result.distance, result.groups
    )
    return Plot(
        name,
        f"Critical differences, {analysis.main.title}",
        about,
        {"data": data, "layout": axes},
        drawn,
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _draw_ranks(
    figure: Any,
    titles: Sequence[str],
    ranks: np.ndarray,
    distance: float,
    groups: Sequence[tuple[int, ...]],
) -> None:
    """Demšar's diagram: best on the left, names on both sides, bars join what does not differ."""
    order = np.argsort(ranks, kind="stable")
    half = (len(order) + 1) // 2
    low, high = float(np.floor(ranks.min())), float(np.ceil(ranks.max()))
    bars = 0.28 * len(groups)
    depth = bars + 0.35 * half + 0.3
    figure.set_size_inches(7.0, 0.9 + 0.55 * (depth + 1))
    axes = figure.add_subplot()
    axes.set(xlim=(low - 0.35 * (high - low), high + 0.35 * (high - low)), ylim=(-depth, 1.0))
    axes.axis("off")
    axes.plot([low, high], [0, 0], color="black", lw=1.2)
    for tick in np.arange(low, high + 1):
        axes.plot([tick, tick], [0, 0.12], color="black", lw=1)
        if (tick - low) % max(1, np.ceil((high - low) / _MOST_RANKS)) == 0:
            axes.text(tick, 0.18, f"{tick:g}", ha="center", va="bottom", fontsize=8)
    axes.plot([low, low + distance], [0.75, 0.75], color="black", lw=1.5, marker="|")
    axes.text(low + distance, 0.75, f"  CD = {distance:.3f}", va="center", fontsize=8)
    for place, group in enumerate(groups):
        ends = ranks[list(group)]
        axes.plot(
            [ends.min(), ends.max()],
            [-0.28 * (place + 1)] * 2,
            color="black",
            lw=3.5,
            solid_capstyle="round",
        )
    for place, n in enumerate(order):
        left = place < half
        level = place if left else len(order) - 1 - place
        edge = low - 0.02 * (high - low) if left else high + 0.02 * (high - low)
        y = -bars - 0.35 * (level + 1)
        axes.plot([ranks[n], ranks[n], edge], [0, y, y], color="0.4", lw=0.8)
        text = f"{matplotlib_text(titles[n])} ({ranks[n]:.2f})"
        axes.text(
            edge,
            y,
            f"{text} " if left else f" {text}",
            va="center",
            fontsize=8,
            ha="right" if left else "left",
        )


def _listed(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
