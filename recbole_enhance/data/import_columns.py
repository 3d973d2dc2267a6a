"""Columns of users' tables on their way into atomic files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from recbole_enhance.data.bad_rows import BadRows, Check
from recbole_enhance.data.cells import (
    Column,
    Times,
    atomic_name,
    have_commas,
    join_sequences,
    joined,
    kind_of,
    marked,
    mask_of,
    numbers,
    plain,
    refuse_numbers,
    sequences,
    texts,
    without_marks,
)
from recbole_enhance.data.tables import Piece, Table
from recbole_enhance.options.errors import DataError, InputError, OptionError

_TIME = "timestamp"
_MERGED = 16  # pieces whose ids are numbered together
_WRONG_TIME = (
    "an ISO time or an epoch is expected, from 1971 to tomorrow and all in one unit "
    "(--time_format=%d.%m.%Y reads 31.12.2025; %H is the hour, %M the minute, %S the second)"
)


class Ids:
    """Numbers the ids of a column in order of appearance; keeps the ids, and not the rows."""

    def __init__(self) -> None:
        import pyarrow as pa

        self._known = pa.array([], pa.string())
        self._waiting: list[Any] = []
        self._codes: list[np.ndarray] = []

    def add(self, cells: Any) -> None:
        """Number the ids of a piece. Shape: ``(rows,)``, none missing."""
        self._waiting.append(cells.dictionary_encode())
        if len(self._waiting) == _MERGED:
            self._merge()

    def _merge(self) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._waiting:
            return
        chunks = pa.chunked_array(self._waiting).unify_dictionaries().chunks
        self._waiting = []
        local = chunks[0].dictionary
        place = pc.fill_null(pc.index_in(local, value_set=self._known), -1).to_numpy()
        fresh = np.flatnonzero(place < 0)
        place = place.copy()
        place[fresh] = len(self._known) + np.arange(len(fresh))
        self._known = pa.concat_arrays([self._known, local.take(pa.array(fresh))])
        self._codes += [place[chunk.indices.to_numpy()].astype(np.int32) for chunk in chunks]

    def codes(self) -> np.ndarray:
        """Number of each row's id; they are then forgotten here. Shape: ``(rows,)``."""
        self._merge()
        codes = np.concatenate([np.zeros(0, dtype=np.int32), *self._codes])
        self._codes = []
        return codes

    def __len__(self) -> int:
        self._merge()
        return len(self._known)

    def missing_in(self, others: Any) -> int:
        """How many of the ids are not among others."""
        import pyarrow.compute as pc

        self._merge()
        return len(self._known) - (pc.sum(pc.is_in(self._known, value_set=others)).as_py() or 0)


class Writer:
    """Writes an atomic file.

    Args:
        file: The file.
        mark: Separator of sequences.
        form_of_times: Format of times that are not ISO.
        decimal: The decimal separator of text, ``.`` or ``,``.
    """

    def __init__(
        self, file: BinaryIO, mark: str, form_of_times: str | None = None, decimal: str = "."
    ) -> None:
        self.file, self.mark, self.form_of_times = file, mark, form_of_times
        self.decimal = decimal
        self._changed: Counter[str] = Counter()

    def header(self, columns: Sequence[Column]) -> None:
        """Write the first line."""
        line = "\t".join(f"{column.name}:{column.kind}" for column in columns)
        self.file.write(line.encode() + b"\n")

    def rows(self, cells: Sequence[Any]) -> None:
        """Write a piece."""
        if len(cells[0]):
            self.file.write(joined(list(cells)))

    def convert(
        self,
        piece: Piece,
        columns: Sequence[Column],
        required: Sequence[str],
        times: Times | None = None,
    ) -> tuple[list[Any], list[Check]]:
        """Convert cells to what is written, and collect checks for bad rows.

        Args:
            piece: Rows of the table.
            columns: What to write.
            required: Names of those of which no cell may be missing.
            times: Reads the column of times.

        Returns:
            Texts, ``(rows,)`` each, and the checks.
        """
        written, checks = [], []
        for column in columns:
            cells, found = self._convert(piece, column, column.name in required, times)
            written.append(cells)
            checks += found
        return written, checks

    def _convert(
        self, piece: Piece, column: Column, required: bool, times: Times | None
    ) -> tuple[Any, list[Check]]:
        source, kind = column.source, column.kind
        cells = cells_of(piece, source)
        if times is not None and column.name == _TIME:
            shown, wrong = times.read(cells)
            return shown, [Check(source, wrong, _WRONG_TIME, cells)]
        if kind.endswith("seq"):
            lists = sequences(cells, column.cut)
            found = []
            if kind == "float_seq":
                found = [Check(source, refuse_numbers(lists), "numbers are expected", cells)]
            return join_sequences(lists, self.mark, lambda n: self._change(source, n)), found
        if kind == "float":
            shown, values = numbers(cells, self.decimal)
            wrong = np.isnan(values)
            problem = "a number is expected"
            if self.decimal == "." and wrong.any() and have_commas(cells):
                problem += " (--decimal=, reads numbers with a decimal comma)"
            if not required:
                wrong &= mask_of(shown.is_valid())
                problem += f"; --kinds={source}:token takes words"
            return shown, [Check(source, wrong, problem, cells)]
        shown = texts(cells)
        found = [Check(source, mask_of(shown.is_null()), "is missing", cells)] if required else []
        odd = marked(shown)
        if odd is not None and required:
            found.append(Check(source, odd, "an id must not contain a tab or a line end", cells))
        elif odd is not None:
            self._change(source, int(odd.sum()))
            shown = without_marks(shown)
        return shown, found

    def _change(self, source: str, cells: int) -> None:
        self._changed[source] += cells

    def notes(self) -> list[str]:
        """What was changed between the table and the file."""
        return [
            f"{source}: {n:,} cells had a tab, a line end or {self.mark!r} in a list: "
            "written with a space or _ in its place"
            if self.mark != " "
            else f"{source}: {n:,} cells had a tab or a line end, or a space in a list: "
            "written with a space or _ in its place"
            for source, n in self._changed.items()
        ]


