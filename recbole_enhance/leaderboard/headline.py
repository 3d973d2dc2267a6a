"""What a table says, in words: which row leads, and which methods gain over their backbone."""

from collections.abc import Iterable, Sequence

from recbole_enhance.leaderboard import wording
from recbole_enhance.leaderboard.against import Comparison, Row
from recbole_enhance.leaderboard.analysis import Analysis

_NO_BREAK = "\u00a0"  # a percent sign stays on the line of its number
_MOST = 6  # names in a sentence; of more, the first and their number


def headline(analysis: Analysis) -> list[str]:
    """Sentences on the metric that validation selected by.

    A gain or a loss is one that the board marks: the test over users or seeds finds it after Holm's
    correction, and the interval over seeds does not contain 0.

    Args:
        analysis: The table.

    Returns:
        The leading rows; for each row that others are compared with, who gains, who loses, what
        seeds leave open and what shows no clear difference; rows that did not stop early.
    """
    main = analysis.main
    best, second = analysis.best[main.key]
    sentences = []
    if best:
        names = _joined(analysis.rows[place].title for place in best)
        value = analysis.rows[best[0]].mean(main.key)
        sentence = f"Best {main.title}: {names} ({wording.number(value, decimals=4)})"
        if second:
            sentence += f", then {_joined(analysis.rows[place].title for place in second)}"
        sentences.append(f"{sentence}.")
    found = [c for c in analysis.comparisons if c.measure.key == main.key]
    sentences += [
        _over(title, main.title, [c for c in found if c.base.title == title])
        for title in dict.fromkeys(c.base.title for c in found)
    ]
    limited = [row.title for row in analysis.rows if row.at_limit]
    if limited:
        sentences.append(
            f"{len(limited)} of {len(analysis.rows)} rows used all the epochs they had, at least "
            "with one seed, and might gain from more."
        )
    return sentences


def _over(base: str, metric: str, found: Sequence[Comparison]) -> str:
    order = sorted(found, key=lambda c: c.percent * c.measure.direction, reverse=True)
    by = {verdict: [c for c in order if c.verdict == verdict] for verdict in wording.MARKS}
    parts = [f"better in {metric}: {_changes(by['better'])}"] if by["better"] else []
    if by["worse"]:
        parts.append(f"worse: {_changes(by['worse'][::-1])}")
    for verdict in ("better maybe", "worse maybe"):
        if by[verdict]:
            word = verdict.split(" ")[0]
            parts.append(f"{word} over users, but not clearly over seeds: {_changes(by[verdict])}")
    if by[""]:
        parts.append(f"no clear difference in {metric}: {_joined(short(c.row) for c in by[''])}")
    return f"Against {base}, {'; '.join(parts)}."


def short(row: Row) -> str:
    """A row without its backbone, which the sentence or the table has named."""
    title = row.title
    return title.replace(f"{row.label}", str(row.enhancer), 1) if row.enhancer else title


def _changes(found: Sequence[Comparison]) -> str:
    changes = (wording.percent(c.percent).replace(" ", _NO_BREAK) for c in found)
    return _joined(f"{short(c.row)} {change}" for c, change in zip(found, changes))


def _joined(names: Iterable[str]) -> str:
    every = list(names)
    if len(every) > _MOST:
        return f"{', '.join(every[: _MOST - 1])} and {len(every) - _MOST + 1} more"
    return ", ".join(every)
