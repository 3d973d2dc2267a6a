"""Tables as CSV, in which no text cell is a formula to a spreadsheet."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_enhance.options.errors import RunFolderError
from recbole_enhance.storage.files import read_text

# A spreadsheet runs a cell that begins so. Quotes before it are counted too, so that one more of
# them can be taken away again.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_MARKS = "=+-@\t\r'"


def neutral(value: Any) -> Any:
    """A cell that a spreadsheet shows as it is: a text that begins like a formula gets a quote.

    Numbers, also as text, are no formulas, and stay as they are.

    Example:
        >>> [neutral(cell) for cell in ("=1+1", "u1", -0.5, "-0.5", "'@x", "-")]
        ["'=1+1", 'u1', -0.5, '-0.5', "''@x", "'-"]
    """
    if not isinstance(value, str) or value[:1] not in _MARKS or not _FORMULA.match(value):
        return value
    return value if _is_number(value) else f"'{value}"


def as_written(cell: Any) -> Any:
    """Undo :func:`neutral`: the cell that it was given.

    Example:
        >>> [as_written(neutral(cell)) for cell in ("=1+1", "'@x", "it's", "-1")]
        ['=1+1', "'@x", "it's", '-1']
    """
    marked = isinstance(cell, str) and cell[:1] == "'" and _FORMULA.match(cell)
    return cell[1:] if marked else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isprintable()  # float() takes the space around a number away


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV with neutral cells."""
    return _text(header, (map(neutral, row) for row in rows))


def csv_text_of_columns(header: Sequence[str], columns: Iterable[Iterable[Any]]) -> str:
    """The same for a table of many rows, each different text looked at once."""
    return _text(header, zip(*map(_neutral_column, columns)))


def _text(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = _Lines()
    writer = csv.writer(lines, lineterminator=_END)
    writer.writerow(map(neutral, header))
    writer.writerows(rows)
    return "".join(lines)


_END = "\r\n"  # so that the writer quotes a cell with either of the two, at which readers end a row


class _Lines(list[str]):
    """The rows that a writer gives, each with the end that our files have."""

    def write(self, row: str) -> None:
        """Take a row."""
        self.append(f"{row.removesuffix(_END)}\n")


def _neutral_column(column: Iterable[Any]) -> Iterable[Any]:
    column = column if hasattr(column, "dtype") else list(column)
    values = pd.Series(column)
    if values.dtype.kind in "biuf":
        return column
    if values.dtype == object and pd.api.types.infer_dtype(values) not in ("string", "empty"):
        return map(neutral, column)  # 0, 0.0 and False are equal, and three texts
    codes, different = pd.factorize(values, use_na_sentinel=False)
    neutralised: Iterable[Any] = pd.Series(map(neutral, different), dtype=object).iloc[codes]
    return neutralised


def neutral_table(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose columns of text and of categories have neutral cells, for pandas to write."""
    made = {}
    for name, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.cat.rename_categories(neutral)
        elif column.dtype == object:
            column = column.map(neutral)
        made[name] = column
    return pd.DataFrame(made)


def written_texts(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """A table that pandas has read, with the texts of some columns as they were written.

    Args:
        table: It, which is changed.
        columns: Their names in the file.
    """
    for name in columns:
        table[name] = table[name].map(as_written, na_action="ignore")
    return table.rename(columns=as_written)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV table as texts, a mapping for each row.

    Raises:
        RunFolderError: If it is missing, no regular file, or no such table.
    """
    try:
        rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
        header = [as_written(name) for name in next(rows, [])]
        return [dict(zip(header, map(as_written, row))) for row in rows]
    except csv.Error as error:
        raise RunFolderError(path, f"not a table ({error})") from error