def cells_of(piece: Piece, source: str) -> Any:
    """Cells of a column, which all objects of JSON lines may lack. Shape: ``(rows,)``."""
    import pyarrow as pa

    if source not in piece.column_names:
        return pa.nulls(len(piece), pa.string())
    return plain(piece[source])


def mentions_checks(piece: Piece, columns: Sequence[Column], names: tuple[str, str]) -> list[Check]:
    """Refuse rows whose features and sentiments do not pair up, or are not 1 and -1."""
    by_name = {column.name: column for column in columns}
    if names[0] not in by_name:
        return []
    feature, sentiment = (by_name[name] for name in names)
    lists = [sequences(cells_of(piece, c.source), c.cut) for c in (feature, sentiment)]
    lengths = [np.diff(parts.offsets.to_numpy()) for parts in lists]
    values = numbers(lists[1].flatten())[1]
    rows = np.repeat(np.arange(len(piece)), lengths[1])
    odd = np.bincount(rows[~np.isin(values, (1.0, -1.0))], minlength=len(piece)) > 0
    cells = cells_of(piece, sentiment.source)
    return [
        Check(sentiment.source, odd, "sentiments are 1 or -1", cells),
        Check(
            sentiment.source,
            lengths[0] != lengths[1],
            f"one sentiment is expected for each feature in {feature.source}",
            cells,
        ),
    ]


class Side:
    """A table beside the log, read whole: of items, users, triples or links.

    Args:
        table: Where it is from.
        columns: What is written.
        whole: Its rows.
        skip: Whether bad rows are left out.
        keyed: Whether the first column has each id once; else all cells are needed.

    Attributes:
        table: Where it is from.
        columns: What is written.
        ids: Its first column's ids. Shape: ``(rows,)``.
        notes: Remarks for the user.
    """

    def __init__(
        self, table: Table, columns: list[Column], whole: Piece, skip: bool, keyed: bool = True
    ) -> None:
        self.table, self.columns = table, columns
        self.notes: list[str] = []
        self.ids: Any = None
        self._whole, self._skip, self._keyed = whole, skip, keyed

    def lists(self) -> list[Any]:
        """Its sequences of text, to find a separator for them."""
        return [
            sequences(self._whole[column.source], column.cut)
            for column in self.columns
            if column.kind == "token_seq"
        ]

    def write(self, writer: Writer) -> None:
        """Check and write it.

        Raises:
            DataError: At the first bad row, unless those are left out.
        """
        import pyarrow.compute as pc

        bad = BadRows(self.table, self._skip)
        required = [column.name for column in self.columns][: 1 if self._keyed else None]
        cells, checks = writer.convert(self._whole, self.columns, required)
        key = self.columns[0].source
        if self._keyed:
            codes = cells[0].dictionary_encode().indices.to_numpy(zero_copy_only=False)
            again = np.ones(len(codes), dtype=bool)
            again[np.unique(codes, return_index=True)[1]] = False
            again &= mask_of(cells[0].is_valid())
            checks.append(Check(key, again, "has a row already", cells[0]))
        good = bad.judge(checks, len(self._whole))
        if good is not None:
            cells = [column.filter(good) for column in cells]
        writer.header(self.columns)
        writer.rows(cells)
        self.ids = pc.unique(cells[0])
        self.notes += [*bad.finish(), *writer.notes()]

    def features(self, unique: float) -> list[str]:
        """Columns of text whose values occur in several rows, and so may be features.

        Args:
            unique: Share of distinct cells from which a column holds names, and no feature.
        """
        import pyarrow.compute as pc

        return [
            column.name
            for column in self.columns[1:]
            if column.kind == "token_seq"
            or (
                column.kind == "token"
                and pc.count_distinct(texts(self._whole[column.source])).as_py()
                <= unique * len(self._whole)
            )
        ]


