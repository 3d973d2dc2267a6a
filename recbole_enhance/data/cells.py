"""Columns of a user's table: their kinds, and their form in an atomic file."""

import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from recbole_enhance.data.reading import COLUMN_TYPES
from recbole_enhance.options.errors import OptionError

_NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
_COMMA = r"^[-+]?\d+,\d+$"
_CODE = r"^[-+]?0\d"  # 007 is a name
_CUTS = "|;"  # separators of lists in a cell
_SHARE = 0.1  # of the cells, from which a sign parts a column
_MARKS = (b"\t", b"\n", b"\r", b"\0")  # no cell of an atomic file holds these
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_YEAR = 31_536_000  # seconds: times begin with 1971, so that an unknown time, 0, is none
_DAY = 86_400
Array = Any  # a pyarrow.Array
Mask = np.ndarray


class Column(NamedTuple):
    """A column of a table, and what becomes of it.

    Attributes:
        source: Its name in the table.
        name: Its name in the atomic file.
        kind: ``token``, ``token_seq``, ``float`` or ``float_seq``.
        cut: Separator of a list in a cell of text.
    """

    source: str
    name: str
    kind: str
    cut: str = "|"

    def __str__(self) -> str:
        return f"{self.source} -> {self.name}:{self.kind}"


def atomic_name(name: str) -> str:
    """A column's name as a header can hold it.

    Example:
        >>> atomic_name("price: net")
        'price_ net'
    """
    return re.sub(r"[:\x00-\x1f\x7f-\x9f]", "_", name)


def plain(column: Any) -> Array:
    """One array of a column: no chunks, no dictionary, and only one type of text."""
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # older than pyarrow 15, of no chunk
            column = pa.concat_arrays(column.chunks) if column.chunks else pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if str(column.type) in ("large_string", "string_view", "null"):
        column = column.cast(pa.string())
    return column


def texts(column: Any) -> Array:
    """Cells as text, null where they are missing; whole numbers have no decimals.

    Args:
        column: Text, numbers, times or truth values. Shape: ``(rows,)``.

    Example:
        >>> import pyarrow as pa
        >>> texts(pa.array([7.0, None])).to_pylist(), texts(pa.array(["007", ""])).to_pylist()
        (['7', None], ['007', None])
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = plain(column)
    if pa.types.is_string(cells.type):
        return cells if not _has_empty(cells) else pc.if_else(pc.equal(cells, ""), None, cells)
    if pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type):
        return pc.binary_join(_parts_of(cells, "|"), "|")
    if pa.types.is_struct(cells.type) or pa.types.is_map(cells.type):
        return pa.array([None if cell is None else str(cell) for cell in cells.to_pylist()])
    if pa.types.is_floating(cells.type):
        cells = pc.if_else(pc.is_nan(cells), None, cells)
        whole = pc.and_(pc.is_finite(cells), pc.equal(cells, pc.floor(cells)))
        whole = pc.and_(whole, pc.less(pc.abs(cells), 2.0**53))
        if pc.all(whole).as_py() is not False:
            cells = cells.cast(pa.int64())
    return cells.cast(pa.string())


def _has_empty(cells: Array) -> bool:
    offsets = _offsets(cells)
    return bool((np.diff(offsets) == 0).any())


def _offsets(cells: Array) -> np.ndarray:
    buffer = cells.buffers()[1]
    if buffer is None or not len(cells):
        return np.zeros(len(cells) + 1, dtype=np.int32)
    return np.frombuffer(buffer, np.int32)[cells.offset : cells.offset + len(cells) + 1]


def bytes_of(cells: Array) -> memoryview:
    """The text of all cells behind one another, not copied."""
    offsets, data = _offsets(cells), cells.buffers()[2]
    if data is None:
        return memoryview(b"")
    return memoryview(data)[int(offsets[0]) : int(offsets[-1])]


def joined(columns: list[Array]) -> memoryview:
    """Rows of an atomic file, cells parted by tabs; a null is an empty cell."""
    import pyarrow.compute as pc

    how = {"null_handling": "replace", "null_replacement": ""}
    last = pc.binary_join_element_wise(columns[-1], "", "\n", **how)
    rows = pc.binary_join_element_wise(*columns[:-1], last, "\t", **how)
    return bytes_of(rows)


def marked(cells: Array) -> Mask | None:
    """Which cells hold a tab, a line end or a zero byte; None if no cell does."""
    import pyarrow.compute as pc

    content = bytes(bytes_of(cells))
    if not any(mark in content for mark in _MARKS):
        return None
    return mask_of(pc.match_substring_regex(cells, r"[\t\n\r\x00]"))


def without_marks(cells: Array) -> Array:
    """Cells with a space for each run of tabs and line ends."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(cells, r"[\t\n\r\x00]+", " ")


