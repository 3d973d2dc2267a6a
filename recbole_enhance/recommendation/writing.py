"""Writes tables piece by piece; the file appears when it is complete."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_enhance.storage.files import temporary_name
from recbole_enhance.storage.tables import neutral_table

ENDINGS = (".csv", ".parquet", ".jsonl")
VECTOR = "vector"  # the column of vectors
Write = Callable[[pd.DataFrame], None]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name, which becomes the file only when the block has succeeded."""
    temporary = path.with_name(temporary_name(path.name))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def growing_table(path: Path) -> Iterator[Write]:
    """Open a table for pieces that all have the same columns.

    Args:
        path: Ends in one of :data:`ENDINGS`; appears when the block has succeeded.

    Yields:
        A function that adds a piece.
    """
    opened = _parquet if path.suffix == ".parquet" else _text
    with replacing(path) as temporary, opened(temporary, path.suffix) as write:
        yield write


@contextlib.contextmanager
def _text(path: Path, ending: str) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        empty = True

        def write(piece: pd.DataFrame) -> None:
            nonlocal empty
            if ending == ".csv":
                neutral_table(piece).to_csv(file, index=False, header=empty, lineterminator="\n")
            elif len(piece):
                piece.to_json(file, orient="records", lines=True, force_ascii=False)
            empty = False

        yield write


@contextlib.contextmanager
def _parquet(path: Path, _: str) -> Iterator[Write]:
    import pyarrow
    from pyarrow import parquet

    writer: Any = None

    def write(piece: pd.DataFrame) -> None:
        nonlocal writer
        table = pyarrow.Table.from_pydict({name: _column(piece[name]) for name in piece})
        if writer is None:
            # A dictionary of scores, which all differ, would save nothing. Without the schema,
            # columns with a dictionary are read back as text.
            listed = [name for name in piece if name not in ("score", VECTOR)]
            writer = parquet.ParquetWriter(
                path,
                table.schema,
                use_dictionary=listed,
                store_schema=False,
                write_statistics=False,
            )
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _column(column: pd.Series) -> Any:
    """A column of one type in all pieces, also in one without rows."""
    import pyarrow

    if column.dtype == "category":
        codes = pyarrow.array(column.cat.codes.to_numpy(np.int32))
        tokens = pyarrow.array(column.cat.categories.astype(object), pyarrow.string())
        return pyarrow.DictionaryArray.from_arrays(codes, tokens)
    if column.name == VECTOR:
        return pyarrow.array(column, pyarrow.list_(pyarrow.float32()))
    return pyarrow.array(column, pyarrow.string() if column.dtype == object else None)
