"""Tables of pages that quote our boards: `<!-- changes: BOARD METRIC BASE; ... -->`, then a table.

The first cell of a line is a row of the board; each other cell is its change against BASE in
percent, or, for the metric `cost`, the time of a training epoch in epochs of BASE. To write the
cells of a page anew: `python tests/quoted_boards.py docs/which_method.md`.
"""

import csv
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = re.compile(
    r"<!-- changes: (?P<what>.*?) -->\n\n(?P<head>\|.*\n\|.*\n)(?P<lines>(?:\|.*\n)+)"
)


@cache
def board(name):
    """Of each row of a board: the mean of each metric, and the seconds of an epoch."""
    rows = {}
    path = ROOT / "results" / "leaderboards" / name / "board.csv"
    with path.open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            row = rows.setdefault(line["row"], {"cost": float(line["train_seconds_per_epoch"])})
            if line["mean"]:
                row[line["metric"]] = float(line["mean"])
    return rows


def cell(row, name, metric, base):
    rows = board(name)
    if metric not in rows.get(row, {}):
        return "-"
    ratio = rows[row][metric] / rows[base][metric]
    return f"{ratio:.1f}" if metric == "cost" else f"{100 * (ratio - 1):+.1f} %"


def filled(table):
    """The table as the boards have it."""
    columns = [words.split(maxsplit=2) for words in table["what"].split(";")]
    lines = []
    for line in table["lines"].splitlines():
        row = line.split("|")[1].strip()
        if not any(row in board(name) for name, _, _ in columns):
            raise ValueError(f"no board has a row {row}")
        lines.append(" | ".join([f"| {row}", *(cell(row, *words) for words in columns)]) + " |\n")
    return f"<!-- changes: {table['what']} -->\n\n{table['head']}{''.join(lines)}"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(TABLE.sub(filled, page.read_text(encoding="utf-8")), encoding="utf-8")
