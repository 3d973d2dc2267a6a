"""Cells of a board: what each one runs, checked before any does, and the running of one."""

import contextlib
import functools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from recbole_enhance.experiment.config import Config, anonymous_dict
from recbole_enhance.experiment.idle import refuse_idle
from recbole_enhance.experiment.quick_start import resume_run, run_recbole_enhance
from recbole_enhance.leaderboard import CELLS, FAILED, FAILURE
from recbole_enhance.leaderboard.process import worker_process
from recbole_enhance.leaderboard.rows import RowSpec
from recbole_enhance.leaderboard.same_data import refuse_other_data
from recbole_enhance.leaderboard.spec import Board, overlay
from recbole_enhance.options.errors import NotFiniteError, OptionError, UnknownOptionError
from recbole_enhance.options.read import one_line
from recbole_enhance.storage.file_lock import LockedError
from recbole_enhance.storage.files import is_file, refuse_links
from recbole_enhance.storage.run_folder import (
    CHECKPOINT,
    CONFIG,
    LOCK,
    METRICS,
    RunFolder,
    changed_options,
    recorded_options,
    refuse_changed_options,
)
from recbole_enhance.training.trainer import NotResumableError

FINISHED, KEPT = "finished", "kept"
_WAIT_SECONDS = 1.0
Best = Mapping[tuple[int, str], Mapping[str, Any]]  # (row, dataset) -> options that tuning chose


