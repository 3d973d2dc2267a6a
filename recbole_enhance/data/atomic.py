"""Atomic files, checked before RecBole reads them.

What is missing is reported with the option that names it, not as a KeyError of pandas.
"""

import difflib
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_enhance.data.dataset_folder import NOT_IN_NAMES, refuse_path
from recbole_enhance.data.reading import read_header
from recbole_enhance.options.errors import DataError, InputError, OptionError
from recbole_enhance.options.read import printable, refuse_control

_GRAPH = {
    "kg": ("HEAD_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "TAIL_ENTITY_ID_FIELD"),
    "link": ("ITEM_ID_FIELD", "ENTITY_ID_FIELD"),
}
_MAX_LISTED = 10
_BLOCK = 1 << 20  # bytes read at a time
_SETTLED = 2 * 10**9  # nanoseconds, longer than a tick of the clock of file times
_KNOWN: dict[
    tuple[int, int, int, int, int], str
] = {}  # state of a file -> SHA-256, in this process


def check_columns(
    folder: Path,
    dataset: str,
    load_col: Mapping[str, str | Sequence[str]] | None,
    required_inter: Sequence[str],
    *,
    unload_col: Mapping[str, Sequence[str]] | None = None,
    splits: Sequence[str] = (),
    separator: str = "\t",
    encoding: str | None = None,
) -> list[str]:
    """Refuse columns that the atomic files do not have.

    Args:
        folder: The dataset's folder.
        dataset: Its name.
        load_col: RecBole's option: file suffix -> columns, or ``*`` for all; None loads all.
        required_inter: Columns that the interactions must have and load: the user id and the item
            id, which must be tokens, then any other.
        unload_col: RecBole's option: file suffix -> columns to leave out, where all are loaded.
        splits: RecBole's ``benchmark_filename``: ready-made parts ``<dataset>.<split>.inter``.
        separator: RecBole's ``field_separator``.
        encoding: RecBole's ``encoding``.

    Returns:
        The columns of the interactions that are loaded.

    Raises:
        ValueError: If a file or column is missing or an id is no token; names the option, the
            column, the file and what the file has.
    """
    inter = {
        path: read_header(path, separator, encoding)
        for path in _inter_files(folder, dataset, splits)
    }
    for path, columns in inter.items():
        _require(required_inter, columns, path, "the interactions need")
        for name in required_inter[:2]:
            if columns[name] != "token":
                raise DataError(path, f"id column {name!r} is :{columns[name]}, must be :token")
    everything = list(dict.fromkeys(name for columns in inter.values() for name in columns))
    files_of = _Files(folder, dataset, inter, separator, encoding)
    unload_col = unload_col or {}
    for suffix, names in unload_col.items():
        option = f"unload_col.{suffix}"
        if load_col is not None and load_col.get(suffix) != "*":
            listed = f"load_col loads {load_col.get(suffix) or 'none'} of these columns"
            raise OptionError(option, repr(names), f"{listed}; load_col.{suffix}='*' loads all")
        files_of.require(suffix, names, option)
        needed = [name for name in required_inter if suffix == "inter" and name in names]
        if needed:
            raise OptionError(option, repr(names), f"must not hold {needed[0]!r}")
    everything = [name for name in everything if name not in unload_col.get("inter", ())]
    if load_col is None:
        return everything
    for suffix, names in {"inter": (), **load_col}.items():
        option = f"load_col.{suffix}"
        if names != "*" and (isinstance(names, str) or not isinstance(names, Sequence)):
            raise OptionError(option, repr(names), "must be a list of columns or '*'")
        if suffix == "inter":
            unloaded = [name for name in required_inter if names != "*" and name not in names]
            if unloaded:
                raise OptionError(option, repr(list(names)), f"must hold {unloaded[0]!r}")
        files_of.require(suffix, names, option)
    chosen = load_col.get("inter", "*")
    return everything if chosen == "*" else list(chosen)


def find_dataset(data_path: Path, dataset: str, splits: Sequence[str] = ()) -> Path:
    """Find the folder of a dataset.

    Args:
        data_path: Folder that holds one folder for each dataset.
        dataset: Name of the dataset, its folder and its files.
        splits: RecBole's ``benchmark_filename``: parts that stand for the interaction file.

    Returns:
        ``data_path/dataset``.

    Raises:
        ValueError: If the name is no plain folder name or an interaction file is missing.
    """
    refuse_path(dataset)
    refuse_control("dataset", dataset)
    data_path = Path(data_path)
    folder = data_path / dataset
    missing = [path for path in _inter_files(folder, dataset, splits) if not path.is_file()]
    if not missing:
        return folder
    there = sorted({path.parent.name for path in data_path.glob("*/*.inter")})
    near = difflib.get_close_matches(dataset, there, n=1)
    listed = ", ".join(there[:_MAX_LISTED]) or "none"
    more = f" and {len(there) - _MAX_LISTED} more" if len(there) > _MAX_LISTED else ""
    raise OptionError(
        "dataset",
        repr(dataset),
        f"there is no file {missing[0]}."
        + (f" Did you mean {near[0]!r}?" if near and near[0] != dataset else "")
        + " --data_path=FOLDER names the folder that holds <dataset>/<dataset>.inter; datasets in "
        f"{data_path}: {listed}{more}. RecBole's own download links no longer answer, so the data "
        'must be placed there (docs/data.md, "Files")',
    )


def default_load_col(
    folder: Path,
    dataset: str,
    names: Mapping[str, Any],
    separator: str = "\t",
    encoding: str | None = None,
    splits: Sequence[str] = (),
) -> dict[str, list[str]]:
    """Choose the columns of a dataset that has no configuration file.

    Args:
        folder: The dataset's folder.
        dataset: Its name.
        names: RecBole's ``USER_ID_FIELD``, ``ITEM_ID_FIELD``, ``RATING_FIELD`` and ``TIME_FIELD``.
        separator: RecBole's ``field_separator``.
        encoding: RecBole's ``encoding``.
        splits: RecBole's ``benchmark_filename``: ready-made parts, which may hold sequences.

    Returns:
        A ``load_col`` of the user and item ids, and of rating, time and the items' sequence where
        the file has them.
    """
    columns = read_header(_inter_files(folder, dataset, splits)[0], separator, encoding)
    optional = [names["RATING_FIELD"], names["TIME_FIELD"]]
    if splits:
        optional.append(names["ITEM_ID_FIELD"] + names["LIST_SUFFIX"])
    chosen = [names["USER_ID_FIELD"], names["ITEM_ID_FIELD"]]
    return {"inter": chosen + [name for name in optional if name in columns]}


def graph_columns(
    folder: Path, dataset: str, names: Mapping[str, Any], model: str
) -> dict[str, list[str]]:
    """Choose the columns of a knowledge graph's files, for a model that needs one.

    Args:
        folder: The dataset's folder.
        dataset: Its name.
        names: All options; those that name the graph's columns, and ``load_col``.
        model: Name of the model, for the message.

    Returns:
        The part of ``load_col`` that is missing there.

    Raises:
        DataError: If a file is missing; names it and its columns.
    """
    missing = {}
    for suffix, options in _GRAPH.items():
        columns = [str(names[option]) for option in options]
        path = _file(folder, dataset, suffix)
        if not path.is_file():
            raise DataError(path, f"{model} needs this file, with columns {', '.join(columns)}")
        if suffix not in (names["load_col"] or {}):
            missing[suffix] = columns
    return {} if names["load_col"] is None else missing


def suffixes(load_col: Mapping[str, Any] | None, splits: Sequence[str] | None = None) -> list[str]:
    """List the files that a run reads.

    Args:
        load_col: RecBole's option, file suffix -> columns.
        splits: RecBole's ``benchmark_filename``: parts that stand for the interaction file.

    Returns:
        What follows the dataset's name and the dot in each file's name.

    Example:
        >>> suffixes({"inter": ["user_id"], "item": "*"}, ["train", "valid", "test"])
        ['train.inter', 'valid.inter', 'test.inter', 'item']
    """
    inter = [f"{split}.inter" for split in splits or ()] or ["inter"]
    return inter + [suffix for suffix in load_col or () if suffix != "inter"]


def sha256(folder: Path, dataset: str, of: Sequence[str]) -> dict[str, str]:
    """Fingerprint the atomic files, so that a result says which data it is from.

    Args:
        folder: The dataset's folder.
        dataset: Its name.
        of: Suffixes of the files to read, such as ``inter`` and ``item``.

    Returns:
        File name -> SHA-256 of its bytes in hexadecimal.

    Raises:
        ValueError: If a file is missing.
    """
    paths = [_file(folder, dataset, suffix) for suffix in of]
    for path in paths:
        if not path.is_file():
            raise InputError(f"there is no file {path}")
    return {path.name: file_sha256(path) for path in paths}


def data_hashes(
    folder: Path,
    dataset: str,
    load_col: Mapping[str, Any] | None,
    splits: Sequence[str] | None = None,
    candidates: str | None = None,
) -> dict[str, str]:
    """Fingerprint all that decides the rows of a run.

    Args:
        folder: The dataset's folder.
        dataset: Its name.
        load_col: As in :func:`suffixes`.
        splits: As in :func:`suffixes`.
        candidates: The option ``eval_candidates_file``.

    Returns:
        File name -> SHA-256; the candidates by the option, since any file may hold them.

    Raises:
        ValueError: If a file is missing.
    """
    hashes = sha256(folder, dataset, suffixes(load_col, splits))
    if candidates:
        hashes["eval_candidates_file"] = file_sha256(Path(candidates))
    return hashes


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes in hexadecimal; kept as long as the file does not change."""
    before = _state(path)
    known = _KNOWN.get(before)
    if known is not None:
        return known
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    found = digest.hexdigest()
    # A file that has just been written could be written again without another time.
    if time.time_ns() - max(before[-2:]) > _SETTLED and _state(path) == before:
        _KNOWN[before] = found
    return found


def _state(path: Path) -> tuple[int, int, int, int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _inter_files(folder: Path, dataset: str, splits: Sequence[str]) -> list[Path]:
    return [_file(folder, dataset, suffix) for suffix in suffixes(None, splits)]


def _file(folder: Path, dataset: str, suffix: str) -> Path:
    if ".." in suffix or set(suffix) & set(NOT_IN_NAMES) or printable(suffix) != suffix:
        raise InputError(f"file suffix {suffix!r}: must be part of a file name, not a path")
    return Path(folder) / f"{dataset}.{suffix}"


class _Files(NamedTuple):
    """The atomic files of a dataset, whose headers are read when they are asked for."""

    folder: Path
    dataset: str
    inter: Mapping[Path, Mapping[str, str]]
    separator: str
    encoding: str | None

    def require(self, suffix: str, names: Any, option: str) -> None:
        """Refuse an option that names a file which is not there, or columns which it lacks."""
        files = self.inter
        if suffix != "inter":
            path = _file(self.folder, self.dataset, suffix)
            if not path.is_file():
                raise OptionError(option, repr(names), f"there is no file {path}")
            files = {path: read_header(path, self.separator, self.encoding)}
        for path, columns in files.items():
            _require([] if names == "*" else names, columns, path, f"{option} names")


def _require(names: Sequence[str], columns: Mapping[str, str], path: Path, who: str) -> None:
    for name in names:
        if name not in columns:
            near = difflib.get_close_matches(str(name), columns, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{who} {name!r}: {path} has {', '.join(columns)}{hint}")
