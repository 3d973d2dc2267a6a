"""Whether the data are still those that the runs of a board used."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_enhance.data import atomic
from recbole_enhance.options.errors import InputError
from recbole_enhance.storage.run_folder import RunFolder

_DECIDING = ("data_path", "dataset", "load_col", "benchmark_filename", "eval_candidates_file")


def refuse_other_data(runs: Iterable[tuple[Path, Mapping[str, Any]]]) -> None:
    """Refuse runs whose data files have changed since.

    A board may have been made elsewhere: where its files are not here, there is nothing to compare.

    Args:
        runs: Folder of each finished run, and its options.

    Raises:
        RunFolderError: Naming the first such folder, and the files that have changed.
    """
    known: dict[str, dict[str, str] | None] = {}
    for folder, options in runs:
        files = [options.get(option) for option in _DECIDING]
        key = repr(files)  # the cells of a board have the same few files
        if key not in known:
            known[key] = _hashes(*files)
        hashes = known[key]
        if hashes is not None:
            # Not opened: lists of another tool are no run, and are of the same files.
            RunFolder(folder, fresh=False).refuse_other_files(hashes)


def _hashes(
    data_path: Any, dataset: Any, load_col: Any, splits: Any, candidates: Any
) -> dict[str, str] | None:
    """Hashes of the files; None where they are not all here."""
    load_col = load_col if isinstance(load_col, Mapping) else None
    splits = splits if isinstance(splits, list) else []
    try:
        folder = atomic.find_dataset(Path(str(data_path)), str(dataset), splits)
        return atomic.data_hashes(folder, str(dataset), load_col, splits, candidates)
    except (InputError, OSError):
        return None
