"""Files that users give: tokens, and histories of new users."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_enhance.options.errors import DataError, OptionError
from recbole_enhance.recommendation.histories import Sequences

USER, ITEM, TIME = "user_id", "item_id", "timestamp"


class Given(NamedTuple):
    """Tokens that were given, and where each was said.

    Attributes:
        tokens: As text.
        file: The file, or None.
        option: The option that named them.
    """

    tokens: Sequence[str]
    file: Path | None
    option: str


def read_tokens(path: str | Path, option: str) -> Given:
    """Read a file with a token on each line; blank lines are left out.

    Raises:
        DataError: If there is no such file, it is no text, or it has no token.
    """
    lines = [line.strip() for line in _text_of(Path(path)).splitlines()]
    if not any(lines):
        raise DataError(path, f"is empty: {option} needs one id on each line")
    return Given(lines, Path(path), option)


def ids_of(dataset: Any, field: str, given: Given, what: str) -> Tensor:
    """Ids of tokens, each once, in the order in which they were given.

    Args:
        dataset: Of the run.
        field: Of users or items.
        given: The tokens; empty ones are left out.
        what: ``user`` or ``item``, for the message.

    Returns:
        Shape: ``(ids,)``.

    Raises:
        OptionError: If a token is unknown.
        DataError: The same for a file, with the line.
    """
    known = dataset.field2token_id[field]
    for number, token in enumerate(given.tokens, 1):
        if token and not known.get(token):
            problem = f"no such {what} in {dataset.dataset_name}"
            if given.file is not None:
                raise DataError(given.file, problem, number, what, token)
            raise OptionError(given.option, token, problem)
    ids = [known[token] for token in dict.fromkeys(given.tokens) if token]
    return torch.tensor(ids, dtype=torch.long)


def read_histories(path: str | Path) -> pd.DataFrame:
    """Read histories of new users.

    Args:
        path: A CSV file with the columns user_id, item_id and, where rows are not in the order of
            time, timestamp; or, if it ends in ``.jsonl``, a JSON list of items on each line, of
            users who are called by the numbers of the lines.

    Returns:
        Columns of text: user_id, item_id, timestamp where there is one; and ``line``.

    Raises:
        DataError: Naming the line and what is wrong.
    """
    path = Path(path)
    table = _read_json_lines(path) if path.suffix == ".jsonl" else _read_csv(path)
    if not len(table):
        raise DataError(path, "holds no history")
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    reader = csv.reader(io.StringIO(_text_of(path), newline=""))
    header = next(reader, None)
    if header is None:
        raise DataError(path, "holds no history")
    for name in (USER, ITEM):
        if header.count(name) != 1:
            raise DataError(path, f"one column {name} is expected, not {', '.join(header)}", 1)
    rows, lines = [], []
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            problem = f"{len(row)} cells, and the header has {len(header)}"
            raise DataError(path, problem, reader.line_num)
        rows.append(row)
        lines.append(reader.line_num)
    table = pd.DataFrame(rows, columns=header, dtype=object).assign(line=lines)
    for name in (USER, ITEM):
        empty = np.flatnonzero(table[name] == "")
        if len(empty):
            raise DataError(path, "is empty", lines[empty[0]], name)
    if TIME not in table:
        return table[[USER, ITEM, "line"]]
    return table[[USER, ITEM, TIME, "line"]]


def _read_json_lines(path: Path) -> pd.DataFrame:
    rows: list[tuple[str, str, int]] = []
    for number, text in enumerate(_text_of(path).splitlines(), 1):
        if not text.strip():
            continue
        try:
            items = json.loads(text)
        except ValueError:
            items = None
        plain = isinstance(items, list) and all(type(x) in (str, int) for x in items)
        if not plain or not items:
            raise DataError(path, "a JSON list of items is expected", number)
        rows += [(str(number), str(item), number) for item in items]
    return pd.DataFrame(rows, columns=[USER, ITEM, "line"])


def _text_of(path: Path) -> str:
    if not path.is_file():
        raise DataError(path, "there is no such file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not text in UTF-8 ({error.reason})") from None


def sequences_from(
    table: pd.DataFrame, dataset: Any, source: str | Path
) -> tuple[np.ndarray, Sequences]:
    """Histories of new users, with the ids of a run.

    Args:
        table: As from :func:`read_histories`; ``line`` may be missing.
        dataset: Of the run.
        source: Of the table, for messages.

    Returns:
        Names of the users in the order of their first rows, and their interactions.

    Raises:
        DataError: If an item is unknown, or a time no number.
    """
    table = table.reset_index(drop=True)
    missing = [name for name in (USER, ITEM) if name not in table]
    if missing:
        raise DataError(source, f"has no column {missing[0]}, but {', '.join(table.columns)}")
    items = table[ITEM].astype(str).map(dataset.field2token_id[dataset.iid_field])
    unknown = items.isna() | (items == 0)
    if unknown.any():
        problem = f"no such item in {dataset.dataset_name}"
        raise _refused(table, int(unknown.idxmax()), ITEM, source, problem)
    times = np.zeros(len(table))
    if TIME in table:
        times = pd.to_numeric(table[TIME], errors="coerce").to_numpy(np.float64)
        bad = np.flatnonzero(~np.isfinite(times))
        if len(bad):
            raise _refused(table, int(bad[0]), TIME, source, "a number is expected")
    users, names = pd.factorize(table[USER].astype(str))
    order = np.lexsort((times, users))  # by user, then time, then place in the table
    columns = {dataset.iid_field: torch.from_numpy(items.to_numpy(np.int64)[order])}
    if TIME in table and dataset.time_field:
        columns[dataset.time_field] = torch.from_numpy(times[order])
    return np.asarray(names, dtype=object), Sequences(
        torch.from_numpy(users[order].astype(np.int64)), columns, len(names)
    )


def _refused(
    table: pd.DataFrame, row: int, column: str, source: str | Path, problem: str
) -> DataError:
    line = int(table["line"][row]) if "line" in table else None
    return DataError(source, problem, line, column, str(table[column][row]))
