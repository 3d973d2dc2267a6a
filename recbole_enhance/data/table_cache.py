"""A cache of tables that were read from atomic files, so that the next run need not read them.

A file of the cache is named by a hash of the atomic file's bytes and of all that decides what is
read from it (:mod:`.kept_parts` keeps what is made of the tables in the same folder). It is numpy's
own format without pickled objects, written whole or not at all, so that processes may share the
folder. One that cannot be read is made anew.
"""

import contextlib
import hashlib
import json
import logging
import os
import time
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from recbole_enhance.data.atomic import file_sha256
from recbole_enhance.data.packed import Texts
from recbole_enhance.data.reading import lacking, read_atomic, read_header
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.files import temporary_name

logger = logging.getLogger("recbole_enhance")
_VERSION = 1  # of what the reader makes of a file, and of the files here
LEAST = 1 << 20  # bytes of a file that is worth it
_MOST = 8 << 30  # bytes of the folder; the files that were not used for longest go
_LEFT_OVER = 24 * 3600  # seconds after which no process still writes a file
_ORDER = "columns"
_NEVER = "never"
_DAMAGE = (
    *(OSError, ValueError, TypeError, AttributeError, LookupError, EOFError, RuntimeError),
    zipfile.BadZipFile,
)
_Read = TypeVar("_Read")


def cache_folder(option: str | None) -> Path | None:
    """The folder that ``data_cache`` names; None keeps nothing.

    Args:
        option: None for the user's cache, ``never``, or a folder.

    Raises:
        OptionError: If it is a file.
    """
    if option == _NEVER:
        return None
    if option is not None:
        if Path(option).exists() and not Path(option).is_dir():
            raise OptionError("data_cache", option, f"a folder or {_NEVER} is expected")
        return Path(option)
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home, "recbole_enhance", "tables")


