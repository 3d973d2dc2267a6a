"""Runs on a table in memory: its dataset lives within the run's folder."""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recbole_enhance.data.atomic import file_sha256
from recbole_enhance.data.importing import import_data
from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.storage.run_folder import CONFIG, RunFolder, config_text

_FOLDER = "dataset"  # within a run's folder
_NAME = "data"
_NEEDED = ("user", "item")
_NOT_HERE = ("name", "out", "overwrite")


@contextlib.contextmanager
def as_dataset(
    data: Any, dataset: str | None, columns: Mapping[str, Any]
) -> Iterator[tuple[str, Path]]:
    """Make a dataset of a table, which is gone after the block unless :func:`keep` moved it.

    Args:
        data: A frame or a path, as for :func:`~recbole_enhance.data.importing.import_data`.
        dataset: What its name begins with; the rest is a hash of what it holds.
        columns: Other arguments of ``import_data``: ``user``, ``item``, ``time``, ...

    Yields:
        The dataset's name, and the folder that it is in.

    Raises:
        InputError: As ``import_data``.
    """
    for option in _NEEDED:
        if columns.get(option) is None:
            raise InputError(f"data: {option}=COLUMN is missing")
    for option in _NOT_HERE:
        if option in columns:
            raise OptionError(option, columns[option], "data in memory takes dataset=NAME alone")
    with tempfile.TemporaryDirectory(prefix="recbole-enhance-") as folder:
        out = Path(folder)
        made = import_data(data, name=dataset or _NAME, out=out, **columns)
        digest = hashlib.sha256()
        files = sorted(made.path.iterdir())
        for file in files:
            digest.update(f"{file.name} {file_sha256(file)}\n".encode())
        name = f"{made.path.name}-{digest.hexdigest()[:8]}"
        for file in files:
            file.rename(made.path / f"{name}{file.name.removeprefix(made.path.name)}")
        made.path.rename(out / name)
        yield name, out


def keep(folder: RunFolder, config: Any) -> None:
    """Move the dataset into the folder of its run, and tell the run's settings.

    Args:
        folder: The run's folder.
        config: Its settings.
    """
    name, home = config["dataset"], (folder.path / _FOLDER).resolve()
    try:
        home.mkdir()
        shutil.move(config["data_path"], home / name)
        config["data_path"] = str(home / name)
        config.options["data_path"] = str(home)
        folder.write_text(CONFIG, config_text(config))
    except BaseException:
        folder.discard()
        folder.release()
        raise


def own_data(folder: RunFolder) -> dict[str, str]:
    """The option ``data_path`` of a run whose folder holds its dataset, wherever it is now."""
    home = folder.path / _FOLDER
    return {"data_path": str(home.resolve())} if home.is_dir() else {}
