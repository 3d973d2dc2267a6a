"""Columns of a table of text, read eight bytes at a time: no string is made of a cell.

A cell is one or more machine words. Equal words are equal texts, so that texts are numbered, and
digits become numbers, by arithmetic on whole columns.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

_MOST_BYTES = 64  # of a cell; longer texts are rarely equal
_MOST_DIGITS = 18  # int64 holds any number of so many
_EXACT_DIGITS = 15  # of a decimal: they and a power of ten are exact, and one division rounds
_PIECE = 1 << 18  # rows whose texts are numbered together: few words are kept of a long file
_LF, _CR = 10, 13
_WORD = np.dtype("<u8")  # the first byte of a text is the lowest one
_KEEP = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=np.uint64)  # the lowest n bytes
_ZEROS = np.uint64(0x3030303030303030)  # the text "00000000"
_HIGH = np.uint64(0xF0F0F0F0F0F0F0F0)
_SIX = np.uint64(0x0606060606060606)
_PAIRS = np.uint64(0x000000FF000000FF)
_ONE, _EIGHT, _TEN = np.uint64(1), np.uint64(8), np.uint64(10)
_POINT = ord(".")


class Texts(NamedTuple):
    """A column of texts.

    Attributes:
        codes: Number of each cell's text, in the order of first appearance; -1 where the cell is
            empty. Shape: ``(rows,)``, int32.
        texts: The texts. Shape: ``(texts,)``, objects.
    """

    codes: np.ndarray
    texts: np.ndarray

    def categorical(self) -> pd.Categorical:
        """The column as pandas has it."""
        names = pd.Index(self.texts, dtype=object)
        return pd.Categorical.from_codes(self.codes, categories=names, validate=False)

    def objects(self) -> np.ndarray:
        """The text of each cell, NaN where it is empty. Shape: ``(rows,)``."""
        return np.append(self.texts, np.array([np.nan], dtype=object))[self.codes]


def read_columns(
    blocks: Iterable[memoryview],
    separator: str,
    width: int,
    texts: Iterable[int],
    numbers: Iterable[int],
    rows: int,
    all_or_none: bool = False,
) -> tuple[dict[int, Texts], dict[int, np.ndarray]] | None:
    r"""Read columns, as far as their cells are short texts, or numbers without a sign.

    Args:
        blocks: Pieces of whole lines, which end with LF or CR LF; the first line is not read.
        separator: One ASCII character.
        width: Cells of each line.
        texts: Columns to read as texts, from 0.
        numbers: Columns to read as numbers.
        rows: At most so many lines.
        all_or_none: Whether to stop at the first column that is not such.

    Returns:
        Column -> its texts, and column -> its numbers, int64 where all are whole, else float64;
        without those that are not such. None if a line has more or fewer cells, or is blank.

    Example:
        >>> lines = memoryview(b"user\tage\nu1\t30\nu2\t4.5\nu1\t52\n")
        >>> texts, numbers = read_columns([lines], "\t", 2, [0], [1], rows=4)
        >>> texts[0].codes.tolist(), texts[0].texts.tolist(), numbers[1].tolist()
        ([0, 1, 0], ['u1', 'u2'], [30.0, 4.5, 52.0])
    """
    # Columns are written to where they stay: many small arrays would leave holes in the memory.
    as_words = {column: _Numbering(rows) for column in texts}
    as_numbers = {column: np.empty(rows, dtype=np.int64) for column in numbers}
    wanted = len(as_words) + len(as_numbers)
    at, skip = 0, 1
    for block in blocks:
        found = _places(block, separator, width)
        if found is None:
            return None
        padded, start, length = found
        start, length = start[skip:], length[skip:]
        skip = 0
        for column, numbering in list(as_words.items()):
            size = length[:, column]
            longest = int(size.max(initial=1))
            if longest > _MOST_BYTES:
                del as_words[column]
                continue
            part = range(0, max(longest, 1), 8)
            numbering.add(
                [_words(padded, start[:, column] + at, (size - at).clip(0, 8)) for at in part]
            )
        for column in list(as_numbers):
            values = _values(padded, start[:, column], length[:, column])
            if values is None:
                del as_numbers[column]
                continue
            if values.dtype.kind == "f" and as_numbers[column].dtype.kind == "i":
                as_numbers[column] = as_numbers[column].astype(np.float64)
            as_numbers[column][at : at + len(values)] = values
        at += len(start)
        if all_or_none and len(as_words) + len(as_numbers) < wanted:
            return {}, {}
    return (
        {column: as_words.pop(column).texts() for column in list(as_words)},
        {column: values[:at] for column, values in as_numbers.items()},
    )


def _places(
    block: memoryview, separator: str, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The block as words, and start and length of each cell. Shape: ``(lines, width)``."""
    room = -(-len(block) // 8) + _MOST_BYTES // 8 + 2  # words may be read beyond the end
    padded = np.zeros(room, dtype=_WORD)
    data = padded.view(np.uint8)[: len(block)]
    data[:] = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero((data == ord(separator)) | (data == _LF))
    if len(ends) % width:
        return None
    line_ends = (data[ends] == _LF).reshape(-1, width)
    if not line_ends[:, -1].all() or line_ends[:, :-1].any():
        return None
    first = np.empty_like(ends)
    first[0], first[1:] = 0, ends[:-1] + 1
    length = (ends - first).reshape(-1, width)
    start: np.ndarray = first.reshape(-1, width)
    last = start[:, -1] + length[:, -1]
    length[:, -1] -= (length[:, -1] > 0) & (data[last - 1] == _CR)
    if width == 1 and not length.all():
        return None
    return padded, start, length


def _words(padded: np.ndarray, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Up to eight bytes from each place on, zeros after them. Shape: ``(rows,)``."""
    place = start >> 3
    shift = ((start & 7) << 3).astype(np.uint64)
    # Two aligned words hold the eight bytes. A shift by 64 is undefined, so the last bit is apart.
    low, high = padded[place] >> shift, padded[place + 1] << (np.uint64(63) - shift)
    return (low | (high << _ONE)) & _KEEP[size]


def _values(padded: np.ndarray, start: np.ndarray, length: np.ndarray) -> np.ndarray | None:
    """Numbers of cells that are digits, with a point between them or none; None if one is not."""
    whole = _digits(padded, start, length)
    if whole is not None:
        return whole
    data = padded.view(np.uint8)
    points = np.flatnonzero(data == _POINT)
    if not len(points) or not len(length) or length.max() > _MOST_DIGITS:
        return None
    after = np.searchsorted(points, start)
    point = points[after.clip(max=len(points) - 1)]
    has = (point >= start) & (point < start + length)
    left = np.where(has, point - start, length)
    right = np.where(has, length - left - 1, 1)
    if ((left + right)[has] > _EXACT_DIGITS).any():
        return None
    before = _digits(padded, start, left)
    # A cell without a point has no digits after it; its first one stands in for them.
    rest = _digits(padded, np.where(has, point + 1, start), right)
    if before is None or rest is None:
        return None
    scale = 10 ** np.where(has, right, 0)
    return (before * scale + np.where(has, rest, 0)) / scale


def _digits(padded: np.ndarray, start: np.ndarray, length: np.ndarray) -> np.ndarray | None:
    """Numbers of cells that are digits, each 1 to 18; None if one is not. Shape: ``(rows,)``."""
    if not len(length):
        return np.empty(0, dtype=np.int64)
    longest = int(length.max())
    if longest > _MOST_DIGITS or not length.all():
        return None
    total = np.zeros(len(length), dtype=np.int64)
    for at in range(0, longest, 8):  # the last eight digits, those before them, ...
        size = (length - at).clip(0, 8)
        word = _words(padded, start + (length - at - size).clip(0), size)
        # The digits go to the highest bytes, and zeros before them: eight digits.
        gap = 8 - size
        word = np.where(size > 0, word << (gap.clip(max=7) * 8).astype(np.uint64), np.uint64(0))
        word |= _ZEROS & _KEEP[gap]
        if ((word & _HIGH) != _ZEROS).any() or (((word + _SIX) & _HIGH) != _ZEROS).any():
            return None
        word -= _ZEROS
        word = word * _TEN + (word >> _EIGHT)  # two digits in each second byte
        word = (
            (word & _PAIRS) * np.uint64(0x000F424000000064)
            + ((word >> np.uint64(16)) & _PAIRS) * np.uint64(0x0000271000000001)
        ) >> np.uint64(32)
        total += word.astype(np.int64) * 10**at
    return total


class _Numbering:
    """Numbers the texts of a column in the order of first appearance, piece by piece.

    Args:
        rows: At most so many.
    """

    def __init__(self, rows: int) -> None:
        self._blocks: list[list[np.ndarray]] = []
        self._codes = np.empty(rows, dtype=np.int32)
        self._begun = self._stop = 0  # of the piece
        self._distinct: list[list[np.ndarray]] = []
        self._stops: list[int] = []

    def add(self, words: list[np.ndarray]) -> None:
        """Add cells by their words. Shape of each: ``(rows,)``."""
        self._blocks.append(words)
        self._stop += len(words[0])
        if self._stop - self._begun >= _PIECE:
            self._number()

    def _number(self) -> None:
        codes, distinct = _numbered(_joined(self._blocks))
        self._codes[self._begun : self._stop] = codes
        self._distinct.append(distinct)
        self._stops.append(self._stop)
        self._blocks, self._begun = [], self._stop

    def texts(self) -> Texts:
        """The column; nothing can be added then."""
        if self._blocks:
            self._number()
        codes = self._codes[: self._stop]
        if not self._distinct:
            return Texts(codes, np.empty(0, dtype=object))
        numbers, distinct = _numbered(_joined(self._distinct))
        empty = np.flatnonzero(distinct[0] == 0)  # no other text begins with a zero byte
        if len(empty):
            numbers = np.where(numbers == empty[0], -1, numbers - (numbers > empty[0]))
            distinct = [np.delete(known, empty) for known in distinct]
        pieces = np.split(codes, self._stops[:-1])
        known = np.split(numbers, np.cumsum([len(words[0]) for words in self._distinct])[:-1])
        for piece, number in zip(pieces, known):
            piece[:] = number[piece]
        table = np.stack(distinct, axis=1).astype(_WORD)
        names = np.char.decode(table.view(f"S{8 * len(distinct)}")[:, 0], "utf-8").astype(object)
        return Texts(codes, names)


def _joined(blocks: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Words of all blocks behind one another, zeros where a block has shorter texts only."""
    most = max(map(len, blocks))
    return [
        np.concatenate(
            [
                block[number] if number < len(block) else np.zeros(len(block[0]), dtype=_WORD)
                for block in blocks
            ]
        )
        for number in range(most)
    ]


def _numbered(words: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Number texts in the order of first appearance.

    Args:
        words: First eight bytes of each text, those after them, ... Shape of each: ``(rows,)``.

    Returns:
        Number of each text, and the words of each number.
    """
    codes, first = pd.factorize(words[0])
    distinct = [first]
    for word in words[1:]:
        found, values = pd.factorize(word)
        # int64 holds it: both are below the number of rows.
        codes, pairs = pd.factorize(codes * len(values) + found)
        before, last = np.divmod(pairs, len(values))
        distinct = [*(known[before] for known in distinct), values[last]]
    return codes, distinct