def read_through(
    folder: Path | None,
    path: Path,
    columns: Collection[str],
    *,
    separator: str = "\t",
    seq_separator: str = " ",
    encoding: str | None = None,
    required: Collection[str] = (),
    coded: bool = False,
) -> pd.DataFrame:
    """Read columns of an atomic file, from the cache if they are there; then they are.

    Args:
        folder: Of the cache; None reads the file.
        path: The file.
        columns: See :func:`read_atomic`, as the others.
        separator: Of cells.
        seq_separator: Of the parts of a sequence.
        encoding: Of the file.
        required: Columns without a missing cell.
        coded: Whether tokens are categorical.

    Returns:
        The same table as :func:`read_atomic` gives.

    Raises:
        InputError: As :func:`read_atomic`.
    """
    how: dict[str, Any] = {
        "separator": separator,
        "seq_separator": seq_separator,
        "encoding": encoding,
        "coded": coded,
    }
    if folder is None or not path.is_file() or path.stat().st_size < LEAST:
        return read_atomic(path, columns, required=required, **how)
    before = _state(path)
    kinds = read_header(path, separator, encoding)
    asked: dict[str, Any] = {
        "columns": [[c, kinds[c]] for c in kinds if c in columns],
        "version": _VERSION,
        **how,
    }
    content = file_sha256(path)
    name = hashlib.sha256(f"{content} {json.dumps(asked)}".encode()).hexdigest()
    kept = folder / f"{name}.npz"
    table = _load(kept, [c for c, _ in asked["columns"]], coded)
    if table is not None and not any(lacking(table[c]).any() for c in required):
        logger.debug("%s: taken from %s", path, kept)
        return table
    table = read_atomic(path, columns, required=required, **how)
    if _state(path) == before:  # else the name may be that of other bytes
        _keep(kept, table, coded)
    return table


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _load(path: Path, names: list[str], coded: bool) -> pd.DataFrame | None:
    def table(arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
        if _words(arrays[_ORDER]) != names:
            raise ValueError("it has other columns")
        columns = {
            name: pd.Series(_unpacked(arrays, str(number), coded), copy=False)
            for number, name in enumerate(names)
        }
        if len({len(column) for column in columns.values()}) > 1:
            raise ValueError("its columns differ in length")
        return pd.DataFrame(columns, copy=False)

    return read_arrays(path, table)


def _keep(path: Path, table: pd.DataFrame, coded: bool) -> None:
    arrays: dict[str, Any] = {_ORDER: _bytes(list(table))}
    for number, name in enumerate(table):
        arrays.update(_packed(table[name], str(number)))
    write_arrays(path, arrays)


def read_arrays(path: Path, read: Callable[[Mapping[str, np.ndarray]], _Read]) -> _Read | None:
    """Read a file of the cache; None if it is missing or, with a warning, damaged.

    Args:
        path: The file.
        read: Makes something of its arrays, which are read when they are asked for; or None.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = read(arrays)
        if found is not None:
            with contextlib.suppress(OSError):
                os.utime(path)  # it was used
        return found
    except _DAMAGE as error:
        logger.warning("%s: cannot be read (%s); it is built again", path, error)
        return None


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a file of the cache; if that fails, warn and go on."""
    temporary = path.with_name(temporary_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.unlink(missing_ok=True)  # of a killed process with the same id
        with open(temporary, "xb") as file:
            np.savez(file, **arrays)
        os.replace(temporary, path)
        _prune(path)
    except OSError as error:
        logger.warning("data_cache: nothing is kept in %s (%s)", path.parent, error.strerror)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _prune(newest: Path) -> None:
    """Remove what was not used for longest, until the folder is small enough."""
    files = []
    for path in newest.parent.glob(".*.tmp"):  # of killed processes
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _LEFT_OVER:
                path.unlink()
    for path in newest.parent.glob("*.npz"):
        with contextlib.suppress(OSError):  # another process removes as well
            files.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= _MOST or path == newest:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size


# ---- columns as arrays ---------------------------------------------------------------------------


def _packed(column: pd.Series, key: str) -> dict[str, np.ndarray]:
    """The arrays of a column; those of texts are numbers of texts, and the texts."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, texts = column.cat.codes.to_numpy(), column.cat.categories
        return {f"{key}.codes": codes, f"{key}.texts": _bytes(list(texts))}
    if column.dtype != object:
        return {f"{key}.numbers": column.to_numpy()}
    values = column.to_numpy()
    if len(values) and isinstance(values[0], np.ndarray):
        stops = np.fromiter(map(len, values), np.int64, len(values)).cumsum()
        flat = np.concatenate(values)
        if flat.dtype != object:
            return {f"{key}.stops": stops, f"{key}.numbers": flat}
    else:
        stops, flat = None, values
    codes, texts = pd.factorize(flat)
    packed = {f"{key}.codes": codes.astype(np.int32), f"{key}.texts": _bytes(list(texts))}
    return packed if stops is None else {f"{key}.stops": stops, **packed}


def _unpacked(arrays: Mapping[str, np.ndarray], key: str, coded: bool) -> Any:
    if f"{key}.numbers" in arrays:
        flat: Any = arrays[f"{key}.numbers"]
    else:
        codes, words = arrays[f"{key}.codes"], _words(arrays[f"{key}.texts"])
        texts = np.empty(len(words), dtype=object)
        texts[:] = words
        if len(codes) and not (codes.min() >= -1 and codes.max() < len(texts)):
            raise ValueError("it has numbers of texts that are not there")
        flat = Texts(codes, texts)
        if coded and f"{key}.stops" not in arrays:
            return flat.categorical()
        flat = flat.objects()
    if f"{key}.stops" not in arrays:
        return flat
    stops = arrays[f"{key}.stops"]
    starts = np.append(0, stops[:-1])
    if len(stops) and (stops[-1] != len(flat) or (stops < starts).any()):
        raise ValueError("its sequences do not add up")
    pieces = map(slice, starts.tolist(), stops.tolist())
    return pd.Series(list(map(flat.__getitem__, pieces)), dtype=object)


def _bytes(words: list[str]) -> np.ndarray:
    """Words, none of which has a line feed."""
    return np.frombuffer("".join(f"{word}\n" for word in words).encode(), np.uint8)


def _words(content: np.ndarray) -> list[str]:
    return content.tobytes().decode().split("\n")[:-1]
