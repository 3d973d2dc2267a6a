"""Users' tables, read piece by piece: CSV, JSON lines, Parquet, gzip, data frames.

A text cell stays text, whatever it looks like: ``007`` and ``NA`` are ids.
"""

import codecs
import contextlib
import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from recbole_enhance.compat.needs import line_for
from recbole_enhance.options.errors import DataError, InputError, OptionError
from recbole_enhance.options.read import nearest, one_line

_BLOCK = 1 << 22  # bytes of text looked at together; larger ones cost memory and no less time
_ROWS = 1 << 17  # rows of a table looked at together
_SEPARATORS = ",\t;|"
_TEXTS = {".csv": None, ".tsv": "\t", ".txt": None, ".dat": None, ".inter": "\t", ".tab": "\t"}
_LINES = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")
_DATA = re.compile(r"[-+]?\d+([.,]\d+)?|\d{4}-\d\d-\d\d.*")  # no name of a column
_MOST_NAMED = 20
_NO_OBJECT = "one JSON object is expected"
Piece = Any  # a pyarrow.Table


def arrow() -> Any:
    """The package that reads tables.

    Raises:
        InputError: If it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise InputError(f"reading tables needs pyarrow: {line_for('data')}") from None
    return pyarrow


class Table:
    """A table that is read in pieces.

    Args:
        name: What messages call it.
        columns: Names of its columns.
        pieces: Given names of columns, yields tables of them, in order.
        lines: Yields the line of each row that ``pieces`` yields; None where rows have no lines.
        header: First cells of the file, to say if they look like data.
        odd_lines: Yields the line of each row that has no cells for the columns, and what is wrong.

    Attributes:
        ragged: Numbers of cells of such rows, as far as ``pieces`` has come.
    """

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        pieces: Callable[[list[str]], Iterator[Piece]],
        lines: Callable[[], Iterator[int]] | None = None,
        header: Sequence[str] = (),
        odd_lines: Callable[[], Iterator[tuple[int, str]]] = lambda: iter(()),
    ) -> None:
        self.name, self.columns = name, list(columns)
        self.pieces, self._lines, self._header = pieces, lines, header
        self.odd_lines, self.ragged = odd_lines, list[int]()

    @property
    def of_lines(self) -> str:
        """What :meth:`lines_of` gives."""
        return "lines" if self._lines else "rows"

    def require(self, option: str, column: str) -> str:
        """Refuse a column that is not there, or is there twice.

        Args:
            option: The option that names it.
            column: Its name.

        Raises:
            InputError: Naming the columns that there are.
        """
        if self.columns.count(column) > 1:
            raise DataError(self.name, f"column {column!r} is in the header twice", 1)
        if column in self.columns:
            return column
        if any(_DATA.fullmatch(cell) for cell in self._header):
            first = ", ".join(self._header[:_MOST_NAMED])
            raise OptionError(
                option,
                column,
                f"the first line of {self.name} looks like data, not like names of columns: "
                f"{first}; --header=NAME,NAME,... gives the names",
            )
        more = "" if len(self.columns) <= _MOST_NAMED else ", ..."
        raise OptionError(
            option,
            column,
            f"{self.name} has the columns {', '.join(self.columns[:_MOST_NAMED])}{more}"
            f"{nearest(column, self.columns)}",
        )

    def refuse_twins(self) -> None:
        """Refuse two columns of one name.

        Raises:
            DataError: Naming the column.
        """
        for name in self.columns:
            if name and self.columns.count(name) > 1:
                raise DataError(self.name, f"column {name!r} is in the header twice", 1)

    def lines_of(self, rows: Sequence[int]) -> dict[int, int]:
        """Lines of some rows, or their numbers from 1 where there are no lines.

        Reads the file again up to the last of them; only messages ask.
        """
        wanted = set(rows)
        if self._lines is None:
            return {row: row + 1 for row in wanted}
        read = enumerate(itertools.islice(self._lines(), max(wanted, default=-1) + 1))
        return {row: line for row, line in read if row in wanted}

    def bad(self, row: int, column: str, value: Any, problem: str) -> DataError:
        """The refusal of a row, by its line or number."""
        number = self.lines_of([row]).get(row, row + 1)
        if self._lines:
            return DataError(self.name, problem, number, column, value)
        return DataError(f"{self.name}, row {number}", problem, None, column, value)


def open_table(
    source: Any,
    *,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    encoding: str | None = None,
    quoting: bool = True,
) -> Table:
    """Open a file by its ending, or a data frame.

    Args:
        source: A path: ``.csv``, ``.tsv``, ``.txt``, ``.jsonl``, each also with ``.gz``, or
            ``.parquet``; a frame of pandas, polars or pyarrow; or a table that is open.
        separator: Of the cells of a text; None takes the one that its first line has most.
        header: Names of the columns of a text without a header.
        encoding: Of a text; None is UTF-8.
        quoting: Whether ``"`` quotes in a text.

    Raises:
        InputError: If it cannot be read.
    """
    arrow()
    if isinstance(source, Table):
        return source
    if not isinstance(source, (str, Path)):
        return _of_frame(source)
    path = Path(source)
    if not path.is_file():
        raise DataError(path, "there is no such file")
    if not path.stat().st_size:
        raise DataError(path, "is empty")
    endings = [ending.lower() for ending in path.suffixes]
    packed = endings[-1:] == [".gz"]
    ending = (endings[-2:-1] if packed else endings[-1:]) or [""]
    if ending[0] in _PARQUET:
        return _of_parquet(path)
    if ending[0] in _LINES:
        return _of_lines(path)
    if ending[0] not in _TEXTS:
        known = ", ".join([*_TEXTS, *_LINES, *_PARQUET])
        raise DataError(path, f"the file's ending is none of {known}, or .gz after")
    return _of_text(path, separator or _TEXTS[ending[0]], header, encoding, quoting)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Make one line of what a reader raises."""
    import pyarrow as pa

    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, EOFError, csv.Error) as error:
        raise DataError(path, f"cannot be read ({one_line(error)})") from error