def read_side(
    table: Table,
    key: tuple[str, str],
    name: str,
    kinds: Mapping[str, str],
    named: Sequence[tuple[str, str]] = (),
    title: tuple[str, str] | None = None,
    category: str | None = None,
    skip: bool = False,
    decimal: str = ".",
) -> Side:
    """Read a table of items or users, and guess the kinds of its columns.

    Args:
        table: The table.
        key: The option that names its column of ids, and the column.
        name: What the ids are called in the atomic file.
        kinds: Column -> its kind, where it is not to be guessed.
        named: Options, and the columns that they name: these hold text, whatever it looks like.
        title: The column of titles, and what it is called in the atomic file.
        category: The one of them that may hold lists.
        skip: Whether bad rows are left out.
        decimal: The decimal separator of text, ``.`` or ``,``.

    Raises:
        InputError: If a column is not there, or twice.
    """
    for option, column in (key, *named):
        table.require(option, column)
    table.refuse_twins()
    order = [key[1], *(column for column in table.columns if column and column != key[1])]
    whole, columns, tokens = _whole(table, order), [Column(key[1], name, "token")], dict(named)
    commas = []
    for source in (column for column in order[1:] if column in whole.column_names):
        told = source in tokens.values()
        kind, cut = kind_of(whole[source], kinds.get(source), told, decimal)
        if kind == "token" and not told and source not in kinds and have_commas(whole[source]):
            commas.append(source)
        if told and source != category and source not in kinds:
            kind = "token"
        called = title[1] if title and source == title[0] else atomic_name(source)
        columns.append(Column(source, called, kind, cut))
    refuse_clashes(table.name, columns)
    side = Side(table, columns, whole, skip)
    side.notes += [
        f"{source}: numbers with a decimal comma are kept as text; --decimal=, reads them"
        for source in commas
    ]
    return side


def read_graph(table: Table, option: str, names: Sequence[str], skip: bool) -> Side:
    """Read the triples of a knowledge graph, or its links with items, in this order of columns.

    Raises:
        InputError: If it has more or fewer columns.
    """
    if len(table.columns) != len(names):
        allowed = f"{len(names)} columns are expected: {', '.join(names)}"
        raise OptionError(option, table.name, f"{allowed}; it has {', '.join(table.columns)}")
    table.refuse_twins()
    columns = [Column(source, name, "token") for source, name in zip(table.columns, names)]
    return Side(table, columns, _whole(table, table.columns), skip, keyed=False)


def _whole(table: Table, columns: Sequence[str]) -> Piece:
    import pyarrow as pa

    pieces = list(table.pieces(list(columns)))
    if not pieces:
        raise DataError(table.name, "has no rows")
    try:
        return pa.concat_tables(pieces, promote_options="permissive")
    except pa.ArrowException:  # numbers in one piece, words in another
        same = [pa.table({n: texts(p[n]) for n in p.column_names}) for p in pieces]
        return pa.concat_tables(same, promote_options="default")


def refuse_clashes(table: str, columns: Sequence[Column]) -> None:
    """Refuse two columns that would have one name.

    Raises:
        InputError: Naming both.
    """
    names: dict[str, str] = {}
    for column in columns:
        if column.name in names:
            raise InputError(
                f"{table}: columns {names[column.name]!r} and {column.source!r} would both be "
                f"{column.name} in the dataset: rename one of them, or use it once"
            )
        names[column.name] = column.source
