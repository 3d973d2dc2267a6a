"""Read the run folders below a folder; nothing outside it, and no link, is followed."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from recbole_enhance.evaluation.files import GROUPS, PER_USER, read_per_user
from recbole_enhance.leaderboard import (
    ATTACK,
    BOARD,
    CELLS,
    EXPLAIN,
    FAILED,
    FAILURE,
    PLOTS,
    TUNING,
)
from recbole_enhance.leaderboard.report import BoardSpec, Environment, Report, RunOptions, checked
from recbole_enhance.options.errors import RunFolderError
from recbole_enhance.options.read import one_line
from recbole_enhance.storage.files import is_file, read_bytes, read_json, read_settings
from recbole_enhance.storage.run_folder import (
    CONFIG,
    ENVIRONMENT,
    EXTERNAL,
    HISTORY,
    KIND,
    METRICS,
    history_rows,
)
from recbole_enhance.storage.tables import written_texts

EXPLANATIONS, ATTACKS = "explanations.json", "attack.json"
# Why a run was not explained or attacked: in place of the result.
NOT_EXAMINED = {EXPLAIN: "explanations.failure.json", ATTACK: "attack.failure.json"}


class FinishedRun(NamedTuple):
    """A finished run."""

    folder: Path
    place: str  # below the board's folder, with slashes
    name: str | None  # what the board called this setting of the label
    options: dict[str, Any]
    report: dict[str, Any]
    environment: dict[str, Any]
    explanation: dict[str, Any] | None
    attack: dict[str, Any] | None
    not_examined: dict[str, tuple[str, str]]  # explain, attack -> failed or impossible, and why

    @property
    def label(self) -> str:
        """Method and backbone, as ``DVR-BPR``."""
        return str(self.report["label"])

    @property
    def external(self) -> bool:
        """Whether it is of lists of another tool, which nothing here has trained."""
        return self.report.get(KIND) == EXTERNAL

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.report["seed"])


class Left(NamedTuple):
    """A cell that is listed, but is in no table."""

    place: str
    label: str
    dataset: str
    variant: str | None
    seed: Any
    reason: str


class Collected(NamedTuple):
    """All that lies below a folder."""

    runs: list[FinishedRun]
    failed: list[Left]
    unfinished: list[Left]
    tuning: dict[str, dict[str, Any]]  # place below tuning/ -> what tuning left there
    board: dict[str, Any]


def collect(folder: Path) -> Collected:
    """Read every run folder below a folder.

    Args:
        folder: Of a board, or of anybody's runs.

    Returns:
        Finished runs in order of their places, cells that failed (also those whose run is finished
        and could not be explained or attacked), cells that are not finished, what tuning left, and
        ``board.yaml`` (empty if there is none).

    Raises:
        ValueError: If the folder is none, holds no run, or a file in it is not what it should be.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    runs: list[FinishedRun] = []
    failed: list[Left] = []
    unfinished: list[Left] = []
    for place, files in _cells(folder):
        if FAILURE in files and METRICS not in files:
            failed.append(_failure(folder, place))
        elif METRICS in files:
            runs.append(_run(folder, place, files))
            failed += _failed_examinations(runs[-1])
        else:
            unfinished.append(_unfinished(folder, place))
    if not (runs or failed or unfinished):
        raise ValueError(f"{folder}: no run folder below it ({CONFIG} and {METRICS} are expected)")
    board = read_settings(folder / BOARD) if has_file(folder / BOARD) else {}
    board = checked(BoardSpec, folder / BOARD, board)
    return Collected(runs, failed, unfinished, _tuning(folder / TUNING), board)


def per_user(run: FinishedRun) -> pd.DataFrame | None:
    """Each user's metrics, by the user's token; None if the run has none.

    Args:
        run: A finished run.

    Raises:
        ValueError: If the file is no such table.
    """
    path = run.folder / PER_USER
    return read_per_user(path) if has_file(path) else None


def groups(run: FinishedRun) -> pd.DataFrame | None:
    """Means by group of users; None if the run has none.

    Raises:
        ValueError: If the file is no such table.
    """
    path = run.folder / GROUPS
    if not has_file(path):
        return None
    numbers = ("mean", "ci_low", "ci_high")
    try:
        table = pd.read_csv(
            io.BytesIO(read_bytes(path)),
            dtype={"field": str, "group": str, "metric": str},
            keep_default_na=False,
            na_values={name: ["", "nan"] for name in numbers},
        )
        table = table[["field", "group", "users", "metric", *numbers]].astype(
            dict.fromkeys(("users", *numbers), float)
        )
        return written_texts(table, ("field", "group", "metric")).astype({"users": int})
    except RunFolderError:
        raise
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a table of groups ({one_line(error)})") from error


def history(run: FinishedRun) -> list[dict[str, str]]:
    """One row per epoch, as text; empty if the run has none."""
    return history_rows(run.folder) if has_file(run.folder / HISTORY) else []


