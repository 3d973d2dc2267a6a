"""Run a board: all cells that are not there yet, and what became of them."""

import contextlib
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from recbole_enhance.compat.needs import line_for
from recbole_enhance.leaderboard import ATTACK, BOARD, EXPLAIN, FAILED, TUNING, statistics
from recbole_enhance.leaderboard.cells import (
    KEPT,
    Cell,
    Outcome,
    record_failure,
    refuse_changed,
    resolve,
    row_folder,
    run_cell,
)
from recbole_enhance.leaderboard.collect import has_file
from recbole_enhance.leaderboard.examination import examine_cell, is_examined, record_not_examined
from recbole_enhance.leaderboard.local import CRASHED, run_here
from recbole_enhance.leaderboard.process import worker_process
from recbole_enhance.leaderboard.spec import Board, describe
from recbole_enhance.options.read import one_line
from recbole_enhance.storage.files import read_json, refuse_links
from recbole_enhance.storage.outputs import make_output_folder
from recbole_enhance.storage.run_folder import METRICS, RunFolder, logger

_NOT_OF_TUNING = {"options", "out", "quiet", "study", "jobs"}  # the board says these itself
_TERMINATED = 143  # what a shell reports of a process that SIGTERM ended
_AGAIN_SECONDS = 5.0  # longer than a run takes to leave its folder in order
Chosen = dict[tuple[int, str], dict[str, Any]]


def run_board(board: Board, quiet: bool = False) -> int:
    """Run every cell of a board that is not there yet, then build its pages.

    Args:
        board: What was asked.
        quiet: Print nothing but errors.

    Returns:
        0 if all cells are finished, and explained and attacked where that was asked and the model
        can be; else 1.

    Raises:
        ValueError: If the board cannot run as a whole; nothing is written then.
    """
    cells = resolve(board)
    if board.tune:
        _refuse_bad_tuning(board, cells)
    else:
        refuse_changed(cells)
    with _engine(board) as engine, _board_lock(board.out), _stopped_by_sigterm():
        _write_spec(board, cells)
        if board.tune:
            chosen, untuned = _tune_rows(board, cells, engine, quiet)
            cells = resolve(board, chosen)
            refuse_changed([cell for cell in cells if (cell.row, cell.dataset) not in untuned])
        else:
            untuned = {}
        outcomes = _run_cells(board, cells, untuned, engine, quiet)
        finished = [c for c, outcome in zip(cells, outcomes) if outcome.status != FAILED]
        examined = [
            outcome
            for kind, options in ((EXPLAIN, board.explain), (ATTACK, board.attack))
            if options is not None
            for outcome in _examine_cells(finished, kind, options, engine, quiet)
        ]
    if not quiet:
        print(summary(cells, outcomes))
    built = _build_pages(board.out, quiet)
    failed = any(outcome.status == FAILED for outcome in (*outcomes, *examined))
    return 1 if failed or not built else 0


# ---- where cells run ---------------------------------------------------------------------------

Engine = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[tuple[int, Any]]]


