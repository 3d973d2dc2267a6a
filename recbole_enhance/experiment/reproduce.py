"""Run a finished run again, and say whether its numbers are the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recbole_enhance.evaluation.files import PER_USER, read_per_user
from recbole_enhance.experiment.frames import own_data
from recbole_enhance.experiment.quick_start import (
    named_again,
    refuse_other_code,
    resume_run,
    run_again,
)
from recbole_enhance.options.errors import OptionError, RunFolderError
from recbole_enhance.options.limits import MOST_THREADS, checked_count
from recbole_enhance.options.schema import is_finite
from recbole_enhance.storage.files import is_file, read_settings
from recbole_enhance.storage.resources import limited_threads
from recbole_enhance.storage.run_folder import (
    CONFIG,
    ENVIRONMENT,
    METRICS,
    RunFolder,
    changed_options,
    logger,
)

REPORT = "reproduce.json"
FOLDER = "reproduced"  # below the run, where boards do not look for runs
# Tolerance with the versions, threads and GPU of the run, and with others.
EXACT, ELSEWHERE = 0.0, 0.01
_PARTS = {"valid": "best_valid_result", "test": "test_result"}
# What must be equal for numbers to be equal to the last bit.
_SURROUNDINGS = ("python", "versions", "cpu_threads", "gpu")


class Line(NamedTuple):
    """One compared number, or one per-user metric.

    Attributes:
        part: ``valid``, ``test`` or ``per user``.
        metric: Its name.
        before: Of the run; for users their mean.
        after: Of the new run.
        difference: Absolute; for users the mean of theirs; None where one side has no value.
        differing: Number of users whose value differs.
    """

    part: str
    metric: str
    before: float | None
    after: float | None
    difference: float | None
    differing: int | None = None

    def within(self, tolerance: float) -> bool:
        """Whether the numbers differ by no more than a tolerance."""
        return self.difference is not None and self.difference <= tolerance


def reproduce(
    run_dir: str | Path,
    into: str | Path | None = None,
    tolerance: float | None = None,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run a finished run again with its own options and number of threads, and compare.

    Args:
        run_dir: Its folder, which keeps its files.
        into: Folder of the new run; None takes ``reproduced`` below ``run_dir``. A new run that was
            stopped is continued.
        tolerance: Largest difference of a metric, and largest mean difference of a per-user metric;
            None is 0 where versions, threads and GPU are the run's, else 0.01.
        threads: None takes the run's.
        options: ``data_path``, ``use_gpu``, ``gpu_id``; ``model`` or ``backbone``, where the run is
            of a method or a class of yours.
        quiet: Show no progress.

    Returns:
        What ``reproduce.json`` in the new folder holds: ``within``, ``tolerance``, ``changed``
        (surroundings and options that differ) and ``lines`` (see :class:`Line`).

    Raises:
        InputError: If there is no finished run, it cannot be run again, or the data are not those
            that it was made from.
    """
    folder = _finished(Path(run_dir))
    if tolerance is not None and not _is_tolerance(tolerance):
        raise OptionError("tolerance", tolerance, "a number not below 0 is expected")
    if threads is not None:
        checked_count("threads", threads, MOST_THREADS)
    target = folder.folder(FOLDER) if into is None else Path(into)
    if is_file(target / METRICS):
        raise OptionError("run_dir", target, "there is a finished run; remove it, or name another")
    environment = _environment(folder)
    # Sums of floats depend on how they are split.
    with limited_threads(threads or environment.get("cpu_threads")):
        _run_again(folder, target, dict(options or {}), quiet)
    again = RunFolder.open(target)
    changed = _changed(environment, _environment(again))
    changed.update(_changed_options(folder, again))
    if tolerance is None:
        same = not any(key.partition(".")[0] in _SURROUNDINGS for key in changed)
        tolerance = EXACT if same else ELSEWHERE
    lines = compare(folder, again)
    report = {
        "run": str(folder.path.absolute()),
        "again": str(target.absolute()),
        "within": all(line.within(tolerance) for line in lines),
        "tolerance": tolerance,
        "changed": changed,
        "lines": [line._asdict() for line in lines],
    }
    again.write_json(REPORT, report)
    return report


def compare(before: RunFolder, after: RunFolder) -> list[Line]:
    """Compare two finished runs: validation, test, and the values of each user.

    Args:
        before: A run.
        after: Another one.
    """
    reports = [folder.read_json(METRICS) for folder in (before, after)]
    lines = []
    for part, key in _PARTS.items():
        first, second = (report[key] for report in reports)
        for metric in dict.fromkeys([*first, *second]):
            values = first.get(metric), second.get(metric)
            lines.append(Line(part, metric, *values, _difference(*values)))
    return lines + _compare_users(before.path / PER_USER, after.path / PER_USER)


