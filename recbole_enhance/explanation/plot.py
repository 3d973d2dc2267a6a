"""Quality against the attacker's budget, as one HTML file that needs no network."""

from collections.abc import Sequence
from html import escape
from typing import Any

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_NAMES = {
    "f1": "F1 of explanations",
    "jaccard": "Jaccard with clean explanations",
    "ndcg": "NDCG of lists",
    "list_jaccard": "Jaccard with clean lists",
}


def quality_against_budget(reports: Sequence[dict[str, Any]]) -> str:
    """Draw every run: one row of panels per target, one column per metric.

    Args:
        reports: What ``attack.json`` holds, one per run.

    Returns:
        A page of HTML with plotly inside. Solid lines are attacks, dotted ones the random control.
    """
    from plotly import graph_objects
    from plotly.subplots import make_subplots

    rows = [row for report in reports for row in report["rows"]]
    targets = [t for t in ("features", "params", "own") if any(row["target"] == t for row in rows)]
    columns = [m for m in ("f1", "jaccard", "ndcg") if any(m in row for row in rows)]
    if "f1" not in columns:
        columns = ["ndcg", "list_jaccard"]
    titles = [f"{_NAMES[m]}, attack on {t}" for t in targets for m in columns]
    figure = make_subplots(
        rows=len(targets),
        cols=len(columns),
        subplot_titles=titles,
        vertical_spacing=0.16,
        horizontal_spacing=0.06,
    )
    names = _distinct_names(reports)
    for number, (report, name) in enumerate(zip(reports, names)):
        for i, target in enumerate(targets):
            for j, metric in enumerate(columns):
                for random in (False, True):
                    points = _points(report["rows"], target, metric, random)
                    if len(points) < 2:
                        continue
                    figure.add_trace(
                        graph_objects.Scatter(
                            x=[x for x, _ in points],
                            y=[y for _, y in points],
                            name=escape(f"{name}{' (random control)' if random else ''}"),
                            legendgroup=f"{name}{random}",
                            showlegend=(i, j) == (0, 0),
                            mode="lines+markers",
                            line={
                                "color": _COLOURS[number % len(_COLOURS)],
                                "dash": "dot" if random else "solid",
                            },
                        ),
                        row=i + 1,
                        col=j + 1,
                    )
    _label_axes(figure, targets, columns)
    return figure.to_html(full_html=True, include_plotlyjs=True)


def _label_axes(figure: Any, targets: list[str], columns: list[str]) -> None:
    parameters = "budget, in units of parameters"
    units = {"features": "budget, in units of Y", "params": parameters, "own": parameters}
    for i, target in enumerate(targets):
        for j in range(len(columns)):
            figure.update_xaxes(title_text=units[target], rangemode="tozero", row=i + 1, col=j + 1)
            figure.update_yaxes(rangemode="tozero", row=i + 1, col=j + 1)
    figure.update_layout(
        title="Quality under attack; the pairs are those of each run's clean model",
        template="plotly_white",
        width=430 * len(columns) + 60,
        height=380 * len(targets) + 160,
        legend={"orientation": "h", "yanchor": "top", "y": -0.22 / len(targets)},
        margin={"l": 60, "r": 30, "t": 90, "b": 40},
    )


def _points(rows: list[dict[str, Any]], target: str, metric: str, random: bool) -> list:
    """Budget and value, the clean one at budget 0."""
    wanted = f"random {target}" if random else target
    found = [(row["budget"], row.get(metric)) for row in rows if row["target"] == wanted]
    clean = rows[0].get(metric, 1.0)  # what is like itself: Jaccard 1
    return sorted([(0.0, clean), *found]) if found else []


def _distinct_names(reports: Sequence[dict[str, Any]]) -> list[str]:
    """Labels of the runs, with the folder's name where a label stands twice."""
    labels = [report["label"] for report in reports]
    return [
        f"{report['label']} {report['run']}"
        if labels.count(report["label"]) > 1
        else report["label"]
        for report in reports
    ]