@dataclass(frozen=True)
class Cell:
    """One run of a board.

    Attributes:
        path: Its run folder, absolute.
        row: Number of its row in the board.
        name: The row's name, or None.
        label: As in ``metrics.json``; so are ``enhancer``, ``backbone``, ``dataset``, ``variant``.
        seed: The seed.
        options: What is handed to the run, with dotted keys.
        config_files: Files of options, absolute.
        own_class: The option that names a class of the user's, and that class; or None.
        own_method: A method of the user's, as ``module:Name``; or None.
        recorded: All options of the run, as its ``config.yaml`` must have them.
    """

    path: Path
    row: int
    name: str | None
    label: str
    enhancer: str | None
    backbone: str
    dataset: str
    variant: str | None
    seed: int
    options: Mapping[str, Any]
    config_files: tuple[str, ...]
    own_class: tuple[str, str] | None
    own_method: str | None
    recorded: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Label and name, for a line of text."""
        return f"{self.label} ({self.name})" if self.name else self.label

    @property
    def finished(self) -> bool:
        """Whether the run has reported its test result."""
        return is_file(self.path / METRICS)


class Outcome(NamedTuple):
    """What became of a cell: FINISHED, KEPT from an earlier run of the board, or FAILED."""

    status: str
    reason: str = ""
    seconds: float = 0.0


def resolve(board: Board, best: Best | None = None) -> list[Cell]:
    """Work out every cell, and refuse what cannot run.

    A run option that only some rows know (``dvr_units`` beside a plain BPR) is left out of the
    others, unless the row itself says it.

    Args:
        board: What was asked.
        best: What tuning chose.

    Returns:
        Cells: rows of the first dataset with all seeds, then the next.

    Raises:
        ValueError: In one line, which row on which dataset says no, and why.
    """
    cells: list[Cell] = []
    places: dict[Path, str] = {}
    unknown: list[dict[str, UnknownOptionError]] = []
    for dataset, _ in board.datasets:
        for number, row in enumerate(board.rows):
            chosen = (best or {}).get((number, dataset), {})
            config, options, refused = _resolve_row(board, row, dataset, chosen)
            unknown.append(refused)
            found = _cells_of_row(board, number, dataset, config, options)
            other = places.setdefault(found[0].path, row.title)
            if other != row.title:
                raise ValueError(
                    f"models: {other} and {row.title} are both {found[0].label}; give one a name"
                )
            cells += found
    for key, error in unknown[0].items():
        if all(key in refused for refused in unknown):
            error.origin = board.origins.get(key)
            raise ValueError(one_line(error))
    return cells


def _resolve_row(
    board: Board, row: RowSpec, dataset: str, best: Mapping[str, Any]
) -> tuple[Config, dict[str, Any], dict[str, UnknownOptionError]]:
    """The settings of a row on a dataset, what leads to them, and what this row does not know."""
    of_dataset = dict(board.datasets)[dataset]
    options = overlay(board.options, of_dataset, row.options, board.last, best)
    options.update(
        {"model": row.model, "dataset": dataset, "seed": board.seeds[0]}, show_progress=False
    )
    if row.backbone:
        options["backbone"] = row.backbone
    refused: dict[str, UnknownOptionError] = {}
    files = [os.path.abspath(file) for file in row.config_files]
    while True:
        try:
            with anonymous_dict():
                config = Config(config_file_list=files, config_dict=options)
                refuse_idle(config)
        except UnknownOptionError as error:
            shared = [key for key in options if key.partition(".")[0] == error.option]
            of_row = {key.partition(".")[0] for key in (*row.options, *best)}
            if error.option in of_row or not shared:
                raise ValueError(f"{row.title}: {one_line(error)}") from error
            refused[error.option] = error
            for key in shared:
                del options[key]
        except ValueError as error:
            if isinstance(error, OptionError) and error.origin is None:
                name = error.option.partition(".")[0]
                chosen = {key.partition(".")[0] for key in best}
                error.origin = None if name in chosen else board.origins.get(name)
            raise ValueError(f"{row.title} on {dataset}: {one_line(error)}") from error
        else:
            # Absolute, as a worker may have another working folder.
            return config, {**options, "data_path": config.options["data_path"]}, refused


def _cells_of_row(
    board: Board, number: int, dataset: str, config: Config, options: Mapping[str, Any]
) -> list[Cell]:
    row, label = board.rows[number], config["label"]
    recorded = recorded_options(config)
    folder = board.out.absolute() / CELLS / dataset / row_folder(label, row.name)
    for seed in board.seeds:
        refuse_links(board.out.absolute(), folder / str(seed))
    return [
        Cell(
            path=folder / str(seed),
            row=number,
            name=row.name,
            label=label,
            enhancer=config["enhancer"],
            backbone=config["backbone"],
            dataset=dataset,
            variant=config["variant"],
            seed=seed,
            options={**options, "seed": seed},
            config_files=tuple(os.path.abspath(file) for file in row.config_files),
            own_class=config.pair.own_class,
            own_method=config.pair.own_method,
            recorded={**recorded, "seed": seed},
        )
        for seed in board.seeds
    ]


def row_folder(label: str, name: str | None) -> str:
    """Folder of a row below that of its dataset."""
    return f"{label}-{name}" if name else label


def refuse_changed(cells: Sequence[Cell]) -> None:
    """Refuse folders of cells that hold runs with other options than are asked now, or other data.

    Raises:
        ValueError: Naming the folder, the option and both values, or the files that have changed.
    """
    for cell in cells:
        if is_file(cell.path / FAILURE):
            continue  # what failed is run again
        refuse_changed_options(
            cell.path,
            cell.recorded,
            "choose another --out, give the row a name, or remove that folder",
        )
    refuse_other_data((cell.path, cell.recorded) for cell in cells if cell.finished)


# ---- one cell ----------------------------------------------------------------------------------


def run_cell(cell: Cell, threads: int, driver: int | None = None) -> Outcome:
    """Run a cell, continue it, or find it finished; a failure is written down and not raised.

    Args:
        cell: The cell.
        threads: How many it may use.
        driver: As for :func:`~recbole_enhance.leaderboard.process.worker_process`.
    """
    start = time.perf_counter()
    with worker_process(threads, driver):
        if cell.finished:
            return Outcome(KEPT)
        try:
            wait_for(functools.partial(_finish, cell))
        except Exception as error:
            reason = reason_of(error)
            good = isinstance(error, NotFiniteError) and error.last_good
            record_failure(cell, reason, keep=bool(good) or not isinstance(error, ValueError))
            return Outcome(FAILED, reason, time.perf_counter() - start)
        return Outcome(FINISHED, seconds=time.perf_counter() - start)


def reason_of(error: Exception) -> str:
    """An exception in one line, with its kind unless it is about bad input."""
    reason = one_line(error)
    if isinstance(error, ValueError) and reason:
        return reason
    return f"{type(error).__name__}: {reason}".rstrip(": ")


def wait_for(action: Callable[[], None]) -> None:
    """Do something in a folder as soon as no other process is running there."""
    announced = False
    while True:
        try:
            action()
        except LockedError as error:  # a worker that the cluster took for dead may be alive
            if not announced:
                tqdm.write(f"{error}: waiting for it", file=sys.stderr)  # the logger is silent here
            announced = True
            time.sleep(_WAIT_SECONDS)
        else:
            return


def _finish(cell: Cell) -> None:
    if cell.finished:
        return
    failed = is_file(cell.path / FAILURE)
    begun = is_file(cell.path / CHECKPOINT)
    goes_on = not failed or (begun and not any(changed_options(cell.path, cell.recorded)))
    if goes_on and is_file(cell.path / CONFIG):
        (cell.path / FAILURE).unlink(missing_ok=True)
        model_class = cell.own_class[1] if cell.own_class else None
        with contextlib.suppress(NotResumableError):
            resume_run(cell.path, quiet=True, model_class=model_class, method=cell.own_method)
            return
    with locked(cell.path):
        if not cell.finished:
            _clear(cell.path)
    if not cell.finished:
        run_recbole_enhance(
            config_file_list=list(cell.config_files),
            config_dict={**cell.options, "run_dir": str(cell.path)},
        )


def record_failure(cell: Cell, reason: str, keep: bool = False) -> None:
    """Leave ``failure.json`` in place of the run.

    Args:
        cell: The cell.
        reason: One line.
        keep: Whether a checkpoint stays: a full disk or memory says nothing against the epochs so
            far.
    """

    def write() -> None:
        with locked(cell.path) as folder:
            if not (keep and is_file(cell.path / CHECKPOINT)):
                _clear(cell.path)
            about = {key: getattr(cell, key) for key in _IN_FAILURE}
            folder.write_json(FAILURE, {**about, "reason": reason, "options": cell.recorded})

    wait_for(write)


_IN_FAILURE = ("label", "backbone", "enhancer", "dataset", "variant", "seed", "name")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[RunFolder]:
    """The folder of a cell, kept from other processes while the block runs."""
    path.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(path, fresh=False)
    folder.lock("out")
    try:
        yield folder
    finally:
        folder.release()


def _clear(path: Path) -> None:
    kept: set[str] = {LOCK}
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in kept:
            entry.unlink(missing_ok=True)