def _cells(folder: Path) -> list[tuple[str, Sequence[str]]]:
    """Places below the folder that hold a run or were meant to, in a fixed order."""
    found = []
    for path, folders, files in os.walk(folder, followlinks=False):
        place = Path(path).relative_to(folder).as_posix()
        files = [name for name in files if not os.path.islink(os.path.join(path, name))]
        if {CONFIG, METRICS, FAILURE} & set(files):
            found.append((place, files))
            folders.clear()
            continue
        left_out = (TUNING, PLOTS) if place == "." else ()
        folders[:] = [name for name in folders if name[0] != "." and name not in left_out]
    return sorted(found)


def _run(folder: Path, place: str, files: Sequence[str]) -> FinishedRun:
    path = folder / place
    if CONFIG not in files:
        raise ValueError(f"{path}: not a run folder ({CONFIG} is missing)")
    report = checked(Report, path / METRICS, _read_json(path / METRICS))
    environment = _read_json(path / ENVIRONMENT) if ENVIRONMENT in files else {}
    explained, attacked = (
        _read_json(path / name) if name in files else None for name in (EXPLANATIONS, ATTACKS)
    )
    left = {k: _read_json(path / name) for k, name in NOT_EXAMINED.items() if name in files}
    not_examined = {
        kind: (
            str(content.get("status")),
            one_line(content.get("reason") or "no reason was recorded"),
        )
        for kind, content in left.items()
    }
    return FinishedRun(
        path,
        place,
        _name(place, report["label"]),
        checked(RunOptions, path / CONFIG, read_settings(path / CONFIG)),
        report,
        checked(Environment, path / ENVIRONMENT, environment),
        explained,
        attacked,
        not_examined,
    )


def _failed_examinations(run: FinishedRun) -> list[Left]:
    report = run.report
    label = f"{run.label} ({run.name})" if run.name else run.label
    variant = report.get("variant")
    return [
        Left(
            run.place,
            label,
            report["dataset"],
            None if variant is None else str(variant),
            run.seed,
            f"{kind}: {reason}",
        )
        for kind, (status, reason) in run.not_examined.items()
        if status == FAILED
    ]


def _name(place: str, label: str) -> str | None:
    """``tuned`` of ``cells/ml-100k/DVR-BPR-tuned/2020``."""
    parts = place.split("/")
    if parts[0] != CELLS or len(parts) < 3:
        return None
    row = parts[-2]
    return row[len(label) + 1 :] or None if row.startswith(f"{label}-") else None


def _failure(folder: Path, place: str) -> Left:
    content = _read_json(folder / place / FAILURE)
    guess = _place_says(place)
    label = str(content.get("label") or guess[1])
    if content.get("name"):
        label = f"{label} ({content['name']})"
    variant = content.get("variant")
    return Left(
        place,
        label,
        str(content.get("dataset") or guess[0]),
        None if variant is None else str(variant),
        content.get("seed", guess[2]),
        one_line(content.get("reason") or "no reason was recorded"),
    )


def _unfinished(folder: Path, place: str) -> Left:
    options = read_settings(folder / place / CONFIG)
    if not {"model", "dataset"} <= set(options):
        raise ValueError(f"{folder / place}: not a run folder ({CONFIG} names no model)")
    # Of what is the user's own, module:Name, the name.
    model, backbone = (str(options.get(k) or "").split(":")[-1] for k in ("model", "backbone"))
    label = f"{model}-{backbone}" if backbone not in ("", model) else model
    variant = options.get("variant")
    return Left(
        place,
        label,
        str(options["dataset"]),
        None if variant is None else str(variant),
        options.get("seed"),
        "not finished",
    )


def _place_says(place: str) -> tuple[str, str, str]:
    """Dataset, row and seed by the folders' names."""
    parts = ["", "", *place.split("/")]
    return parts[-3], parts[-2], parts[-1]


def _tuning(folder: Path) -> dict[str, dict[str, Any]]:
    """What tuning left for each row: ``tuning.json``, and the options it chose."""
    found: dict[str, dict[str, Any]] = {}
    if not folder.is_dir() or folder.is_symlink():
        return found
    for path, folders, files in os.walk(folder, followlinks=False):
        folders.sort()
        if "tuning.json" in files and has_file(Path(path, "tuning.json")):
            place = Path(path).relative_to(folder).as_posix()
            best = Path(path, "best.yaml")
            found[place] = {
                **_read_json(Path(path, "tuning.json")),
                "chosen": read_settings(best) if has_file(best) else {},
            }
    return found


def has_file(path: Path) -> bool:
    """Whether there is a regular file; a link is none."""
    return not path.is_symlink() and is_file(path)


def _read_json(path: Path) -> dict[str, Any]:
    return _mapping(path, read_json(path))


def _mapping(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: a mapping is expected")
    return {str(key): value for key, value in content.items()}
