"""What the verbs ``attack`` and ``explain`` share: their words, and tables for the terminal."""

import math
from collections.abc import Sequence
from typing import Any

TARGETS = ("features", "params", "own", "random")  # of attacks
DEFAULT_TARGETS = ("features", "params", "random")
PAIRS = ("hits", "test")  # recommendations to explain
TRUTHS = ("positive", "all")  # features of a review


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Align a table: text to the left, numbers to the right with four places.

    Example:
        >>> print(table(["name", "f1"], [["clean", 0.5], ["params", None]]))
        name        f1
        clean   0.5000
        params       -
    """
    cells = [[_cell(value) for value in row] for row in rows]
    width = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    text = [not cells or isinstance(rows[0][i], str) for i in range(len(header))]
    lines = []
    for row in [list(header), *cells]:
        parts = [c.ljust(w) if t else c.rjust(w) for c, w, t in zip(row, width, text)]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
