"""The folder of a run; each file in it is complete or missing."""

import contextlib
import gzip
import hashlib
import json
import logging
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from recbole_enhance.options.errors import OptionError, RunFolderError
from recbole_enhance.options.gone import not_yet, with_gone
from recbole_enhance.options.read import Loader, refuse_control
from recbole_enhance.storage.file_lock import lock_file
from recbole_enhance.storage.files import (
    is_file,
    is_left_over,
    open_file,
    read_json,
    read_settings,
    refuse_links,
    write_whole,
)
from recbole_enhance.storage.log_lines import OneLine
from recbole_enhance.storage.tables import csv_text, csv_text_of_columns, read_rows
from recbole_enhance.storage.tensor_files import dump_tensors

CONFIG, ENVIRONMENT, METRICS = "config.yaml", "env.json", "metrics.json"
LOCK = ".lock"
DATA = "data.json"
KIND, EXTERNAL = "kind", "external"  # in config.yaml and metrics.json of lists of another tool
HISTORY, LOG, MODEL, CHECKPOINT = "history.csv", "run.log", "model.pt", "checkpoint.pt"
# What may differ between two runs that must give the same numbers.
VOLATILE = (
    "seed",
    "data_path",
    "data_cache",
    "run_dir",
    "quiet",
    "show_progress",
    "state",
    "gpu_id",
    "worker",
    "use_gpu",
    "log_tensorboard",
    "track",
    "log_wandb",
    "wandb_project",
    "checkpoint_dir",
    "save_recs",
    "save_candidates",
)
# No part of a run's key where they are not used: from before options.gone.LATER had such options.
_UNUSED = ("eval_candidates_file",)
# Files that are needed to continue a run, or to trust its result.
_DURABLE = (CONFIG, ENVIRONMENT, DATA, MODEL, CHECKPOINT, METRICS)
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_PACKAGES = ("recbole", "torch", "numpy", "scipy", "pandas", "pyyaml", "recbole_enhance")
logger = logging.getLogger("recbole_enhance")