def _compare_users(before: Path, after: Path) -> list[Line]:
    there = [is_file(path) for path in (before, after)]
    if not any(there):
        return []
    tables = [
        read_per_user(path) if known else pd.DataFrame()
        for path, known in zip((before, after), there)
    ]
    users = tables[0].index.union(tables[1].index)
    lines = []
    for metric in dict.fromkeys([*tables[0].columns, *tables[1].columns]):
        columns = [table.get(metric, pd.Series(dtype=float)).reindex(users) for table in tables]
        first, second = (column.to_numpy(dtype=float) for column in columns)
        gap = np.abs(first - second)
        nobody = np.isnan(first) & np.isnan(second)
        gap[nobody] = 0.0
        known = None if np.isnan(gap).any() else float(gap.mean())  # a value in one run only
        lines.append(
            Line("per user", metric, _mean(first), _mean(second), known, int((gap != 0).sum()))
        )
    return lines


def _mean(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))


def _difference(before: Any, after: Any) -> float | None:
    if before is None and after is None:
        return 0.0  # JSON's word for what is no number
    if before is None or after is None:
        return None
    return abs(float(before) - float(after))


def table(report: Mapping[str, Any]) -> str:
    """The report as lines for the terminal."""
    tolerance = report["tolerance"]
    lines = [f"{'part':<10}{'metric':<20}{'run':>12}{'again':>12}{'difference':>12}  users differ"]
    for entry in report["lines"]:
        line = Line(**entry)
        numbers = "".join(
            f"{'-' if value is None else format(value, '.6g'):>12}"
            for value in (line.before, line.after, line.difference)
        )
        users = "" if line.differing is None else str(line.differing)
        mark = "" if line.within(tolerance) else "  <-- beyond"
        lines.append(f"{line.part:<10}{line.metric:<20}{numbers}  {users}{mark}".rstrip())
    for key, (old, new) in report["changed"].items():
        lines.append(f"changed: {key}: {old} -> {new}")
    beyond = sum(not Line(**entry).within(tolerance) for entry in report["lines"])
    verdict = "reproduced" if report["within"] else f"not reproduced: {beyond} numbers differ"
    lines += [f"{verdict} (tolerance {tolerance:g})", f"run folder: {report['again']}"]
    return "\n".join(lines)


# ---- the new run -------------------------------------------------------------------------------


def _finished(path: Path) -> RunFolder:
    if not is_file(path / CONFIG):
        raise RunFolderError(f"reproduce {path}", f"not a run folder ({CONFIG} is missing)")
    if not is_file(path / METRICS):
        problem = f"not finished; continue it first: --resume={path}"
        raise RunFolderError(f"reproduce {path}", problem)
    folder = RunFolder.open(path)
    report = folder.read_json(METRICS)
    if not isinstance(report, dict) or not all(
        isinstance(report.get(key), dict) for key in _PARTS.values()
    ):
        raise RunFolderError(f"reproduce {path}", f"{METRICS} is not the report of a run")
    # What the new run is compared with is read before it, which may take hours.
    for part, key in _PARTS.items():
        for metric, value in report[key].items():
            if value is not None and not is_finite(value):
                problem = f"{part} {metric}={value!r}: a finite number is expected"
                raise RunFolderError(path / METRICS, problem)
    _compare_users(path / PER_USER, path / PER_USER)
    _changed_options(folder, folder)
    return folder


def _run_again(folder: RunFolder, target: Path, options: dict[str, Any], quiet: bool) -> None:
    keys = [key for key in ("model", "backbone") if key in options]
    code = named_again(folder.path, {key: options.pop(key) for key in keys})
    if is_file(target / CONFIG):
        resume_run(target, quiet, **code)
        return
    options = {**own_data(folder), **options, **refuse_other_code(folder, **code)}
    options.update(run_dir=str(target), quiet=quiet)
    logger.info("running %s again, in %s", folder.path, target)
    run_again(folder, options)


# ---- what differs ------------------------------------------------------------------------------


def _environment(folder: RunFolder) -> dict[str, Any]:
    if not folder.has(ENVIRONMENT):
        return {}
    content = folder.read_json(ENVIRONMENT)
    if not isinstance(content, dict):
        return {}
    if content.get("cpu_threads") is not None:
        try:
            checked_count("cpu_threads", content["cpu_threads"], MOST_THREADS)
        except OptionError as error:
            raise RunFolderError(folder.path / ENVIRONMENT, str(error)) from None
    return content


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Versions, threads and commit that differ: name -> before and after."""
    changed: dict[str, list[Any]] = {}
    for key in (*_SURROUNDINGS, "platform", "git_commit"):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            for name in sorted({*old, *new}):
                if old.get(name) != new.get(name):
                    changed[f"{key}.{name}"] = [old.get(name), new.get(name)]
        elif old != new:
            changed[key] = [old, new]
    return changed


def _changed_options(before: RunFolder, after: RunFolder) -> dict[str, list[Any]]:
    """Options that decide numbers and differ, such as those a newer version has."""
    changes = changed_options(before.path, read_settings(after.path / CONFIG))
    return {f"option {key}": [old, new] for key, old, new in changes}


def _is_tolerance(value: Any) -> bool:
    return is_finite(value) and value >= 0
