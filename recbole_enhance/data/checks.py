"""Checks of data that can be read and may still be wrong; each returns findings."""

import codecs
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

_BOM = codecs.BOM_UTF8
_UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_YEAR = 31_556_952  # seconds
_FIRST_YEAR, _LAST_YEAR = 1990, 2100  # of data of this field, whatever the clock says
_EXAMPLES = 3


class Finding(NamedTuple):
    """One thing that a check has found.

    Attributes:
        check: Which check.
        wrong: Whether the data should be corrected; else it is only a note.
        number: How many rows, pairs or ids it is about.
        text: One line.
    """

    check: str
    wrong: bool
    number: int
    text: str


def encodings(path: Path, encoding: str | None = None) -> list[Finding]:
    """Look at the bytes of a file: its encoding, its line ends, marks at its start.

    Args:
        path: The file.
        encoding: RecBole's ``encoding``; None is UTF-8.
    """
    content, found = path.read_bytes(), []
    if content.startswith(_BOM) and (encoding or "").lower().replace("-", "_") != "utf_8_sig":
        found.append(_wrong("encoding", 1, f"{path.name}: starts with a byte order mark"))
    try:
        content.decode(encoding or "utf-8")
    except (UnicodeDecodeError, LookupError) as error:
        at = content.count(b"\n", 0, getattr(error, "start", 0)) + 1
        text = f"{path.name}:{at}: is not text in {encoding or 'UTF-8'}"
        found.append(_wrong("encoding", 1, text))
    windows, lines = content.count(b"\r\n"), content.count(b"\n")
    if windows:
        some = "" if windows == lines else f", the other {lines - windows:,} in LF"
        found.append(
            _note("encoding", windows, f"{path.name}: {windows:,} lines end in CR LF{some}")
        )
    return found


def look_alikes(tokens: pd.Series, name: str) -> list[Finding]:
    """Find different ids that probably mean one: ``7``, ``07`` and ``7.0``.

    Args:
        tokens: Different ids, as text.
        name: File and column, for the message.
    """
    plain = canonical(tokens)
    twins = plain.duplicated(keep=False)
    found = []
    if twins.any():
        first = plain[twins].iloc[0]
        alike = ", ".join(repr(token) for token in tokens[plain == first][:_EXAMPLES])
        text = f"{name}: {int(twins.sum()):,} ids differ only in form, such as {alike}"
        found.append(_wrong("ids", int(twins.sum()), text))
    changed = (plain != tokens) & ~twins
    if changed.any():
        shown = ", ".join(repr(token) for token in tokens[changed][:_EXAMPLES])
        text = (
            f"{name}: {int(changed.sum()):,} ids would change if read as numbers or stripped, "
            f"such as {shown}"
        )
        found.append(_note("ids", int(changed.sum()), text))
    return found


def canonical(tokens: pd.Series) -> pd.Series:
    """Ids without spaces around, and numbers without leading zeros and an empty fraction.

    Example:
        >>> canonical(pd.Series(["007", "7.0", " a ", "0", "1.50", "00a"])).tolist()
        ['7', '7', 'a', '0', '1.5', '00a']
    """
    bare = tokens.str.strip()
    number = bare.str.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?")
    short = bare[number].str.replace(r"^\+", "", regex=True)
    short = short.str.replace(r"^(-?)0+(?=[0-9])", r"\1", regex=True)
    short = short.str.replace(r"(\.[0-9]*?)0+$", r"\1", regex=True).str.rstrip(".")
    return bare.where(~number, short.reindex(bare.index))


def gaps(used: pd.Series, described: pd.Series, name: str, what: str) -> list[Finding]:
    """Compare the ids of the interactions with those that a file describes.

    Args:
        used: Different ids with an interaction.
        described: Ids of the rows of the file.
        name: The file.
        what: ``users`` or ``items``.
    """
    found = []
    again = described.duplicated()
    if again.any():
        n = int(again.sum())
        text = f"{name}: {n:,} repeated rows of {what}{_such(described[again])}"
        found.append(_wrong("gaps", n, text))
    missing = used[~used.isin(described)]
    if len(missing):
        alike = int(canonical(missing).isin(canonical(described)).sum())
        form = f"; {alike:,} of them are there in another form (1 and 1.0)" if alike else ""
        text = (
            f"{name}: {len(missing):,} {what} with interactions have no row{_such(missing)}{form}"
        )
        found.append(_wrong("gaps", len(missing), text))
    unused = described[~described.isin(used)]
    if len(unused):
        text = f"{name}: {len(unused):,} {what} have no interaction{_such(unused)}"
        found.append(_note("gaps", len(unused), text))
    return found


