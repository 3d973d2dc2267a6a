"""The picture of a frontier, its table as CSV, and the page with both."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_enhance.explanation.html import COLOURS, rendered
from recbole_enhance.leaderboard.frontier import (
    BACKBONE,
    CONTROL,
    DIALS,
    Frontier,
    Point,
    read_points,
    recommended,
    table,
)
from recbole_enhance.leaderboard.pictures import files, matplotlib_text
from recbole_enhance.storage.run_folder import RunFolder

NAME = "frontier"


def write_frontier(frontier: Frontier) -> tuple[list[Path], str]:
    """Write ``frontier.html``, ``.png``, ``.svg`` and ``.csv`` into the board's folder.

    Returns:
        Their paths, and what is recommended, in one line.

    Raises:
        InputError: If the backbone has no finished run.
    """
    points = read_points(frontier)
    best = recommended(points, frontier.metric.direction)
    rows = table(points, best)
    sentence = _sentence(frontier, points, best)
    pictures = files(_draw, frontier, points, best)
    contents = {f"{NAME}.{suffix}": content for suffix, content in pictures.items()}
    contents[f"{NAME}.csv"] = rows.to_csv(index=False, float_format="%.6g").encode()
    contents[f"{NAME}.html"] = _page(frontier, rows, sentence, pictures["svg"]).encode()
    folder = RunFolder(frontier.board.out, fresh=False)
    for name, content in contents.items():
        folder.write_bytes(name, content)
    return [frontier.board.out / name for name in contents], sentence


def _sentence(frontier: Frontier, points: Sequence[Point], best: int) -> str:
    plain, chosen = points[0], points[best]
    accuracy, metric = frontier.accuracy.title, frontier.metric.title
    if best == 0:
        return (
            f"recommended: the backbone as it is: no dial keeps its {accuracy} and improves "
            f"{metric}, both on validation"
        )
    changes = [
        f"{title} {100 * (now / then - 1):+.1f} %" if then else f"{title} {now:.4f}"
        for title, now, then in (
            (metric, chosen.test_metric, plain.test_metric),
            (accuracy, chosen.test_accuracy, plain.test_accuracy),
        )
    ]
    return f"recommended: {chosen.name}; on test {changes[0]}, {changes[1]}"


def _draw(figure: Any, frontier: Frontier, points: Sequence[Point], best: int) -> None:
    figure.set_size_inches(6.4, 4.6)
    axes = figure.add_subplot()
    plain = points[0]
    for dial, colour in zip((*DIALS, CONTROL), COLOURS):
        mine = [point for point in points if point.dial == dial]
        if not mine:
            continue
        line = [] if dial == CONTROL else [plain]
        line += sorted(mine, key=lambda point: point.value)
        axes.plot(
            [point.test_accuracy for point in line],
            [point.test_metric for point in line],
            "x" if dial == CONTROL else "o-",
            color=colour,
            lw=1,
            ms=5,
            label=dial,
        )
        for point in mine:
            axes.annotate(
                matplotlib_text(point.name if dial == CONTROL else f"{point.value:g}"),
                (point.test_accuracy, point.test_metric),
                (4, 4),
                textcoords="offset points",
                fontsize=7,
                color=colour,
            )
    ends = {"color": "black", "zorder": 5, "linestyle": "none"}
    axes.plot(plain.test_accuracy, plain.test_metric, marker="s", ms=7, label=BACKBONE, **ends)
    chosen = points[best]
    axes.plot(
        chosen.test_accuracy,
        chosen.test_metric,
        marker="o",
        ms=13,
        mfc="none",
        label="recommended",
        **ends,
    )
    axes.axvline(plain.test_accuracy, color="0.6", lw=0.8, ls=":")
    axes.set_xlabel(f"{matplotlib_text(frontier.accuracy.heading)}, test")
    axes.set_ylabel(f"{matplotlib_text(frontier.metric.heading)}, test")
    axes.margins(0.1)
    axes.legend(frameon=False, fontsize=7)


def _page(frontier: Frontier, rows: pd.DataFrame, sentence: str, svg: bytes) -> str:
    return rendered(
        "frontier.html.j2",
        "recbole_enhance.leaderboard",
        title=frontier.board.name,
        sentence=sentence[0].upper() + sentence[1:] + ".",
        accuracy=frontier.accuracy.heading,
        metric=frontier.metric.heading,
        seeds=", ".join(map(str, frontier.board.seeds)),
        picture=base64.b64encode(svg).decode("ascii"),
        rows=rows.to_dict("records"),
    )
