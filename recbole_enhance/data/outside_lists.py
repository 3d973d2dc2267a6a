"""Lists that any tool has written: one row for each recommended item, read as text and checked."""

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_enhance.compat.needs import line_for
from recbole_enhance.options.errors import DataError, OptionError
from recbole_enhance.options.read import one_line
from recbole_enhance.storage.files import read_gzip

# Of LensKit, RecTools, WarpRec, Elliot, Cornac and Surprise, in lower case; the first counts.
NAMES: dict[str, tuple[str, ...]] = {
    "user": ("user_id", "user", "userid", "uid"),
    "item": ("item_id", "item", "itemid", "iid"),
    "rank": ("rank", "position"),
    "score": ("score", "prediction", "pred", "relevance", "rating"),
    "list": ("list",),
}
_NEEDED = ("user", "item")
_PARQUET = (".parquet", ".pq")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_WITHOUT_HEADER = ("user", "item", "score")  # as Elliot and TREC-like files have them


def read_lists(path: str | Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read lists from a file: CSV, TSV or Parquet, gzipped or not, with or without a header.

    Args:
        path: The file.
        columns: ``user``, ``item``, ``score``, ``rank`` -> the file's name of it, where it is none
            of :data:`NAMES`.

    Returns:
        As :func:`checked`.

    Raises:
        DataError: In one line, with the file and, where there is one, the line.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(path, "there is no such file")
    names = [suffix.lower() for suffix in path.suffixes]
    is_text = path.suffix.lower() not in _PARQUET
    try:
        table, has_header = _text(path, names) if is_text else (_parquet(path), True)
    except (ValueError, OSError, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(path, f"cannot be read as a table ({one_line(error)})") from error
    found = checked(table, columns, path, 2 if is_text and has_header else 1)
    if not has_header and "score" in found and _are_ranks(found):
        found = found.rename(columns={"score": "rank"})  # a third column without a name of its own
    return found


def checked(
    table: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    path: str | Path = "lists",
    first: int = 1,
) -> pd.DataFrame:
    """Find the columns of a table of lists, and refuse what cannot be one.

    Args:
        table: One row for each recommended item.
        columns: As of :func:`read_lists`.
        path: Where it is from, for messages.
        first: Line of the first row; tables that are no text have rows from 1.

    Returns:
        Text ``user`` and ``item``; ``score`` and ``rank`` (float64) and ``list`` (int64) where the
        table has them; ``line`` (int64).

    Raises:
        DataError: If a column is missing or named twice, a cell is empty, or a number is none.

    Example:
        >>> checked(pd.DataFrame({"User": [7], "item_id": ["a"], "rank": [1]})).values.tolist()
        [['7', 'a', 1.0, 1]]
    """
    found = _columns(list(table.columns), dict(columns or {}), path)
    lines = np.arange(first, first + len(table))
    blank = table.isna().all(axis=1).to_numpy()
    table, lines = table[~blank], lines[~blank]
    if not len(table):
        raise DataError(path, "it contains no list")
    made: dict[str, Any] = {}
    for key, name in found.items():
        cells = table[name]
        missing = cells.isna().to_numpy()
        if missing.any():
            raise DataError(path, "is missing", int(lines[missing.argmax()]), name)
        if key in _NEEDED:
            made[key] = _tokens(cells)
            continue
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
        bad = ~np.isfinite(numbers) | ((numbers != np.floor(numbers)) & (key != "score"))
        if bad.any():
            row = int(bad.argmax())
            problem = f"a {'number' if key == 'score' else 'whole number'} is expected"
            raise DataError(path, problem, int(lines[row]), name, str(cells.iloc[row]))
        made[key] = numbers.astype(np.int64) if key == "list" else numbers
    made["line"] = lines
    return pd.DataFrame(made)


def _are_ranks(table: pd.DataFrame) -> bool:
    """Whether the numbers of each user are 1, 2, 3, ... in the order of the file."""
    place = table.groupby("user", sort=False).cumcount() + 1
    return bool((place == table["score"]).all())


def _tokens(cells: pd.Series) -> np.ndarray:
    """Ids as text; a column of whole floats (pandas makes one of missing cells) has no ``.0``."""
    if pd.api.types.is_float_dtype(cells) and (cells % 1 == 0).all():
        cells = cells.astype(np.int64)
    return cells.astype(str).to_numpy(object)


def _columns(header: Sequence[Any], said: dict[str, str], path: str | Path) -> dict[str, str]:
    """Meaning of a column -> its name in the table."""
    names = [str(name) for name in header]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(path, "is in the header twice", 1, twice[0])
    plain = {name.partition(":")[0].strip().lower(): name for name in names}
    found = {}
    for key, known in NAMES.items():
        if said.get(key) is not None:
            if said[key] not in names:
                raise OptionError(key, said[key], f"{path} has the columns {', '.join(names)}")
            found[key] = said[key]
            continue
        name = next((plain[name] for name in known if name in plain), None)
        if name is None and key in _NEEDED:
            problem = f"no column of {key}s: --{key}=COLUMN names one of {', '.join(names)}"
            raise DataError(path, problem, 1)
        if name is not None and name not in found.values():
            found[key] = name
    return found


def _parquet(path: Path) -> pd.DataFrame:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise DataError(path, f"needs pyarrow: {line_for('data')}") from None
    return pd.read_parquet(path)


def _text(path: Path, suffixes: Sequence[str]) -> tuple[pd.DataFrame, bool]:
    """Cells as text, and whether the first line is a header."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = read_gzip(path).getvalue()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(path, f"is not text in UTF-8 ({error.reason})", line) from None
    first = text.partition("\n")[0].rstrip("\r")
    if not first:
        raise DataError(path, "the first line is empty", 1)
    guessed = next((mark for mark in "\t,; " if mark in first), ",")
    separator = next((_SEPARATORS[s] for s in suffixes if s in _SEPARATORS), guessed)
    if separator not in first:
        separator = guessed
    cells = next(csv.reader([first], delimiter=separator))
    has_header = not _is_row(cells)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows that are too long
        try:
            table = pd.read_csv(
                io.StringIO(text),
                sep=separator,
                header=None,
                names=range(len(cells)),
                skiprows=1 if has_header else 0,
                dtype=str,
                index_col=False,
                keep_default_na=False,
                na_values=[""],
                skip_blank_lines=False,
            )
        except (pd.errors.ParserWarning, pd.errors.ParserError):
            raise _too_long(path, text, separator, len(cells)) from None
    table.columns = pd.Index(cells if has_header else _WITHOUT_HEADER[: len(cells)])
    return table, has_header


def _too_long(path: Path, text: str, separator: str, width: int) -> DataError:
    """Which row has more cells than the first; only a message asks."""
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    for row in reader:
        if len(row) > width:
            problem = f"{len(row)} cells, and the first line has {width}"
            return DataError(path, f"{problem} (separated by {separator!r})", reader.line_num)
    return DataError(path, f"rows are not separated by {separator!r}")


def _is_row(cells: Sequence[str]) -> bool:
    """Whether a first line is no header: two or three cells, no known name, a number at the end."""
    known = {name for names in NAMES.values() for name in names}
    named = any(cell.partition(":")[0].strip().lower() in known for cell in cells)
    if named or len(cells) not in (2, 3):
        return False
    try:
        float(cells[-1])
    except ValueError:
        return len(cells) == 2 and any(cell.isdigit() for cell in cells)
    return True