def mask_of(values: Any) -> Mask:
    """Truth values as numpy has them; what is missing is False."""
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), dtype=bool)


def with_points(column: Any, decimal: str) -> Array:
    """Text of numbers, with a decimal point instead of a decimal comma.

    A cell of text that has a point is then no number: ``1.500`` may be 1500 where commas part
    decimals.

    Args:
        column: Text or numbers. Shape: ``(rows,)``.
        decimal: The decimal separator of the text, ``.`` or ``,``.

    Example:
        >>> import pyarrow as pa
        >>> with_points(pa.array(["1,5", "2", "1.500"]), ",").to_pylist()
        ['1.5', '2', '1_500']
        >>> with_points(pa.array([1.5]), ",").to_pylist()
        ['1.5']
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = plain(column)
    shown = texts(cells)
    if decimal == "." or not (
        pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)
    ):
        return shown
    return pc.replace_substring(pc.replace_substring(shown, ".", "_"), ",", ".")


def have_commas(column: Any) -> bool:
    """Whether all cells of text are numbers and some of them have a decimal comma.

    Example:
        >>> import pyarrow as pa
        >>> have_commas(pa.array(["1,5", "2"])), have_commas(pa.array(["1,5", "red"]))
        (True, False)
    """
    import pyarrow.compute as pc

    cells = pc.utf8_trim_whitespace(pc.drop_null(texts(column)))
    commas = pc.match_substring_regex(cells, _COMMA)
    either = pc.or_(commas, pc.match_substring_regex(cells, _NUMBER))
    return bool(pc.any(commas).as_py() and pc.all(either).as_py())


def numbers(column: Any, decimal: str = ".") -> tuple[Array, np.ndarray]:
    """Cells that are numbers, as text, and their values.

    Args:
        column: Text or numbers. Shape: ``(rows,)``.
        decimal: The decimal separator of text, ``.`` or ``,``.

    Returns:
        Text with decimal points and without spaces around it, and float64, NaN where a cell is
        missing or no finite number. Shape of both: ``(rows,)``.

    Example:
        >>> import pyarrow as pa
        >>> numbers(pa.array(["1", " 2.50", "1,5", ""]))[1].tolist()
        [1.0, 2.5, nan, nan]
        >>> numbers(pa.array(["1,5", "1.500"]), ",")[1].tolist()
        [1.5, nan]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = with_points(column, decimal)
    try:
        values = cells.cast(pa.float64())
    except pa.ArrowInvalid:
        cells = pc.utf8_trim_whitespace(cells)
        good = pc.match_substring_regex(cells, _NUMBER)
        values = pc.if_else(good, cells, None).cast(pa.float64())
    found = values.to_numpy(zero_copy_only=False).astype(np.float64, copy=True)
    found[~np.isfinite(found)] = np.nan
    return cells, found


# ---- times -----------------------------------------------------------------------------------


