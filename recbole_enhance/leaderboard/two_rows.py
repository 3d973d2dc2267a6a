"""Any two rows of a board, compared as a method is with its backbone."""

from collections.abc import Sequence
from pathlib import Path

from recbole_enhance.explanation.words import table
from recbole_enhance.leaderboard import analysis, collect, protocol, wording
from recbole_enhance.leaderboard.against import Comparison, Row, compare_pair, same_runs
from recbole_enhance.leaderboard.measures import Measure
from recbole_enhance.leaderboard.users import Users
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.read import nearest

_HEAD = (
    "metric",
    "row",
    "base",
    "difference",
    "percent",
    "95 % over seeds",
    "p users (Holm)",
    "p seeds (Holm)",
    "win / tie / loss",
    "",
)


def two_rows(folder: Path, row: str, base: str, metrics: Sequence[str] | None) -> str:
    """Tables of text, one for each dataset that has both rows.

    Args:
        folder: Of a board, with its run folders.
        row: Title of the one.
        base: Title of the other.
        metrics: As ``recall@20``; None takes all.

    Raises:
        OptionError: If no dataset has such rows, or such a metric.
        ValueError: If the folder is no board's, or the rows have no seed in common.
    """
    collected = collect.collect(folder)
    found = []
    for of_protocol in protocol.tables(collected.runs):
        rows, measures, _ = analysis.filled_rows(of_protocol, collected)
        found.append((of_protocol.title, {r.title: r for r in rows}, measures))
    titles = list(dict.fromkeys(title for _, rows, _ in found for title in rows))
    for option, title in (("row", row), ("base", base)):
        if title not in titles:
            raise OptionError(option, title, f"one of {', '.join(titles)}{nearest(title, titles)}")
    if row == base:
        raise OptionError("base", base, "another row")
    parts = [
        _text(dataset, rows[row], rows[base], measures, metrics)
        for dataset, rows, measures in found
        if row in rows and base in rows
    ]
    if not parts:
        raise OptionError("base", base, f"a row of a dataset that {row} is run on")
    return "\n\n".join(parts)


def _text(
    dataset: str,
    row: Row,
    base: Row,
    measures: Sequence[Measure],
    metrics: Sequence[str] | None,
) -> str:
    keys = [m.key for m in measures]
    for name in metrics or ():
        if name.lower() not in keys:
            raise OptionError("metrics", name, f"any of {', '.join(keys)}{nearest(name, keys)}")
    wanted = [name.lower() for name in metrics or keys]
    shown = [m for m in measures if m.key in wanted]
    found = compare_pair(row, base, shown, Users([row, base]))
    seeds = sorted(set(row.seeds) & set(base.seeds))
    lines = [
        f"{dataset}: {row.title} against {base.title}, seeds {', '.join(map(str, seeds))}",
        table(_HEAD, [_line(c) for c in found]),
    ]
    if same_runs(row, base, seeds):
        lines.append("Both rows are the same runs, bit for bit.")
    return "\n".join(lines)


def _line(c: Comparison) -> list[str]:
    users = c.users
    return [
        c.measure.heading,
        wording.number(c.value, decimals=c.row.decimals),
        wording.number(c.base_value, decimals=c.row.decimals),
        wording.difference(c),
        wording.percent(c.percent),
        wording.interval(c),
        wording.p_value(c.corrected["t_holm"]),
        wording.p_value(c.corrected["seeds_holm"]),
        f"{users.win} / {users.tie} / {users.loss}" if users else wording.DASH,
        wording.MARKS[c.verdict],
    ]
