"""The reader of atomic files: cells are read exactly as they are written.

Rows end with LF or CR LF, and each has as many cells as the header. Nothing quotes or escapes. An
empty cell is missing, and nothing else is: ``NA`` and ``null`` are ids like others.
"""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_enhance.data.packed import Texts, read_columns
from recbole_enhance.options.errors import DataError, OptionError
from recbole_enhance.options.read import printable

COLUMN_TYPES = ("token", "token_seq", "float", "float_seq")
_BLOCK = 1 << 18  # bytes looked at together, with all that is made of them, in a cache of the CPU
_AT_ONCE = 1 << 20  # bytes of a file that are in memory at a time, where that can be
_LF, _CR = b"\n", b"\r"
_MARK = "\r"  # is in no cell: rows that have one are refused


def read_header(path: Path, separator: str = "\t", encoding: str | None = None) -> dict[str, str]:
    """Read the columns of an atomic file.

    Args:
        path: The file; its first line holds ``name:type`` for each column.
        separator: RecBole's ``field_separator``.
        encoding: RecBole's ``encoding``; None is UTF-8.

    Returns:
        Column name -> ``token``, ``token_seq``, ``float`` or ``float_seq``, in the file's order.

    Raises:
        DataError: If there is no file or the line is no such header; names the file and column.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(path, "there is no such file")
    with path.open("rb") as file:
        return _columns_of(path, _utf8(path, file.readline(), encoding), separator)


def _columns_of(path: Path, line: bytes, separator: str) -> dict[str, str]:
    header = line.decode("utf-8").rstrip("\r\n")
    if header.startswith("\ufeff"):
        raise DataError(path, "starts with a byte order mark: save it as plain UTF-8", 1)
    columns: dict[str, str] = {}
    for cell in header.split(separator):
        name, colon, kind = cell.partition(":")
        if not name or not colon or kind not in COLUMN_TYPES:
            raise DataError(
                path,
                f"column {cell!r} of the header is not name:type with a type of "
                f"{', '.join(COLUMN_TYPES)} (columns are separated by {separator!r})",
                1,
            )
        if name in columns:
            raise DataError(path, f"column {name!r} is in the header twice", 1)
        if printable(name) != name:
            raise DataError(path, f"column {name!r} has a control character in its name", 1)
        columns[name] = kind
    return columns


def read_atomic(
    path: Path,
    columns: Collection[str] | None = None,
    *,
    separator: str = "\t",
    seq_separator: str = " ",
    encoding: str | None = None,
    required: Collection[str] = (),
    whole: bool = False,
    coded: bool = False,
) -> pd.DataFrame:
    r"""Read columns of an atomic file, and check all of its rows.

    Args:
        path: The file.
        columns: Those to read, which it has; None reads all.
        separator: RecBole's ``field_separator``, one ASCII character.
        seq_separator: RecBole's ``seq_separator``, between the parts of a sequence.
        encoding: RecBole's ``encoding``; None is UTF-8.
        required: Those of the columns in which no cell may be missing.
        whole: Whether every cell is read as one text, whatever its column's type.
        coded: Whether tokens are a categorical column, whose categories are in the order of first
            appearance, in place of a text each.

    Returns:
        One row per line, in the file's order of rows and columns. Tokens are text, or NaN where the
        cell is empty. Numbers are int64 where every cell is a whole number, else float64, NaN where
        the cell is empty. Sequences are arrays of text or float64, empty where the cell is.

    Raises:
        DataError: Naming the file, and the line, column and value where there is one.
        OptionError: If ``field_separator``, ``seq_separator`` or ``encoding`` cannot be used.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "toy.item")
        >>> _ = path.write_text("item_id:token\tprice:float\nNA\t3\n")
        >>> read_atomic(path).values.tolist()
        [['NA', 3]]
    """
    path = Path(path)
    if len(separator) != 1 or not separator.isascii() or separator in "\r\n\0":
        raise OptionError("field_separator", repr(separator), "one ASCII character is expected")
    if not seq_separator or set(seq_separator) & set("\r\n\0"):
        raise OptionError("seq_separator", repr(seq_separator), "characters within a line expected")
    if not path.is_file():
        raise DataError(path, "there is no such file")
    streamed = _streamed(path, columns, separator, encoding, whole)
    if streamed is not None:
        table = {
            name: pd.Series(_tokens(values, coded) if kind == "token" else values, copy=False)
            for name, (kind, values) in streamed.items()
        }
        if not any(lacking(table[name]).any() for name in required if name in table):
            return pd.DataFrame(table, copy=False)
    content = _utf8(path, path.read_bytes(), encoding)  # errors name the line
    if not content.endswith(_LF):
        content += _LF
    kinds = _columns_of(path, content[: content.index(_LF)], separator)
    wanted = [name for name in kinds if columns is None or name in columns]
    tokens = [name for name in wanted if whole or kinds[name] == "token"]
    floats = [name for name in wanted if not whole and kinds[name] == "float"]
    _check_marks(path, content)
    rows = content
    texts, numbers = _packed(rows, separator, list(kinds), tokens, floats) or ({}, {})
    if not texts and not numbers:  # rows of another width are told, and blank ones left out
        blank = _check_rows(path, content, separator, len(kinds))
        rows = re.sub(rb"(?m)^\r?\n", b"", content) if blank else content
        if blank:
            texts, numbers = _packed(rows, separator, list(kinds), tokens, floats) or ({}, {})

    def cells(names: list[str], dtype: dict[str, Any]) -> pd.DataFrame:
        if not rows[rows.index(_LF) :].strip(_CR + _LF):  # nothing to infer columns from
            n = rows.count(_LF) - 1
            return pd.DataFrame(np.nan, index=range(n), columns=names, dtype=object)
        return pd.read_csv(
            io.BytesIO(rows),
            sep=separator,
            header=None,
            skiprows=1,
            names=list(kinds),
            usecols=names,
            dtype=dtype,
            index_col=False,
            quoting=csv.QUOTE_NONE,
            keep_default_na=False,
            na_values=[""],
            skip_blank_lines=False,
            encoding="utf-8",
            low_memory=False,
            float_precision="round_trip",
        )[names]

    def refuse(row: int, name: str, problem: str, value: Any = None) -> DataError:
        return DataError(path, problem, _line_of(content, row, len(kinds)), name, value)

    if not wanted:
        return pd.DataFrame(index=range(rows.count(_LF) - 1))
    done: dict[str, Any] = {**texts, **numbers}
    rest = [name for name in wanted if name not in done]
    if rest:
        as_text = {name: str for name in rest if whole or kinds[name] != "float"}
        done.update(cells(rest, as_text).items())
    table = {}
    for name in wanted:
        values = done[name]
        if name in tokens:
            values = _tokens(values, coded)
        elif name in floats and name in rest:
            if values.dtype != np.int64 and not _all_finite(values):
                values = _numbers(cells([name], {name: str})[name], values, refuse)
        elif name in rest:
            values = _sequences(values, kinds[name], seq_separator, refuse)
        table[name] = pd.Series(values, copy=False)
        if name in required and len(missing := np.flatnonzero(lacking(table[name]))):
            raise refuse(int(missing[0]), name, "is missing")
    return pd.DataFrame(table, copy=False)


def lacking(column: pd.Series) -> Any:
    """Which cells hold nothing: missing ones, and sequences without a member. Shape: as it."""
    first = column.iloc[0] if len(column) else None
    if isinstance(first, (list, np.ndarray)):
        return column.map(len) == 0
    return column.isna()


def _streamed(
    path: Path,
    columns: Collection[str] | None,
    separator: str,
    encoding: str | None,
    whole: bool,
) -> dict[str, tuple[str, Any]] | None:
    """Columns of a file of which a part at a time is in memory: name -> kind and values.

    None where something is unusual, or a column has other cells than short texts and numbers
    without a sign; then the whole file has to be looked at.
    """
    try:
        codec = codecs.lookup(encoding or "UTF-8").name
    except LookupError:
        return None
    if codec not in ("utf-8", "ascii"):
        return None
    with path.open("rb") as file:
        header = file.readline()
    try:
        kinds = _columns_of(path, header, separator)
    except (DataError, UnicodeDecodeError):
        return None
    kinds = dict.fromkeys(kinds, "token") if whole else kinds
    wanted = [name for name in kinds if columns is None or name in columns]
    if not wanted or any(kinds[name].endswith("seq") for name in wanted):
        return None
    place = {name: number for number, name in enumerate(kinds)}
    tokens, floats = (
        [place[name] for name in wanted if kinds[name] == kind] for kind in ("token", "float")
    )
    try:
        found = read_columns(
            _blocks_of(path, strict=codec == "ascii"),
            separator,
            len(kinds),
            tokens,
            floats,
            rows=_lines_of(path),
            all_or_none=True,
        )
    except UnicodeDecodeError:
        return None
    if found is None or not any(found):
        return None
    texts, numbers = found
    values = {**texts, **numbers}
    if not len(next(iter(texts.values())).codes if texts else next(iter(numbers.values()))):
        return None  # nothing to infer columns from
    return {name: (kinds[name], values[place[name]]) for name in wanted}


def _packed(
    rows: bytes, separator: str, names: list[str], tokens: list[str], floats: list[str]
) -> tuple[dict[str, Texts], dict[str, np.ndarray]] | None:
    """Columns that can be read without a string of each cell; None if rows are not as wide."""
    place = {name: number for number, name in enumerate(names)}
    found = read_columns(
        _blocks(rows),
        separator,
        len(names),
        [place[name] for name in tokens],
        [place[name] for name in floats],
        rows.count(_LF),
    )
    if found is None:
        return None
    texts, numbers = found
    return (
        {name: texts[place[name]] for name in tokens if place[name] in texts},
        {name: numbers[place[name]] for name in floats if place[name] in numbers},
    )


def _tokens(values: Any, coded: bool) -> Any:
    if not isinstance(values, Texts):
        values = Texts(*pd.factorize(values.to_numpy(dtype=object))) if coded else values
    if isinstance(values, Texts):
        return values.categorical() if coded else values.objects()
    return values


def _utf8(path: Path, content: bytes, encoding: str | None) -> bytes:
    """Text as UTF-8, in which a byte of ASCII is never part of another character."""
    encoding = encoding or "UTF-8"
    try:
        codec = codecs.lookup(encoding).name
    except LookupError:
        raise OptionError("encoding", encoding, "Python does not know this encoding") from None
    if codec in ("utf-8", "ascii") and content.isascii():
        return content
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        raise DataError(
            path,
            f"is not text in {encoding} ({error.reason}); encoding=NAME says which it is in, "
            "such as gbk or latin-1",
            content.count(_LF, 0, error.start) + 1,
        ) from None
    return content if codec == "utf-8" else text.encode("utf-8")


def _check_marks(path: Path, content: bytes) -> None:
    """Refuse bytes that no text has."""
    for bad, problem in (
        (b"\0", "a zero byte is not text"),
        (rb"\r(?!\n)", "a carriage return inside a row; rows end with LF or CR LF"),
    ):
        # Counting is faster than searching, where there is nothing or only line ends.
        if bad == b"\0" or content.count(_CR) != content.count(_CR + _LF):
            found = re.search(bad, content)
            if found:
                raise DataError(path, problem, content.count(_LF, 0, found.start()) + 1)


def _check_rows(path: Path, content: bytes, separator: str, width: int) -> bool:
    """Refuse rows that are not as wide as the header, and say whether there are blank lines."""
    line, blank = 0, False
    for block in _blocks(content):
        data = np.frombuffer(block, np.uint8)
        marks = np.flatnonzero((data == ord(separator)) | (data == _LF[0]))
        ends = np.flatnonzero(data[marks] == _LF[0])
        cells = np.diff(ends, prepend=-1)
        odd = np.flatnonzero(cells != width)
        if len(odd):
            end = marks[ends]
            start = np.concatenate([[0], end[:-1] + 1])
            length = (end - start)[odd]
            empty = (length == 0) | ((length == 1) & (data[start[odd]] == _CR[0]))
            blank = blank or bool(empty.any())
            wrong = odd[~empty]
            if len(wrong):
                raise DataError(
                    path,
                    f"{cells[wrong[0]]} cells, and the header has {width} "
                    f"(separated by {separator!r})",
                    line + int(wrong[0]) + 1,
                )
        line += len(ends)
    return blank


def _blocks(content: bytes) -> Iterator[memoryview]:
    """Pieces of whole lines."""
    start, view = 0, memoryview(content)
    while start < len(content):
        end = content.rfind(_LF, start, start + _BLOCK)
        end = (content.index(_LF, start) if end < 0 else end) + 1
        yield view[start:end]
        start = end


def _blocks_of(path: Path, strict: bool) -> Iterator[memoryview]:
    """Pieces of whole lines of a file, read as they are asked for.

    Args:
        path: The file.
        strict: Whether it has to be ASCII; else UTF-8.

    Raises:
        UnicodeDecodeError: If there is another text, or bytes that are in none.
    """
    rest = b""
    with path.open("rb") as file:
        while content := file.read(_AT_ONCE):
            content = rest + content
            end = content.rfind(_LF) + 1
            rest = content[end:]
            yield from _blocks(_text(content[:end], strict))
    if rest:
        yield from _blocks(_text(rest + _LF, strict))


def _lines_of(path: Path) -> int:
    """How many lines a file has, with the last one if that does not end."""
    with path.open("rb") as file:
        return 1 + sum(block.count(_LF) for block in iter(lambda: file.read(_AT_ONCE), b""))


def _text(content: bytes, strict: bool) -> bytes:
    """Whole lines, if they are text; no character has an end of line within."""
    if not content.isascii():
        content.decode("ascii" if strict else "utf-8")
    if b"\0" in content or content.count(_CR) != content.count(_CR + _LF):
        raise UnicodeDecodeError("utf-8", content, 0, 1, "in no text")
    return content


def _line_of(content: bytes, row: int, width: int) -> int:
    """Line of a row, from 1; only a message asks."""
    lines = enumerate(content.split(_LF), 1)
    kept = [number for number, line in lines if line.strip(_CR) or width == 1]
    return kept[row + 1]


def _all_finite(values: pd.Series) -> bool:
    return values.dtype == np.float64 and bool(np.isfinite(values.to_numpy()).all())


def _numbers(cells: pd.Series, values: pd.Series, refuse: Any) -> pd.Series:
    """Numbers of a column that has missing cells, or what is no finite number, or a huge one."""
    numbers = pd.to_numeric(cells, errors="coerce").astype(float)
    bad = np.flatnonzero(cells.notna() & ~np.isfinite(numbers))
    if len(bad):
        row = int(bad[0])
        raise refuse(row, cells.name, "a number is expected", cells.iloc[row])
    # Beside a missing cell, pandas takes -2**63 for one.
    read = values.dtype == np.float64 and values.isna().equals(cells.isna())
    return values if read else cells.astype(float)


def _sequences(cells: pd.Series, kind: str, separator: str, refuse: Any) -> pd.Series:
    """Parts of each cell, by one split of all cells together, as no cell has a line feed."""
    text = _MARK.join(cells.fillna("")).replace(separator, "\n")
    words = np.array(text.replace(_MARK, f"\n{_MARK}\n").split("\n"), dtype=object)
    ends = words == _MARK
    keep = (words != "") & ~ends
    flat, rows = words[keep], ends.cumsum()[keep]
    if kind == "float_seq":
        numbers = pd.to_numeric(pd.Series(flat), errors="coerce").to_numpy(dtype=np.float64)
        bad = np.flatnonzero(~np.isfinite(numbers))
        if len(bad):
            raise refuse(int(rows[bad[0]]), cells.name, "numbers are expected", flat[bad[0]])
        flat = flat.astype(np.float64)
    stops = np.bincount(rows, minlength=len(cells)).cumsum()
    pieces = map(slice, np.concatenate([[0], stops[:-1]]).tolist(), stops.tolist())
    return pd.Series(list(map(flat.__getitem__, pieces)), dtype=object)