def _codec(encoding: str | None) -> str:
    try:
        return codecs.lookup(encoding or "utf-8").name
    except LookupError:
        raise OptionError("encoding", encoding, "Python does not know this encoding") from None


def _bytes(path: Path) -> Any:
    import pyarrow as pa

    return pa.input_stream(str(path), compression="detect")


def _open_text(path: Path, codec: str) -> Any:
    codec = "utf-8-sig" if codec == "utf-8" else codec
    return io.TextIOWrapper(_bytes(path), encoding=codec, newline="")


def _of_text(
    path: Path,
    separator: str | None,
    header: Sequence[str] | None,
    encoding: str | None,
    quoting: bool,
) -> Table:
    codec = _codec(encoding)
    with _told(path), _told_encoding(path, codec), _open_text(path, codec) as text:
        first = text.readline()
    if "\0" in first or first.startswith("\ufffe"):
        raise DataError(path, "is not text in UTF-8: Excel's Unicode text is --encoding=utf-16", 1)
    if not first.strip():
        raise DataError(path, "the first line is empty", 1)
    if separator is None:
        separator = max(_SEPARATORS, key=first.count)
    if len(separator) != 1 or not separator.isascii() or separator in '\r\n"':
        raise OptionError("separator", separator, "one ASCII character is expected")
    quotes: Any = csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE

    def rows() -> Iterator[tuple[int, list[str]]]:
        """First line of each row, and its cells; blank lines are none."""
        with _open_text(path, codec) as text:
            reader, before = csv.reader(text, delimiter=separator, quoting=quotes), 0
            for cells in reader:
                if cells:
                    yield before + 1, cells
                before = reader.line_num

    with _told(path):
        cells = next(iter(rows()))[1]
    names = list(cells) if header is None else list(header)
    width = len(names)
    if header is not None and len(cells) != width:
        raise OptionError("header", ",".join(header), f"{path} has {len(cells)} columns")

    def lines() -> Iterator[int]:
        numbered = (line for line, cells in rows() if len(cells) == width)
        return itertools.islice(numbered, 1 if header is None else 0, None)

    def pieces(wanted: list[str]) -> Iterator[Piece]:
        import pyarrow as pa
        from pyarrow import csv as reading

        def skip(row: Any) -> str:
            table.ragged.append(row.actual_columns)
            return "skip"

        table.ragged.clear()
        with _told(path), _told_encoding(path, codec), _bytes(path) as stream:
            reader = reading.open_csv(
                stream,
                read_options=reading.ReadOptions(
                    use_threads=False,
                    block_size=_BLOCK,
                    encoding=codec if codec != "utf-8" else "utf8",
                    column_names=names if header is not None else None,
                ),
                parse_options=reading.ParseOptions(
                    delimiter=separator,
                    quote_char='"' if quoting else False,
                    newlines_in_values=quoting,
                    invalid_row_handler=skip,
                ),
                convert_options=reading.ConvertOptions(
                    column_types={name: pa.string() for name in wanted},
                    include_columns=wanted,
                    strings_can_be_null=False,
                ),
            )
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def odd_lines() -> Iterator[tuple[int, str]]:
        for line, cells in rows():
            if len(cells) != width:
                open_quote = any("\n" in cell for cell in cells)
                hint = "; a quote begins here and does not end: --quoting=no reads quotes as text"
                problem = f"{len(cells)} cells, and the header has {width}"
                yield line, problem + (hint if open_quote else "")

    table = Table(str(path), names, pieces, lines, cells if header is None else (), odd_lines)
    return table


@contextlib.contextmanager
def _told_encoding(path: Path, codec: str) -> Iterator[None]:
    """Name the first line that is not text in the encoding."""
    import pyarrow as pa

    try:
        yield
    except (UnicodeError, pa.ArrowInvalid) as error:
        if isinstance(error, pa.ArrowInvalid) and "UTF8" not in str(error):
            raise
        line = None
        with contextlib.suppress(UnicodeError), _bytes(path) as stream:
            for number, content in enumerate(io.BufferedReader(stream), 1):
                line = number
                content.decode("utf-8")
            line = None
        raise DataError(
            path,
            f"is not text in {codec}; --encoding=NAME says which it is in, such as latin-1, "
            "cp1252 or gbk",
            line if codec == "utf-8" else None,
        ) from None