class Times:
    """Times of a column, piece by piece; the first piece decides what they are.

    Epochs stay as they are, digit by digit. ISO times become seconds since 1970 in UTC, with
    decimals only where a cell has them.

    Args:
        form: Format of ``strptime`` for other texts.

    Attributes:
        said: What the times were found to be, in words.
    """

    def __init__(self, form: str | None = None) -> None:
        self.form, self.said = form, ""
        self._unit: str | None = None
        self._latest = time.time() + _DAY

    def read(self, column: Any) -> tuple[Array, Mask]:
        """Cells as numbers in text, and which are no time. Shape of both: ``(rows,)``."""
        import pyarrow as pa

        cells = plain(column)
        if pa.types.is_timestamp(cells.type) or pa.types.is_date(cells.type):
            micro = cells.cast(pa.timestamp("us", getattr(cells.type, "tz", None)), safe=False)
            return self._of_micro(micro.cast(pa.int64()), "dates and times")
        if self._unit is None:
            self._unit = self._guess(cells)
        if self._unit == "iso":
            return self._of_text(texts(cells))
        shown, values = numbers(cells)
        if self._unit == "order":
            return shown, np.isnan(values)
        scale = _UNITS[self._unit]
        good = (values >= _YEAR * scale) & (values <= self._latest * scale)
        return shown, ~good

    def _guess(self, cells: Array) -> str:
        values = numbers(cells)[1]
        some = values[np.isfinite(values)]
        if self.form or len(some) < len(values) / 2:
            self.said = f"times as {self.form}" if self.form else "ISO times, in seconds now"
            return "iso"
        middle = np.median(some)
        if middle < _YEAR:
            self.said = "numbers that are not dates: kept as they are"
            return "order"
        unit = [name for name, scale in _UNITS.items() if middle >= _YEAR * scale][-1]
        self.said = f"epochs in {unit}, kept as they are"
        return unit

    def _of_text(self, cells: Array) -> tuple[Array, Mask]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.form is None:
            for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
                try:
                    return self._of_micro(cells.cast(kind).cast(pa.int64()), self.said)
                except pa.ArrowInvalid:
                    continue
        import pandas as pd  # slower, but it tells bad cells from good ones

        how = {"format": self.form or "ISO8601", "utc": True, "errors": "coerce"}
        parsed = pd.to_datetime(pc.utf8_trim_whitespace(cells).to_pandas(), **how)
        micro = pa.array(parsed.dt.tz_localize(None).astype("datetime64[us]"))
        return self._of_micro(micro.cast(pa.int64()), self.said)

    def _of_micro(self, micro: Array, said: str) -> tuple[Array, Mask]:
        import pyarrow as pa
        import pyarrow.compute as pc

        self.said = said
        values = pc.fill_null(micro, -1).to_numpy(zero_copy_only=False)
        bad = (values < _YEAR * 10**6) | (values > self._latest * 10**6)
        values = np.where(bad, 0, values)
        seconds, rest = np.divmod(values, 10**6)
        shown = pa.array(seconds).cast(pa.string())
        if rest.any():
            decimals = np.char.rstrip(np.char.zfill(rest.astype(str), 6), "0")
            decimals = np.where(rest > 0, np.char.add(".", decimals), "")
            shown = pc.binary_join_element_wise(shown, pa.array(decimals.tolist()), "")
        return shown, bad


# ---- kinds -----------------------------------------------------------------------------------