class RunFolder:
    """One folder per run.

    Args:
        path: The folder, which exists.
        fresh: Whether it was empty or missing, so that all in it belongs to this run.
        made: The folders that this run made, innermost first.
    """

    def __init__(self, path: Path, fresh: bool, made: Sequence[Path] = ()) -> None:
        self.path = path
        self.fresh = fresh
        self.made = tuple(made)
        self._lock: Any = None

    @classmethod
    def create(cls, config: Any) -> "RunFolder":
        """Make the folder of a new run and write its settings.

        Args:
            config: The run's :class:`~recbole_enhance.experiment.config.Config`.

        Raises:
            OptionError: If ``run_dir`` is taken or cannot be made.
        """
        folder = None
        path = Path(config["run_dir"] or "runs")
        refuse_control("run_dir", str(path))
        try:
            if config["run_dir"]:
                made = missing_folders(path)
                path.mkdir(parents=True, exist_ok=True)
                _refuse_taken(path)
            else:
                path = Path("runs", config["dataset"], config["label"], run_key(config))
                made = missing_folders(path.parent)
                path = _make_numbered(path)
                made.insert(0, path)
            folder = cls(path, fresh=False, made=made)
            folder.lock("run_dir")
            _refuse_taken(path)  # by a run that was over before we had the lock
            folder.fresh = True
            folder.write_text(CONFIG, config_text(config))
        except (OSError, ValueError) as error:
            if folder is not None:
                folder.discard()
                folder.release()
            if isinstance(error, ValueError):
                raise
            raise OptionError(
                "run_dir", error.filename or path, f"cannot be written ({error.strerror})"
            ) from error
        return folder

    @classmethod
    def open(cls, path: Any, option: str = "resume") -> "RunFolder":
        """Open the folder of an earlier run.

        Args:
            path: The folder.
            option: What a message calls it.

        Raises:
            OptionError: If there is no run in it.
            RunFolderError: If it holds lists of another tool.
        """
        path = Path(path)
        if not is_file(path / CONFIG):
            raise OptionError(option, path, f"not a run folder ({CONFIG} is missing)")
        refuse_external(path)
        return cls(path, fresh=False)

    @property
    def finished(self) -> bool:
        """Whether the run has reported its test result."""
        return self.has(METRICS)

    def has(self, name: str) -> bool:
        """Whether there is such a file.

        Raises:
            RunFolderError: If it is a link or no regular file.
        """
        return is_file(self.path / name)

    def folder(self, *names: str) -> Path:
        """The path of a folder within this one.

        Raises:
            RunFolderError: If a link leads there.
        """
        path = self.path.joinpath(*names)
        refuse_links(self.path, path)
        return path

    def named(self) -> dict[str, str]:
        """What was run: ``model``, and under a method ``backbone``, each a name or ``module:Name``.

        Raises:
            RunFolderError: If the settings name none.
        """
        options = read_settings(self.path / CONFIG)
        model, backbone = options.get("model"), options.get("backbone")
        if not isinstance(model, str) or not isinstance(backbone, str):
            raise RunFolderError(self.path / CONFIG, "model and backbone are expected")
        return {"model": model} if model == backbone else {"model": model, "backbone": backbone}

    def lock(self, option: str) -> None:
        """Keep other processes out, until :meth:`release` or the end of this process.

        The kernel releases the lock when the process ends; the file ``.lock`` may stay. What an
        earlier process was writing when it was killed is removed.

        Args:
            option: How the folder was named, for the message.

        Raises:
            LockedError: If another process runs in this folder.
        """
        self._lock = lock_file(self.path / LOCK, f"{option}={self.path}")
        for stale in filter(is_left_over, self.path.iterdir()):
            stale.unlink(missing_ok=True)

    def release(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # a folder that became unwritable
                (self.path / LOCK).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def discard(self) -> None:
        """Remove what this run wrote, and the folders that it made; a user's own folder stays."""
        if not self.fresh:
            return
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
        for folder in self.made:
            with contextlib.suppress(OSError):  # another run may have come into a parent
                folder.rmdir()

    # ---- files -----------------------------------------------------------------------------

    def write_bytes(self, name: str, content: bytes | memoryview) -> None:
        """Write a file whole."""
        write_whole(self.path / name, content, durable=name in _DURABLE)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_jsonl(self, name: str, lines: Iterable[Any]) -> None:
        """Write one JSON value a line."""
        self.write_text(name, "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines))

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file whole."""
        self.write_text(name, json.dumps(plain(content), indent=2, sort_keys=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Read a JSON file of this run; see :func:`~recbole_enhance.storage.files.read_json`."""
        return read_json(self.path / name)

    def write_csv_gz(
        self, name: str, header: Sequence[str], columns: Sequence[Iterable[Any]]
    ) -> None:
        """Write columns as a gzipped CSV file with a stable byte content."""
        text = csv_text_of_columns(header, columns)
        self.write_bytes(name, gzip.compress(text.encode("utf-8"), mtime=0))

    def write_csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write rows as a CSV file."""
        self.write_text(name, csv_text(header, rows))

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one row per epoch; the columns are all keys in order of appearance."""
        header = list(dict.fromkeys(key for row in rows for key in row))
        self.write_csv(HISTORY, header, ([row.get(key, "") for key in header] for row in rows))

    def save_tensors(self, name: str, content: Mapping[str, Any]) -> None:
        """Write tensors and plain values, to be read by :func:`~.tensor_files.load_tensors`."""
        self.write_bytes(name, dump_tensors(content))

    # ---- surroundings ----------------------------------------------------------------------

    def write_environment(
        self, data_hashes: Mapping[str, str], code_hashes: Mapping[str, str] | None = None
    ) -> None:
        """Write what a rerun would need to know about this machine, these data and users' code."""
        self.write_json(
            ENVIRONMENT,
            {
                "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "python": platform.python_version(),
                "platform": platform.platform(),
                "versions": {name: package_version(name) for name in _PACKAGES},
                "git_commit": git_commit(),
                "cpu_threads": torch.get_num_threads(),
                "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
                "data_sha256": dict(data_hashes),
                **({"code_sha256": dict(code_hashes)} if code_hashes else {}),
            },
        )

    def refuse_other_files(self, data_hashes: Mapping[str, str], option: str | None = None) -> None:
        """Refuse data files that are not those that the run was made from.

        Args:
            data_hashes: Of the files as they are now, by name.
            option: What names the folder, for the message; None for the folder alone.

        Raises:
            InputError: Naming the folder, and the files that have changed since.
        """
        if not self.has(ENVIRONMENT):
            return
        before = self.read_json(ENVIRONMENT)
        before = before.get("data_sha256") if isinstance(before, dict) else None
        if not isinstance(before, dict):
            raise RunFolderError(self.path / ENVIRONMENT, "data_sha256 is missing")
        changed = sorted(name for name in before if before[name] != data_hashes.get(name))
        self._refuse_changed(", ".join(changed), option)

    def refuse_other_rows(self, account: Mapping[str, Any], option: str | None = None) -> None:
        """Refuse rows, users and items that are not those that the run was made from.

        A run of an earlier version has no account: this is then said, and no more.

        Args:
            account: Of the data as they are read now, as in ``data.json``.
            option: As in :meth:`refuse_other_files`.

        Raises:
            InputError: Naming the folder, and the part of the account that differs.
        """
        if not self.has(DATA):
            logger.warning(
                "%s: has no %s; the data may now be read or split in another way", self.path, DATA
            )
            return
        before, now = self.read_json(DATA), plain(account)
        keys = list(before) if isinstance(before, dict) else ["read"]
        changed = [
            key for key in keys if not isinstance(before, dict) or before[key] != now.get(key)
        ]
        told = [f"{key} in {DATA}" for key in changed]
        self._refuse_changed(", ".join(told), option)

    def _refuse_changed(self, what: str, option: str | None) -> None:
        problem = f"{what} changed since the run: restore the data, or train again"
        if what and option:
            raise OptionError(option, self.path, problem)
        if what:
            raise RunFolderError(self.path, problem)

    @contextlib.contextmanager
    def logging(self) -> Iterator[None]:
        """Send every logger to ``run.log`` while the block runs."""
        file = open(open_file(self.path / LOG, _APPEND), "a", encoding="utf-8")  # noqa: SIM115
        handler = logging.StreamHandler(file)
        handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(message)s"))
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(min(level, logging.INFO) if level else logging.INFO)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            handler.close()
            file.close()


def config_text(config: Any) -> str:
    """What ``config.yaml`` of a run holds."""
    options = {k: v for k, v in config.options.items() if k not in _RUNTIME_OPTIONS}
    text: str = yaml.safe_dump(plain(options), sort_keys=True)
    return text


def recorded_options(config: Any) -> dict[str, Any]:
    """What reading ``config.yaml`` of a run gives."""
    options: dict[str, Any] = yaml.load(config_text(config), Loader)
    return options


def refuse_external(path: str | Path) -> None:
    """Refuse a folder of lists of another tool, in which there is no model.

    Raises:
        RunFolderError: Naming the folder, and what is in it.
    """
    file = Path(path, CONFIG)
    if is_file(file) and read_settings(file).get(KIND) == EXTERNAL:
        raise RunFolderError(
            path,
            "lists of another tool, evaluated by `recbole-enhance evaluate`: there is no model to "
            "resume, load, explain, attack or recommend with",
        )


def changed_options(path: Path, recorded: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Options of the run in a folder that decide numbers and are not as recorded.

    Args:
        path: The folder; without a run in it there are none.
        recorded: See :func:`recorded_options`.

    Yields:
        Option, the folder's value, and the other.
    """
    if is_file(path / CONFIG):
        saved = read_settings(path / CONFIG)
        saved, recorded = with_gone(not_yet(saved) | saved), with_gone(recorded)
        for key in sorted((set(saved) | set(recorded)) - set(VOLATILE) | {"seed"}):
            if saved.get(key) != recorded.get(key):
                yield key, saved.get(key), recorded.get(key)


def refuse_changed_options(path: Path, recorded: Mapping[str, Any], advice: str) -> None:
    """Refuse a folder whose run has other options than are asked now.

    Args:
        path: The folder; without a run in it there is nothing to refuse.
        recorded: See :func:`recorded_options`.
        advice: What to do then, for the message.

    Raises:
        RunFolderError: Naming the folder, the first such option, and both values.
    """
    for key, old, new in changed_options(path, recorded):
        raise RunFolderError(path, f"was run with {key}={old}, but {key}={new} is given; {advice}")


def digest(config: Any) -> str:
    """Hash of the options that decide the numbers, first 8 hexadecimal digits."""
    left_out = {*VOLATILE, *getattr(config, "not_yet", ())}
    options = {k: v for k, v in with_gone(plain(config.options)).items() if k not in left_out}
    options = {k: v for k, v in options.items() if k not in _UNUSED or v is not None}
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:8]


def run_key(config: Any) -> str:
    """Seed and options of a run: two runs of the same key give the same numbers."""
    return f"{config['seed']}-{digest(config)}"


def package_version(name: str) -> str | None:
    """Installed version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Commit of the checkout that this package runs from, with ``+`` if files differ from it."""
    here = Path(__file__).parent
    try:
        describe = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return describe.stdout.strip()


_RUNTIME_OPTIONS = ("enhancer", "label", "MODEL_TYPE", "run_dir")


def missing_folders(path: Path) -> list[Path]:
    """List the folders on the way to ``path`` that are not there, innermost first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def _refuse_taken(path: Path) -> None:
    # What a killed process was writing is not data.
    if any(entry.name != LOCK and not is_left_over(entry) for entry in path.iterdir()):
        raise OptionError(
            "run_dir", path, f"not empty; name another, or continue it: --resume={path}"
        )


def _make_numbered(path: Path) -> Path:
    """Make ``path``, or ``path-2`` and so on: an earlier run of the same settings is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, candidate = 1, path
    while True:
        try:
            candidate.mkdir()
            return candidate
        except FileExistsError:
            if not candidate.is_dir():
                raise
            number += 1
            candidate = path.with_name(f"{path.name}-{number}")


def plain(value: Any) -> Any:
    """Convert to plain values that YAML and JSON hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(inner) for inner in value]
    if isinstance(value, (np.generic, torch.Tensor)):
        return value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no infinity
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def history_rows(path: Path) -> list[dict[str, str]]:
    """Read ``history.csv`` of a run."""
    return read_rows(path / HISTORY)
