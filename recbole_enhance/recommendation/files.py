"""What a user of the command line gives in files: tokens, and histories of new users."""

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
        raise DataError(path, f"is empty: {option} wants a token on each line")
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
        Columns user_id and item_id as text, timestamp where there is one, and ``line``.

    Raises:
        DataError: Naming the line and what is wrong.
    """
    path = Path(path)
    table = _read_json_lines(path) if path.suffix == ".jsonl" else _read_csv(path)
    if not len(table):
        raise DataError(path, "holds no history")
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    _text_of(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except pd.errors.EmptyDataError:
        raise DataError(path, "holds no history") from None
    except pd.errors.ParserError as error:
        raise DataError(path, f"is no table ({str(error).strip()})") from None
    for name in (USER, ITEM):
        if name not in table:
            columns = ", ".join(map(str, table.columns))
            raise DataError(path, f"has no column {name}, but {columns}", 1)
    table["line"] = np.arange(2, len(table) + 2)
    for name in (USER, ITEM):
        empty = table[name] == ""
        if empty.any():
            raise DataError(path, "is empty", int(table["line"][empty.idxmax()]), name)
    if TIME not in table:
        return table[[USER, ITEM, "line"]]
    times = pd.to_numeric(table[TIME], errors="coerce")
    bad = ~np.isfinite(times.astype(float))
    if bad.any():
        row = int(bad.idxmax())
        problem = "a number is expected"
        raise DataError(path, problem, int(table["line"][row]), TIME, table[TIME][row])
    return table.assign(**{TIME: times})[[USER, ITEM, TIME, "line"]]


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
        DataError: If an item is unknown.
    """
    table = table.reset_index(drop=True)
    items = table[ITEM].astype(str).map(dataset.field2token_id[dataset.iid_field])
    unknown = items.isna() | (items == 0)
    if unknown.any():
        row = int(unknown.idxmax())
        line = int(table["line"][row]) if "line" in table else None
        problem = f"no such item in {dataset.dataset_name}"
        raise DataError(source, problem, line, ITEM, str(table[ITEM][row]))
    users, names = pd.factorize(table[USER].astype(str))
    # By user, then time, then place in the file.
    keys = [users] if TIME not in table else [table[TIME].to_numpy(), users]
    order = np.lexsort(keys)
    columns = {dataset.iid_field: torch.from_numpy(items.to_numpy(np.int64)[order])}
    if TIME in table and dataset.time_field:
        times = table[TIME].to_numpy(np.float64)[order]
        columns[dataset.time_field] = torch.from_numpy(times)
    return np.asarray(names, dtype=object), Sequences(
        torch.from_numpy(users[order].astype(np.int64)), columns, len(names)
    )
