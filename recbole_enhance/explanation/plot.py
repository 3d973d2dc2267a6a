"""Quality against the attacker's budget, as one HTML file that needs no network."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from recbole_enhance.explanation.html import COLOURS, rendered

_NAMES = {
    "f1": "F1 of explanations",
    "jaccard": "Jaccard with clean explanations",
    "ndcg": "NDCG of lists",
    "list_jaccard": "Jaccard with clean lists",
}
_TARGETS = {"features": "features", "params": "parameters", "own": "parameters by the own loss"}
_UNITS = {"features": "budget, in units of Y"}
_UNIT = "budget, in units of parameters"
_ABOUT = (
    "Quality under attack; the pairs are those of each run's clean model. Solid lines are attacks, "
    "dotted ones random changes of the same size."
)


def quality_against_budget(reports: Sequence[dict[str, Any]], plotly_src: str = "") -> str:
    """Draw every run: a plot for each target and metric, and the numbers below.

    Args:
        reports: What ``attack.json`` holds, one per run.
        plotly_src: Where plotly.js lies, seen from the page; empty puts it into the page.
    """
    rows = [row for report in reports for row in report["rows"]]
    targets = [t for t in ("features", "params", "own") if any(row["target"] == t for row in rows)]
    columns = [m for m in ("f1", "jaccard", "ndcg") if any(m in row for row in rows)]
    if "f1" not in columns:
        columns = ["ndcg", "list_jaccard"]
    names = _distinct_names(reports)
    plots = [
        {
            "title": f"{_NAMES[metric]}, attack on {_TARGETS[target]}",
            "id": f"plot-{target}-{metric}",
            "plotly": _plot(reports, names, target, metric),
        }
        for target in targets
        for metric in columns
    ]
    labels = dict.fromkeys(report["label"] for report in reports)
    return rendered(
        "attack.html.j2",
        plotly_src=plotly_src,
        has_plots=True,
        title=f"Under attack: {', '.join(labels)}",
        about=_ABOUT,
        plots=plots,
        columns=[_NAMES[metric] for metric in columns],
        rows=[
            {
                "run": name,
                "target": row["target"],
                "budget": row["budget"],
                "values": [row.get(metric) for metric in columns],
            }
            for name, report in zip(names, reports)
            for row in report["rows"]
        ],
    )


def _plot(
    reports: Sequence[Mapping[str, Any]], names: Sequence[str], target: str, metric: str
) -> dict[str, Any]:
    traces = []
    for number, (report, name) in enumerate(zip(reports, names)):
        for random in (False, True):
            points = _points(report["rows"], target, metric, random)
            if len(points) < 2:
                continue
            line = {
                "color": COLOURS[number % len(COLOURS)],
                "dash": "dot" if random else "solid",
            }
            traces.append(
                {
                    "type": "scatter",
                    "x": [x for x, _ in points],
                    "y": [y for _, y in points],
                    "name": escape(f"{name}{' (random control)' if random else ''}"),
                    "mode": "lines+markers",
                    "line": line,
                }
            )
    axis = {"automargin": True, "zeroline": False, "rangemode": "tozero"}
    layout = {
        "height": 340,
        "margin": {"l": 48, "r": 16, "t": 16, "b": 48},
        "xaxis": {**axis, "title": {"text": _UNITS.get(target, _UNIT)}},
        "yaxis": axis,
        "legend": {"orientation": "h", "y": -0.3},
    }
    return {"data": traces, "layout": layout}


def _points(rows: Sequence[Mapping[str, Any]], target: str, metric: str, random: bool) -> list:
    """Budget and value, the clean one at budget 0."""
    wanted = f"random {target}" if random else target
    found = [(row["budget"], row.get(metric)) for row in rows if row["target"] == wanted]
    clean = rows[0].get(metric, 1.0)  # what is like itself: Jaccard 1
    return sorted([(0.0, clean), *found]) if found else []


def _distinct_names(reports: Sequence[dict[str, Any]]) -> list[str]:
    """Labels of the runs, with the folder's name where a label occurs twice."""
    labels = [report["label"] for report in reports]
    return [
        f"{report['label']} {report['run']}"
        if labels.count(report["label"]) > 1
        else report["label"]
        for report in reports
    ]