def _of_lines(path: Path) -> Table:
    """JSON lines: one object a line."""
    import pyarrow as pa

    odd: list[int] = []  # lines that hold no object, as far as they were read

    def blocks() -> Iterator[tuple[int, bytes]]:
        """Whole lines, and the number of the first."""
        line, rest = 1, b""
        with _bytes(path) as stream:
            while block := stream.read(_BLOCK):
                end = block.rfind(b"\n") + 1
                if not end:
                    rest += block
                    continue
                yield line, rest + block[:end]
                line, rest = line + (rest + block[:end]).count(b"\n"), block[end:]
        if rest.strip():
            yield line, rest

    def pieces(wanted: list[str]) -> Iterator[Piece]:
        odd.clear()
        table.ragged.clear()
        known = pa.schema([f for f in kinds if f.name in wanted and not pa.types.is_null(f.type)])
        with _told(path):
            for line, block in blocks():
                if not block.strip():
                    continue
                try:
                    read = _json_of(block, known if len(known) == len(wanted) else None)
                except pa.ArrowInvalid:  # a line that is no object, or words among numbers
                    read = _json_by_line(line, block, wanted, odd)
                    table.ragged += [0] * (len(odd) - len(table.ragged))
                yield read.select([n for n in wanted if n in read.column_names])

    def lines() -> Iterator[int]:
        for line, block in blocks():
            rows, none = enumerate(block.split(b"\n"), line), set(odd)
            yield from (n for n, text in rows if text.strip() and n not in none)

    with _told(path):
        line, first = next(blocks(), (1, b""))
    if not first.strip():
        raise DataError(path, "is empty")
    if first.lstrip()[:1] == b"[":
        raise DataError(path, "is one JSON list: one object per line is expected (JSON lines)", 1)
    try:
        kinds = _json_of(first).schema
    except pa.ArrowInvalid:
        kinds = _json_by_line(line, first, None, []).schema
    table = Table(str(path), kinds.names, pieces, lines, (), lambda: ((n, _NO_OBJECT) for n in odd))
    return table


def _json_of(block: bytes, known: Any = None) -> Piece:
    """Objects as columns; what looks like a time stays text.

    Args:
        block: Whole lines.
        known: Columns and their types, others are passed over; None finds out.
    """
    import pyarrow as pa
    from pyarrow import json as reading

    options = reading.ReadOptions(use_threads=False, block_size=max(len(block) + 1, 1 << 16))
    how, schema = "ignore", known
    if known is None:
        table = reading.read_json(io.BytesIO(block), options)
        dated = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
        if not dated:
            return table
        how, schema = "infer", pa.schema([(name, pa.string()) for name in dated])
    parse = reading.ParseOptions(explicit_schema=schema, unexpected_field_behavior=how)
    return reading.read_json(io.BytesIO(block), options, parse)


def _json_by_line(line: int, block: bytes, wanted: Sequence[str] | None, odd: list[int]) -> Piece:
    """The slow way, for a block with a fault: all values as text, lines without object noted."""
    import pyarrow as pa

    rows = []
    for number, text in enumerate(block.split(b"\n"), line):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            odd.append(number)
    names = list(dict.fromkeys(name for row in rows for name in row)) if wanted is None else wanted
    columns = {name: [_text_of(row.get(name)) for row in rows] for name in names}
    return pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})


def _text_of(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return "|".join(_text_of(part) or "" for part in value)
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else json.dumps(value)


def _of_parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    with _told(path):
        names = parquet.read_schema(path).names

    def pieces(wanted: list[str]) -> Iterator[Piece]:
        with _told(path), parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS, columns=wanted):
                yield pa.Table.from_batches([batch])

    return Table(str(path), names, pieces)


def _of_frame(frame: Any) -> Table:
    try:
        import narwhals as nw
    except ImportError:
        raise InputError(f"reading data frames needs narwhals: {line_for('data')}") from None
    if type(frame).__module__.startswith("pandas") and hasattr(frame, "columns"):
        frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
        Table("data", list(frame.columns), lambda wanted: iter(())).refuse_twins()
    try:
        whole = nw.from_native(frame)
    except TypeError:
        raise OptionError(
            "data",
            type(frame).__name__,
            "a path, or a frame of pandas, polars or pyarrow is expected",
        ) from None
    if isinstance(whole, nw.LazyFrame):
        whole = whole.collect()

    def pieces(wanted: list[str]) -> Iterator[Piece]:
        import pyarrow as pa

        for start in range(0, len(whole), _ROWS):
            piece = whole[start : start + _ROWS].select(wanted)
            try:
                yield piece.to_arrow().select(wanted)
            except (pa.ArrowException, TypeError) as error:  # a column of words and numbers
                raise DataError("data", f"cannot be read ({one_line(error)})") from error

    return Table("data", list(whole.columns), pieces)