def times(table: pd.DataFrame, user: str, column: str, name: str, year: int = 0) -> list[Finding]:
    """Look at the times of interactions: missing ones, ties, their unit, and impossible years.

    Args:
        table: Interactions in the order of the file.
        user: Column of users.
        column: Column of times.
        name: The file.
        year: The current year; 0 asks the clock.
    """
    moments, found = table[column], []
    missing = int(moments.isna().sum())
    if missing:
        first = int(moments.isna().to_numpy().argmax())
        text = f"{name}: {missing:,} interactions have no {column}, the first in row {first + 1:,}"
        found.append(_wrong("time", missing, text))
    known = moments.dropna()
    ties = int(table.loc[known.index].duplicated([user, column]).sum())
    if ties:
        text = (
            f"{name}: {ties:,} interactions have the same time as another one of the same user; "
            "they keep the order of the file"
        )
        found.append(_note("time", ties, text))
    years = known.to_numpy(dtype=np.float64) / _YEAR + 1970
    middle = float(np.median(years)) if len(years) else 1970.0
    for unit, size in _UNITS.items():
        if _FIRST_YEAR <= (middle - 1970) / size + 1970 < _LAST_YEAR:
            dates = (years - 1970) / size + 1970
            text = f"{name}: {column} is in {unit}, from {int(dates.min())} to {int(dates.max())}"
            found.append(_note("time", len(dates), text))
            last = (year or time.localtime().tm_year) + 1
            outside = (dates < _FIRST_YEAR) | (dates >= last + 1)
            if outside.any():
                n, at = int(outside.sum()), int(outside.argmax())
                text = (
                    f"{name}: {n:,} interactions are before {_FIRST_YEAR} or after {last}, the "
                    f"first in row {int(known.index[at]) + 1:,} ({column}={known.iloc[at]})"
                )
                found.append(_wrong("time", n, text))
            break
    else:
        if len(known):
            text = (
                f"{name}: {column} from {known.min()} to {known.max()} is no date in any unit; it "
                "is only used to order rows"
            )
            found.append(_note("time", len(known), text))
    return found


class Part(NamedTuple):
    """Interactions of a part of the split, as ids. Shape: ``(interactions,)`` each."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None


def leakage(parts: Mapping[str, Part], by_time: bool) -> list[Finding]:
    """Find what a later part gives away to an earlier one.

    Args:
        parts: ``training``, ``validation`` and ``test``.
        by_time: Whether the split should keep the order of time: each user's test after the user's
            training. Random splits do not; what is found in them is only a note.
    """
    found = []
    names = list(parts)
    for later in range(1, len(names)):
        for earlier in range(later):
            both = _shared_pairs(parts[names[earlier]], parts[names[later]])
            if both:
                text = (
                    f"{both:,} pairs of a user and an item are in {names[earlier]} and in "
                    f"{names[later]} (rm_dup_inter=first keeps each pair once)"
                )
                found.append(_wrong("leakage", both, text))
    training, test = parts[names[0]], parts[names[-1]]
    if training.times is None or test.times is None or not len(training.users):
        return found
    latest = pd.Series(training.times).groupby(training.users).max()
    own = pd.Series(test.users).map(latest).to_numpy()
    early = int((test.times < own).sum())
    if early:
        text = (
            f"{early:,} of {len(test.users):,} test interactions are earlier than a training "
            "interaction of the same user"
        )
        found.append(Finding("leakage", by_time, early, text))
    anywhere = int((test.times < training.times.max()).sum())
    if anywhere:
        text = (
            f"{anywhere:,} of {len(test.users):,} test interactions are earlier than the last "
            "training interaction of any user (eval_args.split=TS splits at one moment)"
        )
        found.append(_note("leakage", anywhere, text))
    return found


def unseen(parts: Mapping[str, Part], n_users: int, n_items: int, masks: bool) -> list[Finding]:
    """Count users and items that are in no result, or that no model can know.

    Args:
        parts: ``training``, ``validation`` and ``test``.
        n_users: Users, without the padding.
        n_items: Items, without the padding.
        masks: Whether a test pair that is in an earlier part is not ranked.
    """
    *before, test = parts.values()
    size = n_items + 1
    ranked = np.ones(len(test.users), dtype=bool)
    if masks:
        known = np.concatenate([part.users * size + part.items for part in before])
        ranked = ~np.isin(test.users * size + test.items, known)
    users, items = (len(np.unique(ids[ranked])) for ids in (test.users, test.items))
    training = before[0]
    found = []
    for ranking, everything, what, metric in (
        (users, n_users, "users", "no metric"),
        (items, n_items, "items", "no metric of accuracy"),
    ):
        if ranking < everything:
            rest = everything - ranking
            text = f"{rest:,} of {everything:,} {what} are in no ranked test interaction: {metric} "
            text += "sees them"
            found.append(_note("unseen", rest, text))
    for ids, trained, what in (
        (test.users, training.users, "users"),
        (test.items, training.items, "items"),
    ):
        cold = ~np.isin(ids, trained)
        if cold.any():
            n, different = int(cold.sum()), len(np.unique(ids[cold]))
            text = (
                f"{n:,} test interactions are of {different:,} {what} without training interactions"
            )
            found.append(_note("unseen", n, text))
    return found


def repeated(counts: Mapping[str, int]) -> list[Finding]:
    """Report pairs that are more than once in one part; across parts they are leakage.

    Args:
        counts: ``repeated`` of the account.
    """
    return [
        _note(
            "repeated",
            n,
            f"{n:,} interactions repeat a pair of a user and an item {where} "
            "(rm_dup_inter=first keeps each pair once)",
        )
        for where, n in counts.items()
        if n and where.startswith("within")
    ]


def _shared_pairs(one: Part, other: Part) -> int:
    size = 1 + max((int(part.items.max()) for part in (one, other) if len(part.items)), default=0)
    first, second = (np.unique(part.users * size + part.items) for part in (one, other))
    return len(np.intersect1d(first, second, assume_unique=True))


def _such(tokens: Sequence[Any] | pd.Series) -> str:
    return f", such as {', '.join(repr(str(token)) for token in list(tokens[:_EXAMPLES]))}"


def _wrong(check: str, number: int, text: str) -> Finding:
    return Finding(check, True, number, text)


def _note(check: str, number: int, text: str) -> Finding:
    return Finding(check, False, number, text)