def guess_kind(column: Any, category: bool = False) -> tuple[str, str]:
    """The kind of a column of users or items, and the separator of lists in its cells.

    Numbers are ``float``, unless one begins with a zero that a number would not have. Text whose
    parts between ``|`` or ``;`` come up again is ``token_seq``.

    Args:
        column: All of its cells. Shape: ``(rows,)``.
        category: Whether it holds names, whatever they look like.

    Example:
        >>> import pyarrow as pa
        >>> guess_kind(pa.array(["Action|Comedy", "Comedy", "Drama|Action"]))
        ('token_seq', '|')
        >>> guess_kind(pa.array(["12.5", ""])), guess_kind(pa.array(["007", "12"]))
        (('float', '|'), ('token', '|'))
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = plain(column)
    if pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type):
        inner = cells.type.value_type
        number = pa.types.is_floating(inner) or pa.types.is_integer(inner)
        return ("float_seq" if number and not category else "token_seq"), "|"
    if pa.types.is_floating(cells.type) or pa.types.is_integer(cells.type):
        return ("token" if category else "float"), "|"
    cells = pc.drop_null(texts(cells))
    if not len(cells):
        return "token", "|"
    number = pc.all(pc.match_substring_regex(pc.utf8_trim_whitespace(cells), _NUMBER)).as_py()
    coded = number and pc.any(pc.match_substring_regex(cells, _CODE)).as_py()
    if number and not coded and not category:
        return "float", "|"
    for cut in _CUTS:
        share = pc.mean(pc.match_substring(cells, cut).cast(pa.float64())).as_py()
        if share >= _SHARE or (category and share > 0):
            parts = pc.list_flatten(pc.split_pattern(pc.unique(cells), cut))
            if category or pc.count_distinct(parts).as_py() < len(parts):
                return "token_seq", cut
    return "token", "|"


def kind_of(
    column: Any, told: str | None, category: bool = False, decimal: str = "."
) -> tuple[str, str]:
    """The kind of a column, given or guessed, and the separator of lists in its cells.

    Args:
        column: As for :func:`guess_kind`.
        told: The kind that the user names; None guesses.
        category: As for :func:`guess_kind`.
        decimal: The decimal separator of text, ``.`` or ``,``.
    """
    commas = decimal == "," and not category and have_commas(column)
    kind, cut = ("float", "|") if commas else guess_kind(column, category)
    if told and told.endswith("seq") and not kind.endswith("seq"):
        cut = cut_of(column)
    return told or kind, cut


def cut_of(column: Any) -> str:
    """The separator of lists in cells of text that the user calls lists.

    Example:
        >>> import pyarrow as pa
        >>> cut_of(pa.array(["Bars, Cafes", "Bars"])), cut_of(pa.array(["bars cafes"]))
        (',', ' ')
    """
    import pyarrow.compute as pc

    cells = texts(column)
    cuts = (cut for cut in f"{_CUTS}," if pc.any(pc.match_substring(cells, cut)).as_py())
    return next(cuts, " ")


def read_kinds(kinds: Any) -> dict[str, str]:
    """Read kinds that a user names, as ``genres:token_seq,year:float``.

    Raises:
        OptionError: If one is no kind.
    """
    if not kinds:
        return {}
    pairs = kinds.items() if isinstance(kinds, dict) else (k.rpartition(":")[::2] for k in kinds)
    read = dict(pairs)
    for name, kind in read.items():
        if not name or kind not in COLUMN_TYPES:
            allowed = f"COLUMN:KIND is expected, with a kind of {', '.join(COLUMN_TYPES)}"
            raise OptionError("kinds", f"{name}:{kind}".strip(":"), allowed)
    return read


def _parts_of(cells: Array, cut: str) -> Array:
    """Lists of text; a cell that is missing is an empty list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type):
        flat = texts(pc.list_flatten(cells))
        kept = mask_of(pc.is_valid(flat))
        parents = pc.list_parent_indices(cells).to_numpy()
    else:
        lists = pc.split_pattern(pc.fill_null(texts(cells), ""), cut)
        flat = pc.utf8_trim_whitespace(pc.list_flatten(lists))
        kept = mask_of(pc.not_equal(flat, ""))
        parents = pc.list_parent_indices(lists).to_numpy()
    counts = np.bincount(parents[kept], minlength=len(cells))
    offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat.filter(pa.array(kept)))


def sequences(column: Any, cut: str) -> Array:
    """Cells as lists of text. Shape: ``(rows,)``, each of any length."""
    return _parts_of(plain(column), cut)


def free_mark(lists: list[Array]) -> str:
    """The separator of sequences in a dataset: a space, or the first sign that no part has."""
    held = b"".join(bytes(bytes_of(plain(parts.flatten()))) for parts in lists)
    return next((mark for mark in " |;~^" if mark.encode() not in held), " ")


def join_sequences(lists: Array, mark: str, told: Callable[[int], None]) -> Array:
    """Lists as cells of an atomic file; a mark in a part becomes ``_``, and is counted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    flat = plain(lists.flatten())
    odd = pc.or_(pc.match_substring(flat, mark), pc.match_substring_regex(flat, r"[\t\n\r\x00]"))
    count = pc.sum(odd).as_py() or 0
    if count:
        told(count)
        flat = pc.replace_substring(without_marks(flat), mark, "_")
        lists = pa.ListArray.from_arrays(lists.offsets, flat)
    return pc.binary_join(lists, mark)


def refuse_numbers(lists: Array) -> Mask:
    """Which cells of a ``float_seq`` hold a part that is no number. Shape: ``(rows,)``."""
    import pyarrow.compute as pc

    bad = np.isnan(numbers(lists.flatten())[1])
    parents = pc.list_parent_indices(lists).to_numpy()
    return np.bincount(parents[bad], minlength=len(lists)) > 0
