"""What a board measures of its finished runs: their explanations, and both under attack."""

import functools
import os
import time
from collections.abc import Mapping
from typing import Any

from recbole_enhance.leaderboard import ATTACK, EXPLAIN, FAILED
from recbole_enhance.leaderboard.cells import (
    FINISHED,
    Cell,
    Outcome,
    locked,
    reason_of,
    wait_for,
)
from recbole_enhance.leaderboard.collect import ATTACKS, EXPLANATIONS, NOT_EXAMINED
from recbole_enhance.leaderboard.process import worker_process
from recbole_enhance.storage.files import is_file
from recbole_enhance.storage.run_folder import RunFolder

IMPOSSIBLE = "impossible"  # with the model of the cell; this is no failure
_RESULTS = {EXPLAIN: EXPLANATIONS, ATTACK: ATTACKS}
_OPTIONS = ("protocol", "attacks", "options")  # where the files say how they were made


def examine_cell(
    cell: Cell, kind: str, options: Mapping[str, Any], threads: int, driver: int | None = None
) -> Outcome:
    """Explain or attack a finished run.

    A failure is written down beside the run and not raised.

    Args:
        cell: A cell that is finished.
        kind: ``explain`` or ``attack``.
        options: Of that verb.
        threads: How many it may use.
        driver: As for :func:`~recbole_enhance.leaderboard.process.worker_process`.
    """
    from recbole_enhance.explanation.quality import UnsuitableModelError

    start = time.perf_counter()
    with worker_process(threads, driver):
        try:
            wait_for(functools.partial(_examine, cell, kind, options))
        except UnsuitableModelError as error:
            return record_not_examined(cell, kind, IMPOSSIBLE, reason_of(error), options)
        except Exception as error:
            return record_not_examined(cell, kind, FAILED, reason_of(error), options)
        return Outcome(FINISHED, seconds=time.perf_counter() - start)


def is_examined(cell: Cell, kind: str, options: Mapping[str, Any]) -> bool:
    """Whether these options have a result, or were found impossible."""
    for name in (_RESULTS[kind], NOT_EXAMINED[kind]):
        if is_file(cell.path / name):
            try:
                content = RunFolder.open(cell.path).read_json(name)
                made_with = {k: v for part in _OPTIONS for k, v in content.get(part, {}).items()}
            except (ValueError, AttributeError):  # no JSON, or none of ours
                return False
            return bool(made_with == options and content.get("status") != FAILED)
    return False


def record_not_examined(
    cell: Cell, kind: str, status: str, reason: str, options: Mapping[str, Any]
) -> Outcome:
    """Leave the reason beside the run, in place of the result."""
    reason = reason.removeprefix(f"{cell.path}: ").replace(f"{cell.path}{os.sep}", "")

    def write() -> None:
        with locked(cell.path) as folder:
            (cell.path / _RESULTS[kind]).unlink(missing_ok=True)  # of other options
            content = {
                "reason": reason,
                "status": status,
                "options": options,
            }
            folder.write_json(NOT_EXAMINED[kind], content)

    wait_for(write)
    return Outcome(status, reason)


def _examine(cell: Cell, kind: str, options: Mapping[str, Any]) -> None:
    model_class = cell.own_class[1] if cell.own_class else None
    with locked(cell.path):
        if is_examined(cell, kind, options):  # by a worker that the cluster took for dead
            return
        if kind == EXPLAIN:
            from recbole_enhance.explanation.features import explain_run

            explain_run(cell.path, options, model_class, quiet=True)
        else:
            from recbole_enhance.explanation.attack import attack_run

            attack_run(cell.path, options, model_class, cell.own_method, quiet=True)
        (cell.path / NOT_EXAMINED[kind]).unlink(missing_ok=True)