@contextlib.contextmanager
def _engine(board: Board) -> Iterator[Engine]:
    """What calls a function with each of many arguments, here or on a cluster."""
    threads = board.threads or max((os.cpu_count() or 1) // board.jobs, 1)
    if board.cluster is None:
        yield lambda function, tasks: run_here(
            function, [(*task, threads, os.getpid()) for task in tasks], board.jobs, threads
        )
        return
    from recbole_enhance.leaderboard.cluster import connected

    with connected(board.cluster) as run_there:
        yield lambda function, tasks: run_there(
            function, [(*task, board.threads or 1) for task in tasks]
        )


@contextlib.contextmanager
def _board_lock(out: Path) -> Iterator[None]:
    """Let one process run a board; cells have locks of their own."""
    make_output_folder("out", out)
    folder = RunFolder(out, fresh=False)
    folder.lock("out")
    try:
        yield
    finally:
        folder.release()


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM stop the board as Ctrl-C does: processes end, and cells stay as they are.

    Who sends it sends it once, and an exception can be lost: C code that asks whether an object has
    an attribute takes any for a no. So the handler comes again until the block is left.
    """

    def stop(*_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        raise SystemExit(_TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGTERM, signal.SIGALRM)
    before = [signal.signal(number, stop) for number in signals]
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip(signals, before):
            signal.signal(number, handler)


def _write_spec(board: Board, cells: Sequence[Cell]) -> None:
    labels = {
        cell.row: {"label": cell.label, "enhancer": cell.enhancer, "backbone": cell.backbone}
        for cell in cells
    }
    content = describe(board, [labels[number] for number in range(len(board.rows))])
    text = yaml.safe_dump(content, sort_keys=False)
    RunFolder(board.out, fresh=False).write_text(BOARD, text)


# ---- cells -------------------------------------------------------------------------------------


def _run_cells(
    board: Board,
    cells: Sequence[Cell],
    untuned: dict[tuple[int, str], str],
    engine: Engine,
    quiet: bool,
) -> list[Outcome]:
    """Run what is not finished; outcomes in the order of the cells."""
    outcomes: dict[int, Outcome] = {}
    for number, cell in enumerate(cells):
        reason = untuned.get((cell.row, cell.dataset))
        if cell.finished:
            outcomes[number] = Outcome(KEPT)
        elif reason is not None:
            record_failure(cell, reason, keep=True)
            outcomes[number] = Outcome(FAILED, reason)
    todo = [number for number in range(len(cells)) if number not in outcomes]
    with _bar(len(cells), "cells", quiet, initial=len(outcomes)) as bar:
        results = engine(run_cell, [(cells[number],) for number in todo])
        with contextlib.closing(results):  # type: ignore[type-var]
            for place, outcome in results:
                cell = cells[todo[place]]
                if outcome is None:
                    outcome = Outcome(FAILED, CRASHED)
                    record_failure(cell, CRASHED, keep=True)
                outcomes[todo[place]] = outcome
                _show(bar, cell, outcome, outcomes, len(cells))
    return [outcomes[number] for number in range(len(cells))]


def _examine_cells(
    cells: Sequence[Cell], kind: str, options: Mapping[str, Any], engine: Engine, quiet: bool
) -> list[Outcome]:
    """Explain or attack finished cells; outcomes in the order in which they come."""
    options = {key: value for key, value in options.items() if key != "columns"}  # of the page
    outcomes = {
        number: Outcome(KEPT)
        for number, cell in enumerate(cells)
        if is_examined(cell, kind, options)
    }
    todo = [number for number in range(len(cells)) if number not in outcomes]
    with _bar(len(cells), f"cells, {kind}", quiet, initial=len(outcomes)) as bar:
        results = engine(examine_cell, [(cells[number], kind, options) for number in todo])
        with contextlib.closing(results):  # type: ignore[type-var]
            for place, outcome in results:
                number = todo[place]
                if outcome is None:
                    outcome = record_not_examined(cells[number], kind, FAILED, CRASHED, options)
                outcomes[number] = outcome
                _show(bar, cells[number], outcome, outcomes, len(cells), f", {kind}")
    return list(outcomes.values())


def _bar(total: int, unit: str, quiet: bool, initial: int = 0) -> Any:
    # disable=None: where there is no terminal, one line per cell says the same
    return tqdm(
        total=total, initial=initial, unit=unit, disable=True if quiet else None, dynamic_ncols=True
    )


def _show(
    bar: Any,
    cell: Cell,
    outcome: Outcome,
    outcomes: dict[int, Outcome],
    total: int,
    what: str = "",
) -> None:
    failed = sum(other.status == FAILED for other in outcomes.values())
    bar.set_description_str(f"{cell.title} on {cell.dataset}, seed {cell.seed}", refresh=False)
    bar.set_postfix_str(f"{len(outcomes) - failed} finished, {failed} failed", refresh=False)
    bar.update()
    why = f": {outcome.reason}" if outcome.reason else f" in {outcome.seconds:.1f} s"
    line = f"{cell.title} on {cell.dataset}, seed {cell.seed}{what}: {outcome.status}{why}"
    if outcome.status == FAILED:
        with tqdm.external_write_mode():
            logger.warning("%s", line)
    elif bar.disable:
        logger.info("%s (%d of %d)", line, len(outcomes), total)


def summary(cells: Sequence[Cell], outcomes: Sequence[Outcome]) -> str:
    """A table for the terminal: mean and spread over seeds of the metric that validation watches.

    Args:
        cells: All cells.
        outcomes: Theirs, in the same order.
    """
    rows: dict[tuple[str, str], list[tuple[Cell, Outcome]]] = {}
    for cell, outcome in zip(cells, outcomes):
        rows.setdefault((cell.dataset, cell.title), []).append((cell, outcome))
    wide, width = (max(map(len, names)) + 2 for names in zip(("dataset", "model"), *rows))
    lines = [
        f"{'dataset':<{wide}}{'model':<{width}}{'seeds':>6}{'failed':>8}  "
        f"{'metric':<14}{'valid':>17}{'test':>17}"
    ]
    for (dataset, title), members in rows.items():
        reports = [
            RunFolder.open(cell.path).read_json(METRICS)
            for cell, outcome in members
            if outcome.status != FAILED
        ]
        metric = str(members[0][0].recorded["valid_metric"]).lower()
        line = f"{dataset:<{wide}}{title:<{width}}{len(reports):>6}{len(members) - len(reports):>8}"
        line += f"  {metric:<14}"
        for part in ("best_valid_result", "test_result"):
            values = [r[part][metric] for r in reports if r[part].get(metric) is not None]
            line += f"{_mean(values):>17}"
        lines.append(line)
        reasons = dict.fromkeys(o.reason for _, o in members if o.status == FAILED)
        lines += [f"  failed: {reason}" for reason in reasons]
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    found = statistics.spread(values)
    if not found.n:
        return "-"
    return f"{found.mean:.4f}" + (f" ± {found.deviation:.4f}" if found.n > 1 else "")


# ---- tuning, pages -----------------------------------------------------------------------------


def _refuse_bad_tuning(board: Board, cells: Sequence[Cell]) -> None:
    """Refuse arguments of tuning that a row cannot begin with, before anything is written."""
    try:
        from recbole_enhance.tuning.tune import check_plan, tune
    except ImportError as error:
        raise ValueError(f"tune: {error.name} is missing: {line_for('tune')}") from error
    known = set(inspect.signature(tune).parameters) - _NOT_OF_TUNING
    for key in board.tune or {}:
        if key not in known:
            raise ValueError(f"tune.{key}: unknown option; there are {', '.join(sorted(known))}")
    for cell in _tuned_first(board, cells):
        arguments = {**(board.tune or {}), **_space_of(board, cell)}
        arguments.pop("page", None)
        files = {"config_files": list(cell.config_files)} if cell.config_files else {}
        try:
            check_plan({**cell.options, **files}, **arguments)
        except ValueError as error:
            raise ValueError(f"tune: {cell.title} on {cell.dataset}: {one_line(error)}") from error


def _tuned_first(board: Board, cells: Sequence[Cell]) -> list[Cell]:
    """Of each row that is tuned, on each dataset, the cell of the first seed."""
    return [cell for cell in cells if cell.seed == board.seeds[0] and board.rows[cell.row].tune]


def _space_of(board: Board, cell: Cell) -> dict[str, Any]:
    space = board.rows[cell.row].space
    return {} if space is None else {"space": space}


def _tune_rows(
    board: Board, cells: Sequence[Cell], engine: Engine, quiet: bool
) -> tuple[Chosen, dict[tuple[int, str], str]]:
    """Tune each row on each dataset, all with the same budget, on the first seed.

    Returns:
        The options that validation chose, and of rows that could not be tuned the reason.
    """
    first = _tuned_first(board, cells)
    tasks = []
    for cell in first:
        folder = board.out.absolute() / TUNING / cell.dataset / row_folder(cell.label, cell.name)
        refuse_links(board.out.absolute(), folder)
        asked = {**(board.tune or {}), **_space_of(board, cell)}
        arguments = {**asked, "study": _study(board, folder)}
        tasks.append((dict(cell.options), list(cell.config_files), folder, arguments))
    chosen: Chosen = {}
    untuned: dict[tuple[int, str], str] = {}
    with _bar(len(tasks), "rows tuned", quiet) as bar:
        for place, result in engine(tune_row, tasks):
            cell = first[place]
            best, reason = result or (None, CRASHED)
            if best is None:
                untuned[cell.row, cell.dataset] = f"tune: {reason}"
                logger.warning("%s on %s: not tuned: %s", cell.title, cell.dataset, reason)
            else:
                chosen[cell.row, cell.dataset] = best
            bar.set_description_str(f"tuning: {cell.title} on {cell.dataset}", refresh=False)
            bar.update()
    return chosen, untuned


def _study(board: Board, folder: Path) -> str:
    """Name of a row's study: with the board's, as a database that boards share has many rows."""
    kept, name = folder / "tuning.json", "/".join((board.name, *folder.parts[-2:]))
    if "storage" in (board.tune or {}) or not has_file(kept):
        return name
    # A board that has another title now goes on with the database in its folder.
    told = read_json(kept)
    return str(told.get("study", name)) if isinstance(told, Mapping) else name


def tune_row(
    options: dict[str, Any],
    config_files: Sequence[str],
    folder: Path,
    arguments: dict[str, Any],
    threads: int,
    driver: int | None = None,
) -> tuple[dict[str, Any] | None, str]:
    """Tune one row; a failure is returned, not raised.

    Args:
        options: Of the row, with the first seed.
        config_files: Files of options, below them.
        folder: Where the study is; one that is there is continued.
        arguments: Of the tuner: trials, space, storage.
        threads: How many it may use.
        driver: As for :func:`~recbole_enhance.leaderboard.process.worker_process`.

    Returns:
        The best options, or None and the reason in one line.
    """
    from recbole_enhance.tuning.tune import tune

    files = {"config_files": list(config_files)} if config_files else {}
    with worker_process(threads, driver):
        try:
            return dict(tune({**options, **files}, folder, quiet=True, **arguments)), ""
        except Exception as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            return None, kind + one_line(error)


def _build_pages(out: Path, quiet: bool) -> bool:
    """Write the pages after a run; whether that went well."""
    from recbole_enhance.leaderboard.board import (
        build_board,
    )  # pandas and scipy.stats, not for each cell

    try:
        build_board(out, quiet)
    except ValueError as error:  # the cells are there, which is what took the time
        print(f"recbole-enhance: no pages: {one_line(error)}", file=sys.stderr)
        return False
    return True
